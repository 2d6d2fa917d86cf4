"""What a check says: one line, and what to do."""

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    """`warning`: works, and will not always; `error`: does not work."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition.

    Args:
        what: the condition.
        found: how it is.
        advice: what to do; "" where nothing is to be done.
    """

    what: str
    level: Level
    found: str
    advice: str = ""


def good(what: str, found: str) -> Finding:
    return Finding(what, Level.GOOD, found)


def warning(what: str, found: str, advice: str) -> Finding:
    return Finding(what, Level.WARNING, found, advice)


def error(what: str, found: str, advice: str) -> Finding:
    return Finding(what, Level.ERROR, found, advice)
