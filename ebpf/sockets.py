"""Walks over the TCP sockets of one network namespace: adopting ztunnel's listeners, and marking sockets across a switch of capture."""

import ctypes
import struct
import threading
from pathlib import Path

from ebpf import libbpf
from ebpf.layout import SynSent, Walk
from ebpf.pins import OBJECTS, opened

_FIRST = struct.pack("=I", 0)


class SocketWalker:
    """The iterator programs, loaded once; every walk is of the namespace that the calling thread is in. Thread-safe."""

    def __init__(self) -> None:
        """Loads the programs.

        Raises:
            OSError: the kernel has no TCP iterator (5.15) or no BTF.
        """
        self._programs = libbpf.Object(OBJECTS / "sockets.bpf.o")
        self._lock = threading.Lock()

    def close(self) -> None:
        """Unloads the programs."""
        self._programs.close()

    def _run(self, program: str, walk: Walk) -> Walk:
        walks = self._programs.map("walks")
        libbpf.map_update(walks, _FIRST, bytes(walk))
        libbpf.run_iterator(self._programs.program(program))
        value = libbpf.map_lookup(walks, _FIRST, ctypes.sizeof(Walk))
        assert value is not None, "an array has all its elements"
        return Walk.from_buffer_copy(value)

    def adopt(self, listeners: Path) -> tuple[int, ...]:
        """Puts ztunnel's listeners into the pinned listener map; returns how many there are for each direction (at most MEMBERS).

        Slots are overwritten, and sockets that close leave the map by themselves: the map never lacks a listener meanwhile.
        """
        with self._lock, opened(listeners) as fd:
            target = self._programs.map("target")
            libbpf.map_update(target, _FIRST, struct.pack("=I", fd))
            try:
                return tuple(self._run("adopt", Walk()).listeners)
            finally:
                libbpf.map_delete(target, _FIRST)

    def mark(self, from_mark: int, to_mark: int, syn_sent: SynSent) -> tuple[int, int]:
        """Gives the sockets (listeners aside) that carry `from_mark` the mark `to_mark`, under MARK_MASK.

        Args:
            syn_sent: which of those that wait for the answer to their SYN.
        Returns:
            How many were marked, and how many unmarked half-open connections wait for their last ACK (they cannot be marked).
        """
        with self._lock:
            done = self._run("mark", Walk(from_mark=from_mark, to_mark=to_mark, syn_sent=syn_sent))
            return done.marked, done.half_open
