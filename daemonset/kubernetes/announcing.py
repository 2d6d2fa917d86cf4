"""Which pods' annotations say otherwise than what is so. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION
from mesh.kubernetes import Pod


@dataclass(frozen=True, slots=True)
class Correction:
    """An annotation to be written, or to be removed (`value` None)."""

    uid: str
    namespace: str
    name: str
    value: str | None


def corrections(pods: Iterable[Pod], captured: Mapping[str, bool | None]) -> list[Correction]:
    """Finds the pods whose annotation is to be changed.

    Peers open tunnels to a pod that is annotated: it must not be said of one that does not listen, as after a reboot.
    Args:
        pods: of this node.
        captured: by uid; None: it is not known yet, and whatever is said stays. A pod that is not listed is not captured.
    """
    found = []
    for pod in pods:
        so = captured.get(pod.metadata.uid, False)
        if so is not None and so != announced(pod):
            found.append(Correction(pod.metadata.uid, pod.metadata.namespace, pod.metadata.name, REDIRECTED if so else None))
    return found


def announced(pod: Pod) -> bool:
    return pod.metadata.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTED
