"""A bound on what a peer may send that is no work: credits that time and useful work give back."""

# How many bursts work can save up. Bytes that fill a connection's window of 16 MiB may be answered at once, by a peer that reads 4 KiB at a
# time with 8,192 WINDOW_UPDATEs for the stream and the connection.
_SAVED_BURSTS = 10


class Credits:
    """A bucket of credits; a frame that is no work spends one.

    Args:
        burst: how many there are at first, and time alone gives back no more.
        per_s: how many a second gives back.
    """

    __slots__ = ("_at_s", "_burst", "_level", "_per_s")

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._level = self._burst
        self._at_s: float | None = None

    def spend(self, cost: int, earned: int, now_s: float) -> bool:
        """Takes `cost`; False when there is not enough: the peer does nothing but keep us busy.

        Args:
            earned: what useful work gave back since the last call.
            now_s: of a clock that never goes back.
        """
        level = self._level
        if self._at_s is not None and level < self._burst:
            level = min(self._burst, level + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        self._level = min(level + earned, self._burst * _SAVED_BURSTS) - cost
        return self._level >= 0
