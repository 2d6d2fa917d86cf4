"""Annotations say what is so, and nothing is said of what is not known."""

import pytest

from daemonset.kubernetes.announcing import Correction, corrections
from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION
from mesh.kubernetes import Metadata, Pod
from mesh.kubernetes.core import Container, PodSpec


def pod(annotation: str | None) -> Pod:
    annotations = {} if annotation is None else {REDIRECTION_ANNOTATION: annotation}
    metadata = Metadata(name="web", namespace="shop", uid="u", annotations=annotations)
    return Pod(metadata=metadata, spec=PodSpec(containers=(Container(name="c"),)))


@pytest.mark.parametrize(
    ("annotation", "captured", "written"),
    [
        pytest.param(None, {"u": True}, [REDIRECTED], id="captured, and nobody knows"),
        pytest.param(REDIRECTED, {"u": True}, [], id="captured, and said"),
        pytest.param(REDIRECTED, {"u": False}, [None], id="said, and not so"),
        pytest.param(REDIRECTED, {}, [None], id="said of a pod that nobody holds, as after a reboot"),
        pytest.param(REDIRECTED, {"u": None}, [], id="said by an earlier agent, and not looked at yet"),
        pytest.param(None, {"u": None}, [], id="not known, and not said"),
        pytest.param(None, {}, [], id="a pod outside of the mesh"),
        pytest.param("something", {"u": True}, [REDIRECTED], id="another value"),
        pytest.param("something", {}, [], id="another value, of a pod outside of the mesh"),
    ],
)
def test_corrections(annotation: str | None, captured: dict[str, bool | None], written: list[str | None]) -> None:
    assert corrections([pod(annotation)], captured) == [Correction("u", "shop", "web", value) for value in written]
