"""Which of two agents on a node acts: the one that came last. During a rolling update both are there."""

from pathlib import Path
from uuid import uuid4


class Ownership:
    """Args:
    path: of a file that the agents of a node have in common; None: this one is alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._name = uuid4().hex

    def claim(self) -> None:
        """From now on the others leave everything as it is. Raises OSError: the file cannot be written."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f".{self._path.name}.{self._name}")
            fresh.write_text(self._name)
            fresh.rename(self._path)

    def held(self) -> bool:
        """Whether nobody has claimed it since; of one who ended, whoever is left takes over."""
        if self._path is None:
            return True
        try:
            return self._path.read_text() == self._name
        except FileNotFoundError:
            self.claim()
            return True

    def give_up(self) -> None:
        """This agent ends: another may take over."""
        if self._path is not None and self._path.exists() and self.held():
            self._path.unlink(missing_ok=True)
