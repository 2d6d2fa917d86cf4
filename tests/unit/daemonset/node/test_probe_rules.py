"""The rules by which pods know what the node's processes send; the whole text is in tests/golden."""

from ipaddress import ip_address
from pathlib import Path

from daemonset.node.probe_rules import table_of

GOLDEN = Path(__file__).parents[3] / "golden/node/probe-rules.nft"


def test_the_table_of_two_pods_is_that_of_the_golden_file() -> None:
    addresses = map(ip_address, ["fd00::2", "10.0.0.20", "10.0.0.3"])
    assert table_of(addresses) == GOLDEN.read_text()


def test_order_does_not_matter_and_a_family_may_be_empty() -> None:
    one, other = ip_address("10.0.0.1"), ip_address("10.0.0.2")
    assert table_of([one, other]) == table_of([other, one])
    assert table_of([one]).count("elements") == 1
