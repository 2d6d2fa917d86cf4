"""One object for many that are equal: most pods differ from their neighbours in little more than name and address."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)
V = TypeVar("V", bound=Hashable)

# Sharing saves memory and decides nothing, so the table may be forgotten whenever it has grown to more than a large cluster needs.
_MAX_SHARED = 65_536


class Sharing:
    """Hands out the first of equal values in place of the later ones."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._mappings: dict[tuple[tuple[str, Any], ...], Mapping[str, Any]] = {}

    def value(self, value: T) -> T:
        if len(self._values) >= _MAX_SHARED:
            self._values.clear()
        shared: T = self._values.setdefault(value, value)
        return shared

    def mapping(self, mapping: Mapping[str, V]) -> Mapping[str, V]:
        """Returns a mapping that nobody can change, sorted by its keys."""
        items = tuple(sorted(mapping.items()))
        shared = self._mappings.get(items)
        if shared is None:
            if len(self._mappings) >= _MAX_SHARED:
                self._mappings.clear()
            shared = self._mappings[items] = MappingProxyType(dict(items))
        return shared
