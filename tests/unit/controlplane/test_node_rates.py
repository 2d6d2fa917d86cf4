"""One node's hunger does not become the others'."""

from controlplane.node_rates import BURST, MAX_NODES, REFILL_PER_S, NodeRates


def test_a_node_gets_its_burst_and_then_its_rate() -> None:
    rates = NodeRates()
    assert sum(rates.allow("greedy", 0.0) for _ in range(2000)) == BURST
    assert rates.allow("other", 0.0), "another node is not touched"
    assert sum(rates.allow("greedy", 2.0) for _ in range(2000)) == 2 * REFILL_PER_S
    assert sum(rates.allow("greedy", 10_000.0) for _ in range(2000)) == BURST, "what is not used does not add up for ever"


def test_those_who_asked_last_are_remembered() -> None:
    rates = NodeRates()
    for _ in range(int(BURST)):
        rates.allow("greedy", 0.0)
    for number in range(MAX_NODES - 1):
        rates.allow(f"n{number}", 0.0)
    assert not rates.allow("greedy", 0.0)
    for number in range(MAX_NODES - 1):
        rates.allow(f"n{number}", 0.0)
    assert not rates.allow("greedy", 0.0)
