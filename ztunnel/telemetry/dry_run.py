"""What policies in dry run would have refused: a line for each decision, and a count for each policy."""

from collections import Counter

import structlog

from ztunnel.engine.interface import Flow

# Series of a metric, each about 200 bytes; the policies beyond share one.
MAX_POLICIES = 1024
OTHERS = "others"

log = structlog.get_logger(scope="policy")


class DryRun:
    """Counts decisions, not connections: a decision is kept for all connections of its flow."""

    def __init__(self, max_policies: int = MAX_POLICIES) -> None:
        self._max_policies = max_policies
        self.counts: Counter[str] = Counter()

    def record(self, flow: Flow, policies: tuple[str, ...]) -> None:
        """Args:
        policies: those that would have refused the connections of a flow that is let in.
        """
        if not policies:
            return
        for policy in policies:
            known = policy in self.counts or len(self.counts) < self._max_policies
            self.counts[policy if known else OTHERS] += 1
        log.info(
            "would be denied",
            policies=",".join(policies),
            direction=flow.direction.name.lower(),
            source=flow.source or None,
            destination=flow.destination,
            peer=flow.peer or None,
        )
