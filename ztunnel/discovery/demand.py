"""Which names this node subscribes to on demand, and what it was told about them. Books only: time comes in as an argument."""

import enum
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

# A node talks to some thousands of addresses; each subscription costs about 300 bytes here and as much in the control plane.
MAX_NAMES = 8192
# So many of the longest unused go at once when the table is full, for each time costs an invalidation.
EVICTED_AT_ONCE = MAX_NAMES // 8
# A stranger's address may become a pod's without the control plane telling: it keys its pushes by resource, and a stranger has none.
STRANGER_LIFETIME_S = 60.0


class Answer(enum.Enum):
    """What is known about a name."""

    AWAITED = "awaited"  # asked for, no answer yet
    OVERDUE = "overdue"  # asked for, no answer in time: decisions were made as if it meant nothing
    PRESENT = "present"
    ABSENT = "absent"  # the control plane says that it means nothing


@dataclass(slots=True)
class _Interest:
    answer: Answer
    since_s: float


class Demand:
    """Bounded; the least recently asked for goes first. Pinned names (this node's pods) stay."""

    def __init__(self, max_names: int = MAX_NAMES, evicted_at_once: int = EVICTED_AT_ONCE) -> None:
        self._max_names = max_names
        self._evicted_at_once = evicted_at_once
        self._interests: OrderedDict[str, _Interest] = OrderedDict()
        self._pinned: set[str] = set()

    def __len__(self) -> int:
        return len(self._interests)

    def names(self) -> tuple[str, ...]:
        return tuple(self._interests)

    def answer(self, name: str) -> Answer | None:
        """Returns what is known about a name, None when it was never asked for; marks it as used."""
        interest = self._interests.get(name)
        if interest is None:
            return None
        self._interests.move_to_end(name)
        return interest.answer

    def ask(self, name: str, present: bool, now_s: float) -> bool:
        """Takes up a name; returns whether it must be subscribed to.

        Args:
            present: it came with something else that was asked for.
        """
        if name in self._interests:
            return False
        self._interests[name] = _Interest(Answer.PRESENT if present else Answer.AWAITED, now_s)
        return True

    def pin(self, name: str) -> None:
        self._pinned.add(name)

    def unpin(self, name: str) -> None:
        """The name may go like any other from now on."""
        self._pinned.discard(name)

    def pinned(self, names: frozenset[str]) -> bool:
        """Says whether one of the names is pinned."""
        return not self._pinned.isdisjoint(names)

    def told(self, appeared: Iterable[str], gone: Iterable[str], now_s: float) -> bool:
        """Notes what an update said; returns whether a decision was made in the belief that one of `appeared` meant nothing."""
        wrong = False
        for name in appeared:
            wrong |= self._note(name, Answer.PRESENT, now_s) in {Answer.ABSENT, Answer.OVERDUE}
        for name in gone:
            self._note(name, Answer.ABSENT, now_s)
        return wrong

    def overdue(self, name: str, now_s: float) -> None:
        """Nobody waits for the answer any longer."""
        interest = self._interests.get(name)
        if interest is not None and interest.answer is Answer.AWAITED:
            self._note(name, Answer.OVERDUE, now_s)

    def shed(self, now_s: float) -> tuple[str, ...]:
        """Drops strangers that were believed long enough, and the longest unused when the table is full; returns the names."""
        lapsed = [name for name, interest in self._interests.items() if self._lapsed(name, interest, now_s)]
        for name in lapsed:
            del self._interests[name]
        if len(self._interests) > self._max_names:
            evicted = [name for name in self._interests if name not in self._pinned][: self._evicted_at_once]
            for name in evicted:
                del self._interests[name]
            lapsed += evicted
        return tuple(lapsed)

    @property
    def full(self) -> bool:
        return len(self._interests) > self._max_names

    def _lapsed(self, name: str, interest: _Interest, now_s: float) -> bool:
        believed_absent = interest.answer in {Answer.ABSENT, Answer.OVERDUE}
        return believed_absent and name not in self._pinned and now_s - interest.since_s >= STRANGER_LIFETIME_S

    def _note(self, name: str, answer: Answer, now_s: float) -> Answer | None:
        """Returns what was known before; a name that nobody asked for is not noted."""
        interest = self._interests.get(name)
        if interest is None:
            return None
        before = interest.answer
        interest.answer, interest.since_s = answer, now_s
        return before
