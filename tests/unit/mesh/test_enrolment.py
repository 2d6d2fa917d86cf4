"""Which pods are in the mesh: a pod's own label wins, the node's network stays out."""

import pytest

from mesh.enrolment import MODE_LABEL, enrolled
from mesh.kubernetes import Container, Metadata, Namespace, NamespaceMetadata, Pod, PodSpec


def labels(mode: str | None) -> dict[str, str]:
    return {} if mode is None else {MODE_LABEL: mode}


@pytest.mark.parametrize(
    ("namespace", "own", "host_network", "expected"),
    [
        (None, None, False, False),
        ("ambient", None, False, True),
        ("ambient", "none", False, False),
        ("ambient", "ambient", False, True),
        ("none", "ambient", False, True),
        (None, "ambient", False, True),
        ("none", None, False, False),
        ("Ambient", None, False, False),
        ("ambient", "", False, False),
        ("ambient", None, True, False),
        ("ambient", "ambient", True, False),
    ],
)
def test_enrolment(namespace: str | None, own: str | None, host_network: bool, expected: bool) -> None:
    spec = PodSpec(containers=(Container(name="c"),), host_network=host_network)
    pod = Pod(metadata=Metadata(name="a", namespace="shop", labels=labels(own)), spec=spec)
    assert enrolled(pod, Namespace(metadata=NamespaceMetadata(name="shop", labels=labels(namespace)))) is expected


def test_an_unknown_namespace_enrols_nobody_who_does_not_ask() -> None:
    spec = PodSpec(containers=(Container(name="c"),))
    assert not enrolled(Pod(metadata=Metadata(name="a"), spec=spec), None)
    assert enrolled(Pod(metadata=Metadata(name="a", labels=labels("ambient")), spec=spec), None)
