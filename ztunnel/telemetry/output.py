"""Standard output that never stops the loop: what the reader does not take is held, bounded, and then dropped and counted."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable

# A reader that pauses for a second misses nothing at ten thousand lines a second of a hundred bytes.
MAX_HELD_BYTES = 1 << 20
# Lines of a busy moment leave together; nobody reads a log faster.
FLUSH_DELAY_S = 0.005
# POSIX: a pipe takes so much at once or nothing; more per write only where all of it may block without harm (files).
WRITE_BYTES = 1 << 16


class Output:
    """Whole lines in, as few writes as can be.

    Args:
        fd: stays the caller's. A pipe or terminal is opened anew, non-blocking, so that others who write to it are not affected.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._own = _open_nonblocking(fd)
        self._put = _sender(self._fd) if stat.S_ISSOCK(os.fstat(fd).st_mode) else _writer(self._fd)
        self._held = bytearray()
        self._due: asyncio.TimerHandle | None = None
        self._watching = False
        self.dropped_lines = 0

    def write(self, lines: bytes) -> None:
        """Takes whole lines; never blocks. Without a running loop they leave at once."""
        if len(self._held) + len(lines) > MAX_HELD_BYTES:
            self.dropped_lines += lines.count(b"\n")
            return
        self._held += lines
        if self._due is not None or self._watching:
            return
        try:
            self._due = asyncio.get_running_loop().call_later(FLUSH_DELAY_S, self._flush_due)
        except RuntimeError:
            self.flush()

    def flush(self) -> None:
        """Writes what the reader takes now."""
        while self._held:
            try:
                written = self._put(bytes(self._held[:WRITE_BYTES]))
            except BlockingIOError:
                self._watch()
                return
            except OSError:
                # Nobody will ever read it: the other end of the pipe is gone, or the disk is full.
                self.dropped_lines += self._held.count(b"\n")
                written = len(self._held)
            del self._held[:written]
        self._unwatch()

    def close(self) -> None:
        """Writes what can be written without waiting, and closes what it opened."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self.flush()
        self._unwatch()
        if self._own:
            os.close(self._fd)

    def _flush_due(self) -> None:
        self._due = None
        self.flush()

    def _watch(self) -> None:
        if not self._watching:
            try:
                asyncio.get_running_loop().add_writer(self._fd, self.flush)
                self._watching = True
            except RuntimeError:
                pass  # No loop yet or any more: the next write or close tries again.

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_writer(self._fd)


def _writer(fd: int) -> Callable[[bytes], int]:
    return lambda data: os.write(fd, data)


def _sender(fd: int) -> Callable[[bytes], int]:
    """A log collector's socket: not to block is said with each call, and does not concern others who hold it."""
    connection = socket.socket(fileno=os.dup(fd))
    return lambda data: connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _open_nonblocking(fd: int) -> tuple[int, bool]:
    """Returns a descriptor for the same file that does not block, and whether it is ours to close.

    O_NONBLOCK belongs to the open file and not to the descriptor: setting it on `fd` would set it for the shell that started us.
    A regular file never blocks, and a new open file would have its own position; a socket cannot be opened anew.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), True
        except OSError:
            return fd, False
    return fd, False
