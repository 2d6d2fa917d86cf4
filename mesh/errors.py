"""The errors of the mesh: one small tree; each says whose fault it is and whether trying again can help."""

import enum
from dataclasses import dataclass


class Fault(enum.Enum):
    """Whose fault an error is, seen from the proxy that reports it."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    OURS = "ours"


class MeshError(Exception):
    """Root of the tree."""

    fault = Fault.OURS
    retryable = False


@dataclass
class ConfigError(MeshError):
    """A value in a setting or a manifest is not what it must be.

    Args:
        key: where it stands: an environment variable, or "file:document:field.path".
        value: what was found there.
        expected: what would have been accepted, in words.
    """

    key: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.key}: {self.value!r}: expected {self.expected}"


class ConfigErrors(MeshError):
    """Every ConfigError that one reading found, in the order of the input."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class LocalProtocolError(MeshError):
    """Our own side asked the protocol for something that it does not allow."""


class RemoteProtocolError(MeshError):
    """The peer broke the protocol.

    Args:
        status: the protocol's own code for it (an HTTP/2 error code, an HTTP status).
        reason: one clause for the log.
    """

    fault = Fault.DOWNSTREAM

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ApiError(MeshError):
    """The API server of Kubernetes refused a request.

    Args:
        status: of HTTP, or of a Status within a watch.
        reason: Kubernetes' one word for it, such as "Forbidden"; "" where there was none.
        message: what it said.
    """

    fault = Fault.UPSTREAM

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def retryable(self) -> bool:  # type: ignore[override]  # it depends on the status
        """Whether the same request may succeed a little later."""
        return self.status in {408, 429} or self.status >= 500


class ApiUnreachable(MeshError):
    """The API server of Kubernetes cannot be reached, or the connection to it broke."""

    fault = Fault.UPSTREAM
    retryable = True


class BrokenAnswer(MeshError):
    """What the API server of Kubernetes answered is not what its API says; `too_large`: it is more than is taken."""

    fault = Fault.UPSTREAM
    retryable = True

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


class ResolutionError(MeshError):
    """No next hop can be found for an intended destination."""

    fault = Fault.UPSTREAM
    retryable = True


class NoHealthyUpstream(ResolutionError):
    """The service exists, but has no ready endpoint for the port."""


class CaptureError(MeshError):
    """A step of a capture plan failed in a pod's network namespace.

    Args:
        netns: the namespace, as a path or inode.
        step: the step of the plan, in words.
        errno: the kernel's reason.
    """

    def __init__(self, netns: str, step: str, errno: int) -> None:
        super().__init__(f"{step} in {netns}: errno {errno}")
        self.netns = netns
        self.step = step
        self.errno = errno


class CredentialError(MeshError):
    """A certificate or token cannot be had, read or trusted."""

    retryable = True
