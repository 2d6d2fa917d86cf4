"""How large a stream's receive window should be: the bandwidth-delay product, found by doubling.

A window that was used up within about a round trip is what limited the sender, so a larger one helps; one that lasted longer does not.
"""

# The peer's WINDOW_UPDATE travels half a round trip, the bytes that it allows the other half; twice that leaves room for
# the time that both ends take.
_ROUND_TRIPS = 2.0

# Round trips are measured while bytes flow, this often at most: paths change slowly, and peers count PINGs.
_MEASURE_EVERY_S = 1.0

# A sample above the estimate counts for an eighth, as in TCP (RFC 6298): the queues that it waited in are not the path.
_GAIN = 1 / 8


class RoundTrip:
    """The round-trip time of a connection, from PINGs. Times are of a clock that never goes back.

    Args:
        estimate_s: None until the first answer.
    """

    __slots__ = ("_asked_s", "_waiting", "estimate_s")

    def __init__(self) -> None:
        self.estimate_s: float | None = None
        self._asked_s: float | None = None
        self._waiting = False

    def ask(self, now_s: float) -> bool:
        """Whether a PING should be sent now; if so, it counts as sent."""
        if self._waiting or (self._asked_s is not None and now_s - self._asked_s < _MEASURE_EVERY_S):
            return False
        self._asked_s, self._waiting = now_s, True
        return True

    def answered(self, now_s: float) -> bool:
        """The answer to that PING came; False when there was none to answer."""
        if not self._waiting or self._asked_s is None:
            return False
        self._waiting = False
        sample = now_s - self._asked_s
        if self.estimate_s is None or sample < self.estimate_s:
            self.estimate_s = sample
        else:
            self.estimate_s += (sample - self.estimate_s) * _GAIN
        return True


def growth_bytes(window: int, max_window: int, used_within_s: float, round_trip_s: float | None) -> int:
    """By how much to enlarge a window that was used up once: it doubles up to the maximum, or stays.

    Args:
        used_within_s: how long that took.
        round_trip_s: None if it is not known yet; then it stays.
    """
    if round_trip_s is None or used_within_s > _ROUND_TRIPS * round_trip_s:
        return 0
    return min(window, max_window - window)
