"""When a certificate is renewed, and when it is time to shout. Pure: time and randomness come in."""

from dataclasses import dataclass

# Certificates rotate at half-life, so that a CA may be away for the other half. The jitter spreads a node's renewals over
# a tenth of the lifetime.
RENEW_AT = 0.5
JITTER = 0.1
# A certificate that is half through when it comes (a clock that is wrong, a CA that backdates) must not be renewed in a loop.
MIN_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class Validity:
    """Seconds since the epoch."""

    not_before_s: float
    not_after_s: float


def renewal_delay_s(validity: Validity, now_s: float, random: float) -> float:
    """Returns how long from now a certificate that has just come is to be renewed.

    Args:
        random: in [0, 1).
    """
    lifetime_s = validity.not_after_s - validity.not_before_s
    due_s = validity.not_before_s + lifetime_s * (RENEW_AT + JITTER * (random - 0.5))
    return max(MIN_DELAY_S, due_s - now_s)


def alarm_due(validity: Validity, now_s: float, alarmed_left_s: float | None) -> bool:
    """Says whether a failed renewal deserves an alarm: at the first failure, and each time that half of what was left is gone.

    Args:
        alarmed_left_s: what was left at the last alarm; None when there was none.
    """
    left_s = validity.not_after_s - now_s
    return alarmed_left_s is None or left_s <= alarmed_left_s / 2
