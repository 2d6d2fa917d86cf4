"""What is remembered of streams that are gone."""

import enum


class Gone(enum.Enum):
    """How a stream came to its end."""

    ENDED = enum.auto()  # by END_STREAM of both sides
    RESET_BY_PEER = enum.auto()
    RESET_BY_US = enum.auto()


# So many streams; the frames that a peer sends before it learns of our RST_STREAM must find it here. More than may be open at one time,
# so that resetting all of them at once leaves a trace of each.
_REMEMBERED = 512


class GoneStreams:
    """The last streams that ended, and how; older ones are forgotten."""

    __slots__ = ("_how",)

    def __init__(self) -> None:
        self._how: dict[int, Gone] = {}

    def add(self, stream_id: int, how: Gone) -> None:
        self._how[stream_id] = how
        if len(self._how) > _REMEMBERED:
            del self._how[next(iter(self._how))]

    def how(self, stream_id: int) -> Gone | None:
        """None: never seen, or forgotten."""
        return self._how.get(stream_id)
