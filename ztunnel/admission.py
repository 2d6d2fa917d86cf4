"""Whether policy lets a connection into a pod of this node. Pure."""

from dataclasses import dataclass

from mesh.identity import Identity
from mesh.model import IPAddress, SocketAddress, Workload
from mesh.policy.evaluation import Grounds, Ruling
from mesh.policy.model import Connection
from ztunnel.pods import LocalPod
from ztunnel.surroundings import PolicyView

# Statuses of a CONNECT: policy says no; and nobody can say yet. Source: HTTP semantics, RFC 9110, sections 15.5.2 and 15.6.4.
DENIED = 401
UNDECIDED = 503


@dataclass(frozen=True, slots=True)
class Admission:
    """What is said of one connection.

    Args:
        status: of a refusal: DENIED or UNDECIDED. 0: let in.
        reason: of a refusal, for people; it names the policy.
        would_deny: the policies in dry run that would have refused what is let in.
    """

    status: int = 0
    reason: str = ""
    would_deny: tuple[str, ...] = ()

    @property
    def lasting(self) -> bool:
        """It holds until something changes; waiting does not help."""
        return self.status != UNDECIDED


def admit(
    policies: PolicyView, source: IPAddress | None, identity: Identity | None, target: SocketAddress, pod: LocalPod, own: Workload | None
) -> Admission:
    """Decides on one connection, by the policies as they are now.

    Args:
        source: the client's address; where it is not known, nobody is let in: a policy may ask for it.
        identity: what the client proved, None: nothing.
        target: address and port of the pod.
        own: the pod as the control plane describes it, with the policies that select it.
    """
    if not policies.synced:
        return Admission(UNDECIDED, "the control plane has not told the policies yet")
    if source is None:
        return Admission(UNDECIDED, "the client's address is not known yet")
    # The port of a client means nothing, and no policy asks for it.
    connection = Connection(SocketAddress(source, 0), identity, target)
    ruling = policies.decide(connection, pod.info.namespace, own.policies if own else ())
    if ruling.allowed:
        return Admission(would_deny=ruling.would_deny)
    return Admission(DENIED, f"denied by policy {ruling.policy}: {_why(ruling, policies)}")


def _why(ruling: Ruling, policies: PolicyView) -> str:
    if ruling.reason is Grounds.NOT_HELD and policies.unread(ruling.policy):
        return "it applies and cannot be read"
    return ruling.reason.value
