"""How long to wait before trying again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waiting with a limit.

    Args:
        first_s: the wait after the first failure, before jitter.
        limit_s: no wait is longer.
    """

    first_s: float
    limit_s: float

    def delay_s(self, failures: int, random: float) -> float:
        """Returns how long to wait after `failures` failures in a row (1 or more).

        Half of it is jitter, so that those who lost a server together do not come back together.

        Args:
            random: in [0, 1).
        """
        # 2**30 times any first wait is above any limit; the exponent stays small after a year of failures.
        full = min(self.limit_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return full / 2 + full / 2 * random
