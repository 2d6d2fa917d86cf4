"""What policies in dry run would have refused is told once for each decision, and counted in a bounded number of series."""

import structlog

from ztunnel.engine.interface import Direction, Flow
from ztunnel.telemetry.dry_run import OTHERS, DryRun

FLOW = Flow(1, Direction.INBOUND_HBONE, "10.0.2.1", "10.0.1.1:80", "spiffe://cluster.local/ns/shop/sa/buyer")


def test_a_line_for_the_decision_and_a_count_for_each_policy() -> None:
    dry_run = DryRun()
    with structlog.testing.capture_logs() as lines:
        dry_run.record(FLOW, ())
        dry_run.record(FLOW, ("shop/a", "shop/b"))
        dry_run.record(FLOW, ("shop/a",))
    assert [line["policies"] for line in lines] == ["shop/a,shop/b", "shop/a"]
    assert lines[0] == {
        "event": "would be denied",
        "log_level": "info",
        "scope": "policy",
        "policies": "shop/a,shop/b",
        "direction": "inbound_hbone",
        "source": "10.0.2.1",
        "destination": "10.0.1.1:80",
        "peer": FLOW.peer,
    }
    assert dry_run.counts == {"shop/a": 2, "shop/b": 1}


def test_policies_beyond_the_bound_share_a_count() -> None:
    dry_run = DryRun(max_policies=1)
    for name in ("shop/a", "shop/b", "shop/c", "shop/a"):
        dry_run.record(FLOW, (name,))
    assert dry_run.counts == {"shop/a": 2, OTHERS: 2}
