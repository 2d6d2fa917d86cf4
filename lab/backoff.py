"""When to start a program that ended once more."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """At once after a long run, later and later for one that keeps ending.

    Args:
        first_s, longest_s: the delay doubles from the one to the other.
        stable_s: a program that ran this long starts afresh.
        delay_s: the last delay; 0 before the first.
    """

    first_s: float
    longest_s: float
    stable_s: float
    delay_s: float = 0.0

    def after(self, ran_s: float) -> "Backoff":
        """The state after a run that lasted `ran_s`; its `delay_s` is the pause before the next."""
        doubled = self.first_s if ran_s >= self.stable_s else max(self.first_s, min(2 * self.delay_s, self.longest_s))
        return Backoff(self.first_s, self.longest_s, self.stable_s, doubled)


# Kubelet waits 10 s to 5 min; here somebody watches.
CONTAINER = Backoff(first_s=0.5, longest_s=30, stable_s=60)
# A node proxy that was killed must be back within a second.
MESH_PROCESS = Backoff(first_s=0.1, longest_s=5, stable_s=10)
