"""Where connections went that stayed on this node, for as long as they may live."""

from ztunnel.engine.interface import Cause, Decision, Direction, Flow, Local, Reject, Tunnel
from ztunnel.local_ways import LocalWays

FLOW, OTHER = (Flow(1, Direction.OUTBOUND, "", f"10.96.0.{number}:80", "") for number in (1, 2))
HERE, THERE = Local(2, ("10.0.1.2", 80), 1, 2), Local(3, ("10.0.1.3", 80), 3, 4)
TUNNEL = Tunnel(("10.0.2.1", 15008), "10.0.2.1:80", (), "a", ("b",), 5)
REFUSAL = Reject(401, Cause.DENIED, 6)


def test_only_what_stays_here_is_noted() -> None:
    ways = LocalWays()
    ways.note(FLOW, Decision((TUNNEL,)))
    ways.note(OTHER, Decision((REFUSAL,)))
    assert len(ways) == 0


def test_the_ways_of_earlier_decisions_are_kept_while_a_connection_lives() -> None:
    ways = LocalWays()
    ways.note(FLOW, Decision((HERE,)))
    ways.invalidated()
    ways.note(FLOW, Decision((THERE, REFUSAL)))
    noted = ways.of(FLOW)
    assert noted is not None
    assert (noted.local, noted.elsewhere) == ({HERE, THERE}, False)
    ways.invalidated()
    ways.note(FLOW, Decision((TUNNEL,)))
    assert noted.elsewhere
    ways.invalidated()
    ways.retain([FLOW])
    assert ways.of(FLOW) is noted
    ways.retain([])
    assert ways.of(FLOW) is None


def test_a_decision_that_the_engine_may_still_hold_is_kept_without_connections() -> None:
    ways = LocalWays()
    ways.note(FLOW, Decision((HERE,)))
    ways.retain([OTHER])
    assert ways.of(FLOW) is not None
    ways.invalidated()
    ways.retain([OTHER])
    assert ways.of(FLOW) is None


def test_it_says_when_there_are_too_many() -> None:
    ways = LocalWays(max_flows=2)
    ways.note(FLOW, Decision((HERE,)))
    assert not ways.full
    ways.note(OTHER, Decision((HERE,)))
    assert ways.full
