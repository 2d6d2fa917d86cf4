"""The objects of a directory, file by file: what a file that changed means for the whole, and the changes since the last good state.

No I/O. Objects are kept until they are handed out, and of what was handed out an outline and a digest: a hundredth of their size.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.errors import ConfigError, ConfigErrors
from mesh.kubernetes import Object
from mesh.manifest_checks import Outline, find_misfits
from mesh.manifests import Reading
from mesh.model import IPAddress

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _File:
    """`fresh`: the objects, with their digests, while they were not handed out."""

    outlines: tuple[Outline, ...]
    ignored: tuple[str, ...]
    errors: tuple[ConfigError, ...]
    fresh: dict[ObjectKey, tuple[bytes, Object]]


@dataclass(slots=True)
class _Fit:
    """Counts names, so that it is known at once whether all objects fit together; what does not, `find_misfits` says."""

    keys: Counter[ObjectKey] = field(default_factory=Counter)
    uids: Counter[str] = field(default_factory=Counter)
    addresses: Counter[IPAddress] = field(default_factory=Counter)
    references: Counter[ObjectKey] = field(default_factory=Counter)
    contested: int = 0
    dangling: int = 0

    def add(self, outline: Outline) -> None:
        self.contested += _count(self.keys, outline.key) + sum(_count(self.addresses, ip) for ip in outline.addresses)
        self.contested += _count(self.uids, outline.uid) if outline.uid else 0
        self.dangling -= self.keys[outline.key] == 1 and outline.key in self.references
        for _, target in outline.references:
            _count(self.references, target)
            self.dangling += self.references[target] == 1 and target not in self.keys

    def remove(self, outline: Outline) -> None:
        self.contested -= _discount(self.keys, outline.key) + sum(_discount(self.addresses, ip) for ip in outline.addresses)
        self.contested -= _discount(self.uids, outline.uid) if outline.uid else 0
        self.dangling += outline.key not in self.keys and outline.key in self.references
        for _, target in outline.references:
            _discount(self.references, target)
            self.dangling -= target not in self.references and target not in self.keys

    @property
    def perfect(self) -> bool:
        return not (self.contested or self.dangling)


@dataclass(slots=True)
class ManifestFiles:
    """What lies in the directory, and what was handed out of it (digests, by key)."""

    _files: dict[str, _File] = field(default_factory=dict)
    _fit: _Fit = field(default_factory=_Fit)
    _handed_out: dict[ObjectKey, bytes] = field(default_factory=dict)
    _dirty_files: set[str] = field(default_factory=set)
    _dirty_keys: set[ObjectKey] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The objects of kinds that we do not know."""
        return tuple(name for file in sorted(self._files) for name in self._files[file].ignored)

    def put(self, name: str, reading: Reading) -> None:
        """Takes in a file as it is now."""
        self.remove(name)
        outlines = tuple(placed.outline for placed in reading.placed)
        fresh = {placed.outline.key: (placed.digest, placed.value) for placed in reading.placed}
        self._files[name] = _File(outlines, tuple(reading.ignored), tuple(reading.errors), fresh)
        self._dirty_files.add(name)
        for outline in outlines:
            self._fit.add(outline)

    def remove(self, name: str) -> None:
        """Forgets a file, known or not."""
        known = self._files.pop(name, None)
        self._dirty_files.discard(name)
        for outline in known.outlines if known is not None else ():
            self._fit.remove(outline)
            self._dirty_keys.add(outline.key)

    def take_changes(self) -> list[ObjectChange]:
        """Returns what leads from the last good state to what the files hold now: first what is gone.

        Raises:
            ConfigErrors: everything that is wrong; then nothing is handed out, and nothing forgotten.
        """
        broken = [error for name in sorted(self._files) for error in self._files[name].errors]
        if broken or not self._fit.perfect:
            outlines = (outline for name in sorted(self._files) for outline in self._files[name].outlines)
            raise ConfigErrors((*broken, *find_misfits(outlines)))
        changes = [*self._take_gone(), *self._take_fresh()]
        self._dirty_keys.clear()
        self._dirty_files.clear()
        return changes

    def _take_gone(self) -> Iterator[ObjectChange]:
        for key in sorted(self._dirty_keys):
            if key not in self._fit.keys and self._handed_out.pop(key, None) is not None:
                yield ObjectChange(key, None)

    def _take_fresh(self) -> Iterator[ObjectChange]:
        for name in sorted(self._dirty_files):
            for key, (digest, value) in self._files[name].fresh.items():
                if self._handed_out.get(key) != digest:
                    self._handed_out[key] = digest
                    yield ObjectChange(key, value)
            self._files[name].fresh = {}


def _count(counter: Counter[K], key: K) -> int:
    """Returns 1 where the key is now there a second time."""
    counter[key] += 1
    return counter[key] == 2


def _discount(counter: Counter[K], key: K) -> int:
    """Returns 1 where the key is now there but once."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
    return counter[key] == 1
