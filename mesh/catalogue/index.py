"""Who is selected by whom, by labels: answered from both sides without looking at everybody."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Labels = Mapping[str, str]
_Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Whom a policy holds for.

    Args:
        namespace: None: all of them.
        labels: empty: whatever its labels are.
    """

    namespace: str | None
    labels: Labels


class LabelIndex(Generic[K]):
    """Finds what carries certain labels. Its cost is that of the rarest label that is asked for."""

    def __init__(self) -> None:
        self._carriers: dict[str, dict[_Pair, set[K]]] = {}

    def add(self, key: K, namespace: str, labels: Labels) -> None:
        for pair in labels.items():
            self._carriers.setdefault(namespace, {}).setdefault(pair, set()).add(key)

    def remove(self, key: K, namespace: str, labels: Labels) -> None:
        """Forgets what was added with these very arguments."""
        for pair in labels.items():
            carriers = self._carriers[namespace]
            carriers[pair].remove(key)
            if not carriers[pair]:
                del carriers[pair]
            if not carriers:
                del self._carriers[namespace]

    def carrying(self, namespace: str, selector: Labels) -> set[K]:
        """Returns what carries all labels of a selector in a namespace; nothing for an empty selector."""
        carriers = self._carriers.get(namespace)
        if not carriers or not selector:
            return set()
        sets = sorted((carriers.get(pair, set()) for pair in selector.items()), key=len)
        return sets[0].intersection(*sets[1:])

    def carrying_anywhere(self, selector: Labels) -> set[K]:
        """The same of all namespaces."""
        return set().union(*(self.carrying(namespace, selector) for namespace in self._carriers))


class SelectorIndex(Generic[K]):
    """Finds the selectors that select certain labels. Its cost is that of the selectors that share one of the labels."""

    def __init__(self) -> None:
        # Each selector stands under the first of its labels: whoever it selects carries that one too.
        self._selectors: dict[tuple[str, _Pair], dict[K, Labels]] = {}

    def add(self, key: K, namespace: str, selector: Labels) -> None:
        """Takes in a selector that is not empty."""
        self._selectors.setdefault((namespace, min(selector.items())), {})[key] = selector

    def remove(self, key: K, namespace: str, selector: Labels) -> None:
        """Forgets what was added with these very arguments."""
        place = (namespace, min(selector.items()))
        del self._selectors[place][key]
        if not self._selectors[place]:
            del self._selectors[place]

    def selecting(self, namespace: str, labels: Labels) -> Iterator[K]:
        """Yields what selects these labels in a namespace, in no order."""
        pairs = labels.items()
        for pair in pairs:
            for key, selector in self._selectors.get((namespace, pair), {}).items():
                if selector.items() <= pairs:
                    yield key
