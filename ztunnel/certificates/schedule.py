"""When a certificate is renewed, and when it is time to shout. Pure: time and randomness come in."""

from dataclasses import dataclass

# Certificates rotate at half of what is left when they come, so that a CA may be away for the other half. The jitter spreads a node's
# renewals over a tenth of that.
RENEW_AT = 0.5
JITTER = 0.1
# A certificate that has all but ended when it comes (a clock that is wrong, an authority near its end) must not be renewed in a loop.
MIN_DELAY_S = 1.0
# So many attempts at least fit into what is left of a certificate, however long the CA has been away.
ATTEMPTS_LEFT = 8


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
    left_s = validity.not_after_s - max(now_s, validity.not_before_s)
    return max(MIN_DELAY_S, left_s * (RENEW_AT + JITTER * (random - 0.5)))


def retry_delay_s(backoff_s: float, validity: Validity | None, now_s: float) -> float:
    """Returns how long from now to try again after a failure.

    Args:
        backoff_s: what the count of failures suggests.
        validity: of the certificate that is held, None where there is none.
    """
    if validity is None or validity.not_after_s <= now_s:
        return backoff_s
    return min(backoff_s, max(MIN_DELAY_S, (validity.not_after_s - now_s) / ATTEMPTS_LEFT))


def alarm_due(validity: Validity, now_s: float, alarmed_left_s: float | None) -> bool:
    """Says whether a failed renewal deserves an alarm: at the first failure, and each time that half of what was left is gone.

    Args:
        alarmed_left_s: what was left at the last alarm; None when there was none.
    """
    left_s = validity.not_after_s - now_s
    return alarmed_left_s is None or left_s <= alarmed_left_s / 2
