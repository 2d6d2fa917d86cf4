"""How many streams one node may have open, so that none takes the place of all others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

# A node proxy has one. Of a node whose network comes and goes, those that were cut without a word stay for 40 s.
MOST = 8


class NodeStreams:
    """The open streams of each node. When one more comes than a node may have, its oldest ends."""

    def __init__(self) -> None:
        # In the order in which they were opened.
        self._open: dict[str, dict[asyncio.Timeout, None]] = {}

    @contextmanager
    def hold(self, node: str, limit: asyncio.Timeout) -> Iterator[None]:
        """Counts a stream while the block runs.

        Args:
            limit: it runs out at once when the stream is to end, also one whose client does not read what it is sent.
        """
        streams = self._open.setdefault(node, {})
        if len(streams) >= MOST:
            oldest = next(iter(streams))
            del streams[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        streams[limit] = None
        try:
            yield
        finally:
            streams.pop(limit, None)
            if not streams and self._open.get(node) is streams:
                del self._open[node]
