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
