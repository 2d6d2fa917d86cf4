"""What was collected of a cluster: objects as the API server gave them, and what could not be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A permission that is asked for. Source: Kubernetes, SelfSubjectAccessReview.

    Args:
        namespaced: in the release's namespace; else in the whole cluster.
        account: of the release's namespace, whose permission it is; "" is whoever asks.
    """

    verb: str
    group: str
    resource: str
    namespaced: bool = True
    account: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass(frozen=True, slots=True)
class Facts:
    """Args:
    namespace: of the release.
    cli_version: of this program.
    capture: how pods are to be captured: "ebpf" or "iptables".
    server: the answer of /version; None: the API server was not reached.
    unreached: why it was not.
    clock_s: seconds by which the API server's clock is ahead of ours; None: not known.
    now_s: of the API server's clock, seconds since the epoch, when all this was asked for.
    allowed: what we may do of what installing takes, and the release's accounts of what they need.
    lists: objects by the name of their kind, as `kubectl get` has it: "nodes", "pods", ...
    missing: what could not be listed, with the reason.
    logs: the last lines of containers of the release that are not ready, by pod and container.
    """

    namespace: str
    cli_version: str
    capture: str
    server: Document | None = None
    unreached: str = ""
    clock_s: float | None = None
    now_s: float = 0.0
    allowed: Mapping[Question, bool] = field(default_factory=dict)
    lists: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)

    def of_release(self, kind: str, name: str) -> Document | None:
        """Returns an object of the release's namespace."""
        return next((one for one in self.lists.get(kind, ()) if (namespace_of(one), name_of(one)) == (self.namespace, name)), None)


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def namespace_of(document: Document) -> str:
    return str(document["metadata"].get("namespace", ""))


def labels_of(document: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = document["metadata"].get("labels") or {}
    return labels


def annotations_of(document: Document) -> Mapping[str, str]:
    annotations: Mapping[str, str] = document["metadata"].get("annotations") or {}
    return annotations
