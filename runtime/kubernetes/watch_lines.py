"""The stream of a watch: JSON objects, a line each. No I/O."""

import json
from collections.abc import Iterator
from typing import Any

from mesh.errors import BrokenAnswer

# An object has 1.5 MiB at most in etcd, and as JSON a few times that. Source: etcd, --max-request-bytes.
MAX_LINE_BYTES = 16 << 20
# Of an answer that cannot be read a log line shows so many bytes.
_MAX_SHOWN = 128


class WatchLines:
    """Cuts what arrives into lines, and reads each."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = max_line_bytes
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yields the objects that are complete now; to be exhausted before the next chunk.

        Raises:
            BrokenAnswer: a line is too long, or is no JSON object; nothing that follows can be trusted.
        """
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if len(self._rest) + len(line) > self._limit:
                raise self._too_long()
            whole = bytes(self._rest + line) if self._rest else line
            self._rest.clear()
            if whole.strip():
                yield read_object(whole)
        if len(self._rest) + len(rest) > self._limit:
            raise self._too_long()
        self._rest += rest

    def end(self) -> None:
        """Tells that the stream is over. Raises BrokenAnswer: in the middle of a line."""
        if self._rest.strip():
            raise BrokenAnswer(f"the answer ended within {shown(bytes(self._rest))}")

    def _too_long(self) -> BrokenAnswer:
        return BrokenAnswer(f"a line of more than {self._limit} bytes", too_large=True)


def read_object(text: bytes) -> dict[str, Any]:
    """Reads a JSON object. Raises BrokenAnswer: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BrokenAnswer(f"not a JSON object: {shown(text)}")
    return value


def shown(text: bytes) -> str:
    start = text[:_MAX_SHOWN].decode(errors="replace")
    return ascii(start) + ("..." if len(text) > _MAX_SHOWN else "")
