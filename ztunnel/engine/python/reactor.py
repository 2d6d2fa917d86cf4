"""The event loop as the engine sees it: readiness of file descriptors, coarse deadlines, and scratch memory that all connections share."""

import asyncio
import select
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Protocol

# One read takes up to this much: large reads halve the cost per byte of a bulk stream, and it still fits a second-level cache.
READ_BYTES = 256 * 1024
# Room for the header of a DATA frame in front of what was read, so that header and payload are sealed in one piece.
HEADER_BYTES = 9
# A TLS record carries at most this much plaintext (RFC 8446 section 5.1).
RECORD_BYTES = 16 * 1024
# Descriptors taken from the kernel at once. Their output leaves together, so more of them share a TLS record and a system call; but
# with too many the next process on the way has nothing to do meanwhile, and a chain of proxies works one at a time.
EVENTS = 16
EPOLLFAILED = EPOLLERR | EPOLLHUP
READABLE = EPOLLIN | EPOLLRDHUP
# Deadlines are this coarse; none of ours is shorter than several of these.
TICK_S = 0.5


class Expiring(Protocol):
    """Something that has a deadline."""

    def expire(self) -> None: ...


class Deadlines:
    """Deadlines in buckets of TICK_S: setting and cancelling one costs a set operation, not a timer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_tick = int(clock() / TICK_S) + 1
        self._buckets: dict[int, set[Expiring]] = {}

    def set(self, timeout_s: float, item: Expiring) -> int:
        """Calls item.expire() between timeout_s and timeout_s + TICK_S from now. Returns what `cancel` wants."""
        bucket = int((self._clock() + timeout_s) / TICK_S) + 1
        self._buckets.setdefault(bucket, set()).add(item)
        return bucket

    def cancel(self, bucket: int, item: Expiring) -> None:
        items = self._buckets.get(bucket)
        if items is not None:
            items.discard(item)
            if not items:
                # A set keeps the room of all that it once held; a burst's would last until its time comes.
                del self._buckets[bucket]

    def expire_due(self) -> None:
        """Expires everything whose time has come."""
        now_tick = int(self._clock() / TICK_S)
        while self._next_tick <= now_tick:
            items = self._buckets.get(self._next_tick)
            # One at a time: an item may cancel others of its bucket, or fail and leave them to the next call.
            while items:
                items.pop().expire()
            self._buckets.pop(self._next_tick, None)
            self._next_tick += 1


class Flushing(Protocol):
    """Something that gathers output during a turn."""

    def flush(self) -> None: ...


class Closing(Protocol):
    """Something that ends by itself, and can be told to."""

    def close(self) -> None: ...


class Reactor:
    """Readiness callbacks on the running loop, and scratch buffers.

    All descriptors of the engine are in one epoll set, of which the loop watches the one descriptor: what is ready together is
    handled together, and what it caused leaves together at the end of that turn, without another pass of the loop.

    The buffers belong to whoever runs a callback, for the time of that callback: a connection that is idle owns no memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = loop.time
        self.soon = loop.call_soon
        self.frame_view = memoryview(bytearray(HEADER_BYTES + READ_BYTES))
        self.payload_view = self.frame_view[HEADER_BYTES:]
        self.cipher_view = memoryview(bytearray(READ_BYTES))
        self.plain_view = memoryview(bytearray(READ_BYTES + RECORD_BYTES))
        self.deadlines = Deadlines(loop.time)
        # Connections that are over and whose peers have not taken everything yet.
        self.farewells: set[Closing] = set()
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._turning = False
        # For a reader, during its callback: its peer sends no more than what is there to be read.
        self.ending = False
        self._flushes: list[Flushing] = []
        loop.add_reader(self._epoll.fileno(), self._turn)
        self._ticking: asyncio.TimerHandle | None = loop.call_later(TICK_S, self._tick)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Calls back whenever fd can be read, has failed or was closed by its peer."""
        known = fd in self._readers
        self._readers[fd] = callback
        if fd in self._writers:
            self._epoll.modify(fd, READABLE | EPOLLOUT)
        elif not known:
            self._epoll.register(fd, READABLE)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Calls back whenever fd can be written, or has failed."""
        known = fd in self._writers
        self._writers[fd] = callback
        if fd in self._readers:
            self._epoll.modify(fd, READABLE | EPOLLOUT)
        elif not known:
            self._epoll.register(fd, EPOLLOUT)

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._narrow(fd, EPOLLOUT, fd in self._writers)

    def remove_writer(self, fd: int) -> None:
        if self._writers.pop(fd, None) is not None:
            self._narrow(fd, READABLE, fd in self._readers)

    def _narrow(self, fd: int, mask: int, watched: bool) -> None:
        if watched:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Fd is about to be closed, which takes it out of the epoll set."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)

    def flush_later(self, item: Flushing) -> None:
        """Calls item.flush() at the end of this turn. Once per call: asking twice flushes twice."""
        if self._turning:
            self._flushes.append(item)
        else:
            self.soon(item.flush)

    def _turn(self) -> None:
        self._turning = True
        try:
            for fd, mask in self._epoll.poll(0, EVENTS):
                self._handle(fd, mask)
            self._flush()
        finally:
            self._turning = False
            for item in self._flushes:
                self.soon(item.flush)
            self._flushes = []

    def _flush(self) -> None:
        flushes, self._flushes = self._flushes, []
        for item in flushes:
            try:
                item.flush()
            except Exception as error:  # noqa: BLE001  as in _handle
                self.loop.call_exception_handler({"message": "a flush failed", "exception": error})

    def _handle(self, fd: int, mask: int) -> None:
        try:
            if mask & ~EPOLLOUT:
                self.ending = mask & EPOLLRDHUP != 0
                callback = self._readers.get(fd)
                if callback is not None:
                    callback()
                elif mask & EPOLLFAILED and fd in self._writers:
                    self._writers[fd]()
            if mask & EPOLLOUT:
                callback = self._writers.get(fd)
                if callback is not None:
                    callback()
        except Exception as error:  # noqa: BLE001  a defect of ours must cost this descriptor, not the node's other connections
            self.loop.call_exception_handler({"message": f"descriptor {fd} failed", "exception": error})
            self.remove_reader(fd)
            self.remove_writer(fd)

    def _tick(self) -> None:
        self._ticking = self.loop.call_later(TICK_S, self._tick)
        self.deadlines.expire_due()

    def close(self) -> None:
        """Stops calling back, and ends what would have ended by itself."""
        if self._epoll.closed:
            return
        for farewell in list(self.farewells):
            farewell.close()
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
