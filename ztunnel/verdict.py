"""What is decided about a flow. Pure."""

from dataclasses import dataclass

from ztunnel.engine.interface import Cause, Decision, Reject
from ztunnel.surroundings import Surroundings
from ztunnel.telemetry.labels import Labels


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision for the engine.

    Args:
        would_deny: the policies in dry run that would have refused what is let in.
    """

    decision: Decision
    would_deny: tuple[str, ...] = ()


def reject(around: Surroundings, labels: Labels, status: int, cause: Cause, reason: str, cache: bool = False) -> Verdict:
    """A refusal is not kept where a hostile peer could fill the flow table with it, or where waiting may help."""
    return Verdict(Decision((Reject(status, cause, around.report(labels), reason),), cache=cache))
