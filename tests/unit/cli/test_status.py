from cli.status import print_status

DOCUMENT = {
    "lab": "lab",
    "capture": "ebpf",
    "mesh": True,
    "programs": {"controlplane": True, "agent of node1": True, "ztunnel of node1": False},
    "stopped": [],
    "nodes": ["node1"],
    "pods": [
        {
            "namespace": "default", "name": name, "node": "node1", "ips": ["10.244.1.2", "fd00:10:244:1::2"], "phase": "Running",
            "ready": True, "restarts": 0, "mesh": "captured", "identity": "spiffe://cluster.local/ns/default/sa/[red]",
        }
        for name in ("a", "a-pod-with-a-much-longer-name")
    ],
    "services": [{"namespace": "default", "name": "web", "ips": ["10.96.0.11"], "ports": ["80/TCP"], "endpoints": []}],
    "policies": [
        {
            "kind": "AuthorizationPolicy", "namespace": "shop", "name": "no-guests",
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "every field is understood"},
                {"type": "EnforcedAtL4", "status": "True", "reason": "Enforced", "message": "all of it"},
            ],
        },
        {
            "kind": "AuthorizationPolicy", "namespace": "shop", "name": "only-get",
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "every field is understood"},
                {"type": "EnforcedAtL4", "status": "False", "reason": "RequiresWaypoint", "message": "methods need a waypoint"},
            ],
        },
        {
            "kind": "ServiceEntry", "namespace": "shop", "name": "out",
            "conditions": [{"type": "Accepted", "status": "False", "reason": "UnsupportedValue", "message": "spec.exportTo: no"}],
        },
    ],
    "pending": [{"kind": "program", "name": "ztunnel of node1", "node": "", "reason": "not ready"}],
}  # fmt: skip


def test_columns_line_up(capsys):
    print_status(DOCUMENT)
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if "IDENTITY" in line)
    rows = [line for line in lines if "spiffe://" in line]
    assert len(rows) == 2
    for column, value in (("NODE", "node1"), ("MESH", "captured"), ("IDENTITY", "spiffe://")):
        assert {row.index(value) for row in rows} == {header.index(column)}


def test_nothing_is_cut_and_nothing_is_taken_for_markup(capsys):
    print_status(DOCUMENT)
    out = capsys.readouterr().out
    assert "spiffe://cluster.local/ns/default/sa/[red]" in out
    assert "capture by ebpf, control plane ready" in out
    assert "program ztunnel of node1: not ready" in out


def test_a_program_that_was_stopped_is_said_to_be(capsys):
    print_status({**DOCUMENT, "stopped": ["controlplane"]})
    assert "control plane stopped" in capsys.readouterr().out


def test_policies_say_where_they_are_enforced_or_why_not(capsys):
    print_status(DOCUMENT)
    rows = [line.rstrip().split(maxsplit=4) for line in capsys.readouterr().out.splitlines() if line.startswith("shop ")]
    assert rows == [
        ["shop", "AuthorizationPolicy/no-guests", "yes", "at", "L4"],
        ["shop", "AuthorizationPolicy/only-get", "yes", "no:", "RequiresWaypoint  methods need a waypoint"],
        ["shop", "ServiceEntry/out", "no", "-", "spec.exportTo: no"],
    ]


def test_without_policies_there_is_no_table_of_them(capsys):
    print_status({**DOCUMENT, "policies": []})
    assert "ENFORCED" not in capsys.readouterr().out
