"""What happens to pods, for those who want to tell of it. Pure."""

import enum
from dataclasses import dataclass

from daemonset.pods import PodInfo


class Kind(enum.Enum):
    CAPTURED = "captured"
    RELEASED = "released"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PodNews:
    """Told once: a failure that lasts is no news.

    Args:
        detail: of a failure, in words.
    """

    pod: PodInfo
    kind: Kind
    detail: str = ""


def ignore(_: PodNews) -> None:
    """For where nobody is to be told."""
