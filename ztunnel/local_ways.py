"""Where the connections of a pod went that stayed on this node: the flow does not say which of its choices a connection took.

Books only, no I/O. A flow of a service may have led to several pods of this node, each with policies of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ztunnel.engine.interface import Decision, Flow, Local, Reject

# As many decisions as an engine keeps; each of them about 500 bytes here.
MAX_FLOWS = 65_536


@dataclass(slots=True)
class Ways:
    """What the connections of one flow may have taken.

    Args:
        local: into pods of this node.
        elsewhere: some may have left the node.
        epoch: the last in which it was decided.
    """

    local: set[Local] = field(default_factory=set)
    elsewhere: bool = False
    epoch: int = 0


class LocalWays:
    """An entry lives as long as a connection of its flow may.

    Args:
        max_flows: how many there may be before cached decisions had better be forgotten.
    """

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self._max_flows = max_flows
        self._ways: dict[Flow, Ways] = {}
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._ways)

    @property
    def full(self) -> bool:
        """Forget cached decisions, then retain what lives."""
        return len(self._ways) >= self._max_flows

    def note(self, flow: Flow, decision: Decision) -> None:
        """A decision was handed to the engine; connections of the ones before may live on."""
        local = {choice for choice in decision.choices if isinstance(choice, Local)}
        ways = self._ways.get(flow)
        if ways is None:
            if not local:
                return
            ways = self._ways[flow] = Ways()
        ways.local |= local
        ways.elsewhere |= any(not isinstance(choice, Local | Reject) for choice in decision.choices)
        ways.epoch = self._epoch

    def of(self, flow: Flow) -> Ways | None:
        return self._ways.get(flow)

    def invalidated(self) -> None:
        """The engine has forgotten all decisions made so far."""
        self._epoch += 1

    def retain(self, live: Iterable[Flow]) -> None:
        """Forgets flows without connections, but for those whose decision the engine may still hold."""
        kept = {flow: ways for flow in live if (ways := self._ways.get(flow))}
        self._ways = kept | {flow: ways for flow, ways in self._ways.items() if ways.epoch == self._epoch}
