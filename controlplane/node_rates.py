"""How many certificates one node may ask for, so that none starves the others. No I/O; time comes in as an argument."""

from dataclasses import dataclass

# A node that starts has at most some 250 pods; in the worst case each has an identity of its own.
BURST = 500.0
# With 250 identities and lifetimes of 20 s a node renews 25 a second. It is a twentieth of what one core signs.
REFILL_PER_S = 25.0
# Each has 100 bytes or so, and only a node with a valid token gets one; the largest clusters have 5,000 nodes.
MAX_NODES = 20_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_s: float


class NodeRates:
    """A token bucket for each node."""

    def __init__(self) -> None:
        # In the order of the last call, oldest first.
        self._buckets: dict[str, _Bucket] = {}

    def allow(self, node: str, now_s: float) -> bool:
        """Says whether a node may ask once more, and counts it.

        Args:
            now_s: seconds on a clock that does not go backwards.
        """
        bucket = self._buckets.pop(node, None) or _Bucket(BURST, now_s)
        bucket.tokens = min(BURST, bucket.tokens + (now_s - bucket.filled_s) * REFILL_PER_S)
        bucket.filled_s = now_s
        if len(self._buckets) >= MAX_NODES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[node] = bucket
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
