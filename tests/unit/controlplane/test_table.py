"""What names mean, and which of them a reader is told to look at again."""

import pytest

from controlplane import table as module
from controlplane.resources import Resource
from controlplane.table import Table
from tests.unit.controlplane.meshes import policy, service, table, workload


def meant(one: Table, name: str) -> str | None:
    found = one.resolve(name)
    return found.name if found is not None else None


def test_names_and_aliases_mean_resources() -> None:
    one = table(workload("a", 1), service("x", 9))
    assert [meant(one, name) for name in ("a", "/10.0.0.1", "ns/x", "/10.0.0.9", "b")] == ["a", "a", "ns/x", "ns/x", None]


def test_an_alias_of_several_means_the_service_and_then_the_first_by_name() -> None:
    one = table(workload("b", 1), workload("a", 1))
    assert meant(one, "/10.0.0.1") == "a"
    one.update({"ns/x": service("x", 1)}, 2)
    assert meant(one, "/10.0.0.1") == "ns/x"
    one.update({"ns/x": None, "a": None}, 3)
    assert meant(one, "/10.0.0.1") == "b"
    one.update({"b": None}, 4)
    assert meant(one, "/10.0.0.1") is None


def test_a_service_brings_its_workloads_once_it_is_there() -> None:
    one = table(workload("a", 1, frozenset("x")))
    assert list(one.brings("ns/x")) == []
    one.update({"ns/x": service("x", 9)}, 2)
    assert list(one.brings("/10.0.0.9")) == ["ns/x", "a"]
    one.update({"a": workload("a", 1)}, 3)
    assert list(one.brings("ns/x")) == ["ns/x"]


def test_changes_are_logged_by_every_name() -> None:
    one = table(workload("a", 1, frozenset("x")), workload("b", 2))
    one.update({"a": workload("a", 3, frozenset("x"))}, 2)
    assert one.changed_since(1) == {"a", "/10.0.0.1", "/10.0.0.3"}
    one.update({"b": None}, 5)
    assert one.changed_since(2) == {"b", "/10.0.0.2"}
    assert one.changed_since(1) == {"a", "/10.0.0.1", "/10.0.0.3", "b", "/10.0.0.2"}
    assert one.changed_since(5) == frozenset()


def test_a_service_that_comes_goes_or_moves_touches_its_workloads_but_not_one_that_only_changes() -> None:
    one = table(workload("a", 1, frozenset("x")))
    for generation, (after, touched) in enumerate(
        [(service("x", 9), True), (service("x", 9, port=81), False), (service("x", 8, port=81), True), (None, True)], 2
    ):
        one.update({"ns/x": after}, generation)
        assert ("a" in (one.changed_since(generation - 1) or ())) is touched


def test_who_shares_an_alias_is_looked_at_again() -> None:
    one = table(workload("a", 1), workload("b", 1))
    one.update({"a": None}, 2)
    assert "b" in (one.changed_since(1) or ())


def test_the_log_is_bounded_and_says_when_it_does_not_reach_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOGGED_NAMES", 4)
    one = Table()
    for generation in range(1, 6):
        one.update({f"w{generation}": workload(f"w{generation}", generation)}, generation)
    assert one.changed_since(2) is None
    assert one.changed_since(3) == {"w4", "w5", "/10.0.0.4", "/10.0.0.5"}


def test_a_change_larger_than_the_log_leaves_nobody_behind_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOGGED_NAMES", 1)
    one = table(workload("a", 1))
    assert one.changed_since(0) is None
    assert one.changed_since(1) == frozenset()


def test_a_version_is_of_the_content_alone() -> None:
    first, again, other = (Resource(one) for one in (policy("p"), policy("p"), policy("p", dry_run=True)))
    assert (first.version, first.field) == (again.version, again.field)
    assert first.version != other.version
