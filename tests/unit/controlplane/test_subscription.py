"""What one client is sent of one type, step by step. That any history ends well is in test_convergence.py."""

from collections.abc import Iterator

import pytest

from controlplane import subscription as module
from controlplane.subscription import Request, Response, Subscription
from controlplane.table import Table
from mesh.errors import RemoteProtocolError
from tests.unit.controlplane.meshes import service, table, workload


def two() -> Table:
    return table(workload("w0", 0), workload("w1", 1))


def told(subscription: Subscription, resources: Table) -> tuple[list[str], list[str]] | None:
    """Names that are sent, and names that are removed; None: there is nothing to say."""
    response = subscription.next_response(resources)
    return None if response is None else ([one.name for one in response.resources], list(response.removed))


def everything(subscription: Subscription, resources: Table) -> list[Response]:
    responses = []
    while (response := subscription.next_response(resources)) is not None:
        responses.append(response)
    return responses


def test_the_first_request_is_answered_even_with_nothing() -> None:
    one = Subscription(Request(["*"], ["*"]))
    assert told(one, two()) == ([], [])
    assert told(one, two()) is None


def test_a_response_holds_at_least_one_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 1)
    one, resources = Subscription(Request()), two()
    assert not one.settled(resources)
    assert [told(one, resources) for _ in range(3)] == [(["w0"], []), (["w1"], []), None]
    assert one.settled(resources)


def test_removed_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMOVED_NAMES", 2)
    one, resources = Subscription(Request(["a", "b", "c"])), Table()
    assert [told(one, resources) for _ in range(3)] == [([], ["a", "b"]), ([], ["c"]), None]


def test_what_changes_and_changes_back_is_not_sent() -> None:
    one, resources = Subscription(Request()), two()
    told(one, resources)
    resources.update({"w0": workload("w0", 0, healthy=False)}, 2)
    resources.update({"w0": workload("w0", 0)}, 3)
    assert told(one, resources) is None


def test_what_is_asked_for_again_is_sent_again() -> None:
    one, resources = Subscription(Request(["w0"])), two()
    assert told(one, resources) == (["w0"], [])
    one.change(Request(["/10.0.0.0"]), resources)
    assert told(one, resources) == (["w0"], [])


def test_what_is_asked_for_again_and_then_goes_is_taken_back() -> None:
    one, resources = Subscription(Request(["/10.0.0.0"])), two()
    told(one, resources)
    one.change(Request(["/10.0.0.0"]), resources)
    resources.update({"w0": None}, 2)
    assert told(one, resources) == ([], ["/10.0.0.0", "w0"])


def test_a_name_that_comes_and_goes_in_one_request_is_taken_back() -> None:
    one, resources = Subscription(Request()), two()
    told(one, resources)
    one.change(Request(["w0"], ["*", "w0"]), resources)
    assert told(one, resources) == ([], ["w0", "w1"])


def test_an_unsubscribed_name_is_taken_back_with_what_it_brought() -> None:
    one, resources = Subscription(Request(["ns/x"])), table(workload("w0", 0, frozenset("x")), service("x", 9))
    assert told(one, resources) == (["ns/x", "w0"], [])
    one.change(Request([], ["ns/x"]), resources)
    assert told(one, resources) == ([], ["ns/x", "w0"])


def test_a_service_that_comes_late_brings_the_workloads_that_were_there() -> None:
    one, resources = Subscription(Request(["/10.0.0.9"])), table(workload("w0", 0, frozenset("x")))
    assert told(one, resources) == ([], ["/10.0.0.9"])
    resources.update({"ns/x": service("x", 9)}, 2)
    assert told(one, resources) == (["ns/x", "w0"], [])
    resources.update({"ns/x": service("x", 8)}, 3)
    assert told(one, resources) == ([], ["/10.0.0.9", "ns/x", "w0"])


def test_a_wildcard_in_a_scope_follows_it() -> None:
    one, resources = Subscription(Request()), two()
    one.narrow(frozenset({"w0"}))
    assert told(one, resources) == (["w0"], [])
    one.narrow(frozenset({"w1", "w9"}))
    assert told(one, resources) == (["w1"], ["w0"])
    resources.update({"w9": workload("w9", 9)}, 2)
    assert told(one, resources) == (["w9"], [])


def test_a_reconnected_client_is_sent_what_differs_and_nothing_else() -> None:
    resources = two()
    [response] = everything(Subscription(Request()), resources)
    versions = {one.name: one.version for one in response.resources}
    assert told(Subscription(Request(versions=versions)), two()) == ([], [])
    resources.update({"w0": workload("w0", 0, healthy=False), "w2": workload("w2", 2)}, 2)
    assert told(Subscription(Request(versions={**versions, "w3": "1"})), resources) == (["w0", "w2"], ["w3"])


def test_who_asks_and_forgets_without_end_piles_up_a_bounded_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 10)
    one, resources = Subscription(Request(["w0"])), two()
    for number in range(100):
        one.change(Request([f"n{number}"], [f"n{number}"]), resources)
        one.settled(resources)
    assert len(one._pending) <= 12
    assert told(one, resources) == (["w0"], [])


@pytest.mark.parametrize("names", [["n" * 1101], [f"n{number}" for number in range(50_001)]])
def test_names_are_bounded(names: list[str]) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        Subscription(Request(names))
    assert refused.value.status == 8
    with pytest.raises(RemoteProtocolError):
        Subscription(Request()).change(Request(names), Table())


def test_versions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VERSIONS", 2)
    Subscription(Request(versions={"a": "1", "b": "1"}))
    with pytest.raises(RemoteProtocolError):
        Subscription(Request(versions={"a": "1", "b": "1", "c": "1"}))


class CountingTable(Table):
    """Counts how often it is asked what a name brings: that may be thousands of resources each time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def brings(self, name: str) -> Iterator[str]:
        self.asked += 1
        return super().brings(name)


@pytest.mark.parametrize("request_", [Request(["shop/web.example"] * 10_000), Request(["other"], ["shop/web.example"] * 10_000)])
def test_a_name_that_is_repeated_costs_what_it_costs_once(request_: Request) -> None:
    resources = CountingTable()
    one = Subscription(Request(["shop/web.example"]))
    one.change(request_, resources)
    assert resources.asked <= 4


@pytest.mark.parametrize("request_", [Request(unsubscribe=["a", "b", "c"]), Request(["a", "b"], ["a", "b", "c"])])
def test_a_request_names_a_bounded_number(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    monkeypatch.setattr(module, "MAX_VERSIONS", 2)
    one = Subscription(Request(["a"]))
    with pytest.raises(RemoteProtocolError, match="names"):
        one.change(request_, two())


def test_all_names_together_are_bounded() -> None:
    long = [f"{number:06}".ljust(1000, "n") for number in range(9_000)]
    one = Subscription(Request(long[:5_000]))
    with pytest.raises(RemoteProtocolError, match="characters"):
        one.change(Request(long[5_000:]), Table())
    Subscription(Request([f"{number:06}".ljust(160, "n") for number in range(50_000)]))
