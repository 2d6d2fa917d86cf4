"""The capture programs of one pod: pinned in a directory of a BPF file system, found again there, and removed.

Opened anew for each use, so that nothing here is state of the agent: what the kernel holds is the truth.
"""

import ctypes
import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from ebpf import libbpf
from ebpf.layout import ADDRESS_BYTES, ORIGINAL_NAME_BYTES, Settings, pack_address, unpack_address

OBJECTS = Path(__file__).parent / "objects"
_MAPS = ("listeners", "own", "settings", "originals")
_PROGRAMS = ("capture", "loop")
_LINK = "link"
_BUILD = "build"
_FIRST = struct.pack("=I", 0)
_PRESENT = struct.pack("=I", 1)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file descriptor of something pinned, closed at the end.

    Raises:
        FileNotFoundError: nothing is pinned there.
    """
    fd = libbpf.open_pinned(path)
    try:
        yield fd
    finally:
        os.close(fd)


@cache
def _build() -> int:
    """Tells versions of the programs apart; fits an s64."""
    return int.from_bytes(hashlib.sha256((OBJECTS / "capture.bpf.o").read_bytes()).digest()[:7])


def create(directory: Path) -> None:
    """Loads the programs of one pod and pins programs and maps; nothing is attached yet. What was pinned there is replaced.

    Raises:
        OSError: the kernel refuses; what was pinned until then is unpinned.
    """
    originals = read_originals(directory)
    remove(directory)
    directory.mkdir(parents=True)
    try:
        with libbpf.Object(OBJECTS / "capture.bpf.o") as programs:
            for name in _MAPS:
                libbpf.pin(programs.map(name), directory / name)
            for name in _PROGRAMS:
                libbpf.pin(programs.program(name), directory / name)
        for name, value in ({**originals, _BUILD: _build()}).items():
            note_original(directory, name, value)
    except OSError:
        remove(directory)
        raise


def complete(directory: Path) -> bool:
    """Whether everything that `create` pins is there, and of this version."""
    return all((directory / name).exists() for name in (*_MAPS, *_PROGRAMS)) and _read_notes(directory).get(_BUILD) == _build()


def remove(directory: Path) -> None:
    """Unpins everything; the link's end detaches the program. Idempotent."""
    for name in (_LINK, *_PROGRAMS, *_MAPS):
        (directory / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        directory.rmdir()


def attach(directory: Path, netns: int) -> None:
    """Attaches the sk_lookup program to a network namespace (a file descriptor) and pins the link."""
    with opened(directory / "capture") as program:
        link = libbpf.attach_to_netns(program, netns, libbpf.SK_LOOKUP)
        try:
            libbpf.pin(link, directory / _LINK)
        finally:
            os.close(link)


def detach(directory: Path) -> None:
    """Ends the attachment; idempotent."""
    (directory / _LINK).unlink(missing_ok=True)


def attached_netns(directory: Path) -> int | None:
    """Inode of the namespace that the pinned link attaches to; None: there is no link, or its namespace is gone."""
    try:
        with opened(directory / _LINK) as link:
            return libbpf.linked_netns(link) or None
    except FileNotFoundError:
        return None


def loop_program_id(directory: Path) -> int | None:
    """The kernel's number of the pinned TC program; None: it is not there."""
    try:
        with opened(directory / "loop") as program:
            return libbpf.program_id(program)
    except FileNotFoundError:
        return None


def read_own(directory: Path) -> frozenset[IPv4Address | IPv6Address]:
    """The addresses that the programs take for the pod's own; none when nothing is pinned."""
    try:
        with opened(directory / "own") as own:
            return frozenset(unpack_address(key) for key in libbpf.map_keys(own, ADDRESS_BYTES))
    except FileNotFoundError:
        return frozenset()


def write_own(directory: Path, addresses: frozenset[IPv4Address | IPv6Address]) -> None:
    """Makes the pod's own addresses these: new ones first, so that no address is missing meanwhile."""
    with opened(directory / "own") as own:
        held = frozenset(libbpf.map_keys(own, ADDRESS_BYTES))
        wanted = frozenset(map(pack_address, addresses))
        for key in wanted - held:
            libbpf.map_update(own, key, _PRESENT)
        for key in held - wanted:
            libbpf.map_delete(own, key)


def read_settings(directory: Path) -> Settings | None:
    """The switches of the programs; None: nothing is pinned."""
    try:
        with opened(directory / "settings") as settings:
            value = libbpf.map_lookup(settings, _FIRST, ctypes.sizeof(Settings))
    except FileNotFoundError:
        return None
    return Settings.from_buffer_copy(value) if value else None


def write_settings(directory: Path, settings: Settings) -> None:
    """Sets the switches."""
    with opened(directory / "settings") as fd:
        libbpf.map_update(fd, _FIRST, bytes(settings))


def read_originals(directory: Path) -> dict[str, int]:
    """The values that were noted before capture changed them, by name; none when nothing is pinned."""
    return {name: value for name, value in _read_notes(directory).items() if name != _BUILD}


def _read_notes(directory: Path) -> Mapping[str, int]:
    try:
        with opened(directory / "originals") as originals:
            found = libbpf.mapping_of(originals, ORIGINAL_NAME_BYTES, struct.calcsize("=q"))
    except FileNotFoundError:
        return {}
    return {name.rstrip(b"\0").decode(): struct.unpack("=q", value)[0] for name, value in found.items()}


def note_original(directory: Path, name: str, value: int) -> None:
    """Notes a value once; what was noted first stays, for it is the original."""
    key = name.encode().ljust(ORIGINAL_NAME_BYTES, b"\0")
    with opened(directory / "originals") as originals:
        if libbpf.map_lookup(originals, key, struct.calcsize("=q")) is None:
            libbpf.map_update(originals, key, struct.pack("=q", value))


def forget_original(directory: Path, name: str) -> None:
    """Forgets a value that was put back."""
    with opened(directory / "originals") as originals:
        libbpf.map_delete(originals, name.encode().ljust(ORIGINAL_NAME_BYTES, b"\0"))
