"""However the catalogue came to know what it knows: it is the same as if it had been told everything at once."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import Delta, ObjectChange
from mesh.identity import Identity
from mesh.settings import MeshSettings
from mesh.wire.convert import service_from_wire, service_to_wire, workload_from_wire, workload_to_wire
from tests.unit.mesh.catalogue.objects import changes, changes_between, final_objects

MESH = MeshSettings()
histories = st.lists(st.lists(changes(), max_size=6), max_size=6)


def replay(views: dict[str, dict[str, Any]], delta: Delta) -> None:
    """Does what a listener does with a delta; nothing in it may be news of what was known."""
    for name, view in views.items():
        for key, value in getattr(delta, name).items():
            assert view.get(key) != value
            if value is None:
                del view[key]
            else:
                view[key] = value


def answers(catalogue: Catalogue) -> dict[str, Any]:
    identities = [Identity("cluster.local", namespace, name) for namespace in ("shop", "istio-system") for name in "ab"]
    return {
        "workloads": dict(catalogue.workloads),
        "services": dict(catalogue.services),
        "policies": dict(catalogue.policies),
        "conditions": dict(catalogue.conditions),
        "runs": [(node, str(identity)) for node in ("n1", "n2") for identity in identities if catalogue.runs(node, identity)],
        "needed": {node: catalogue.policies_of_node(node) for node in ("n1", "n2")},
    }


@given(histories, st.none() | st.integers(1, 3))
@settings(max_examples=200)
def test_any_history_ends_where_a_fresh_start_does(history: list[list[ObjectChange]], size: int | None) -> None:
    catalogue, views = Catalogue(MESH), {"workloads": {}, "services": {}, "policies": {}}
    generation = 0
    for batch in history:
        for delta in catalogue.apply_in_steps(batch, size):
            generation += bool(delta)
            replay(views, delta)
    fresh = Catalogue(MESH)
    fresh.apply(changes_between({}, final_objects([change for batch in history for change in batch])))
    assert answers(catalogue) == answers(fresh)
    assert {name: answers(fresh)[name] for name in views} == views
    assert catalogue.generation == generation


def books(catalogue: Catalogue) -> list[Any]:
    every = catalogue._books
    return [every.instances, every.offers, every.endpoints, every.slices, every.policies, every.mutual_tls, catalogue._listings]


def held(book: Any) -> list[Any]:
    """Returns what a book and the indexes in it still hold."""
    parts = [getattr(book, name) for name in type(book).__slots__ if name not in ("settings", "_answers")]
    insides = [inside for part in parts for inside in getattr(part, "__dict__", {}).values()]
    return [part for part in (*parts, *insides) if part and isinstance(part, (dict, set))]


@given(st.lists(changes(), max_size=25))
def test_what_is_taken_away_leaves_nothing(history: list[ObjectChange]) -> None:
    catalogue = Catalogue(MESH)
    catalogue.apply(history)
    catalogue.apply([ObjectChange(change.key, None) for change in history])
    assert answers(catalogue) == answers(Catalogue(MESH))
    assert not any(held(book) for book in books(catalogue))


@given(st.lists(st.lists(changes(), max_size=12), max_size=3))
def test_every_listed_policy_is_there_at_each_step(history: list[list[ObjectChange]]) -> None:
    catalogue = Catalogue(MESH)
    for batch in history:
        for _ in catalogue.apply_in_steps(batch, 1):
            assert {policy for workload in catalogue.workloads.values() for policy in workload.policies} <= set(catalogue.policies)


@given(st.lists(changes(), max_size=25))
def test_every_listed_policy_is_there_and_services_keep_their_addresses_apart(history: list[ObjectChange]) -> None:
    catalogue = Catalogue(MESH)
    catalogue.apply(history)
    owned = [(service.network, ip) for service in catalogue.services.values() for ip in service.addresses]
    assert len(owned) == len(set(owned))
    for workload in catalogue.workloads.values():
        assert set(workload.policies) <= set(catalogue.policies)
        assert set(workload.services) <= set(catalogue.services)
    for node in ("n1", "n2"):
        assert catalogue.policies_of_node(node) <= set(catalogue.policies)


@given(st.lists(changes(), max_size=25))
def test_the_nodes_accept_all_of_it(history: list[ObjectChange]) -> None:
    catalogue = Catalogue(MESH)
    catalogue.apply(history)
    for workload in catalogue.workloads.values():
        assert workload_from_wire(workload_to_wire(workload), "cluster.local") == workload
    for service in catalogue.services.values():
        assert service_from_wire(service_to_wire(service)) == service
