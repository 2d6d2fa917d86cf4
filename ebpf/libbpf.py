"""A thin layer over Debian's libbpf.so.1: load objects, pin, read and write maps, attach, walk. Every failure is an OSError.

File descriptors that are handed out belong to the caller, except those of an Object, which close with it.
"""

import ctypes
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

# Source: enum bpf_attach_type, include/uapi/linux/bpf.h.
SK_LOOKUP = 36
TRACE_ITER = 28

_LIBRARY = "libbpf.so.1"
_WARN = 0  # LIBBPF_WARN; libbpf's informative lines are not for our log
_LINE_BYTES = 4096
# Of a refused program the verifier's last words say why.
_KEPT_LINES = 12
_READ_BYTES = 4096
_PrintFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_warnings: list[str] = []


def _collect(level: int, form: bytes, arguments: int) -> int:
    """Keeps libbpf's warnings for the error that follows them; `arguments` is a va_list, which the ABI passes as a pointer."""
    if level == _WARN:
        line = ctypes.create_string_buffer(_LINE_BYTES)
        ctypes.CDLL(None).vsnprintf(line, _LINE_BYTES, form, ctypes.c_void_p(arguments))
        _warnings[:] = [*_warnings, *line.value.decode(errors="replace").splitlines()][-_KEPT_LINES:]
    return 0


_COLLECT = _PrintFunction(_collect)  # lives as long as libbpf may call it


@cache
def _library() -> ctypes.CDLL:
    """The library, its functions that return pointers declared.

    Raises:
        OSError: it is not installed (Debian: libbpf1).
    """
    library = ctypes.CDLL(_LIBRARY, use_errno=True)
    for name in ("open_file", "find_map_by_name", "find_program_by_name"):
        getattr(library, f"bpf_object__{name}").restype = ctypes.c_void_p
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print(_COLLECT)
    return library


def available() -> bool:
    """Whether libbpf is installed."""
    try:
        _library()
    except OSError:
        return False
    return True


def _call(function: str, *arguments: object) -> int:
    """Calls a function of libbpf that returns 0, a count or a file descriptor, or a negative errno."""
    result = int(getattr(_library(), function)(*arguments))
    if result < 0:
        raise OSError(-result, f"{function}: {os.strerror(-result)}" + "".join(f"\n{line}" for line in _warnings))
    return result


def _pointer(function: str, *arguments: object) -> ctypes.c_void_p:
    """Calls a function of libbpf that returns a pointer, or NULL and errno."""
    result = getattr(_library(), function)(*arguments)
    if not result:
        reason = ctypes.get_errno()
        raise OSError(reason, f"{function}: {os.strerror(reason)}" + "".join(f"\n{line}" for line in _warnings))
    return ctypes.c_void_p(result)


class Object:
    """A compiled object, its maps made and its programs verified by the kernel; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        """Loads the object.

        Raises:
            OSError: there is no such file, or the kernel refuses it; the verifier's last lines are in the message.
        """
        _library()
        _warnings.clear()
        self._object = _pointer("bpf_object__open_file", os.fsencode(path), None)
        try:
            _call("bpf_object__load", self._object)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is not pinned or held elsewhere."""
        _library().bpf_object__close(self._object)

    def map(self, name: str) -> int:
        """The file descriptor of a map of the object."""
        return _call("bpf_map__fd", _pointer("bpf_object__find_map_by_name", self._object, name.encode()))

    def program(self, name: str) -> int:
        """The file descriptor of a program of the object."""
        return _call("bpf_program__fd", _pointer("bpf_object__find_program_by_name", self._object, name.encode()))


def pin(fd: int, path: Path) -> None:
    """Keeps a map, program or link alive under a name in a BPF file system."""
    _call("bpf_obj_pin", fd, os.fsencode(path))


def open_pinned(path: Path) -> int:
    """Opens what was pinned."""
    return _call("bpf_obj_get", os.fsencode(path))


def attach_to_netns(program: int, netns: int, attach_type: int) -> int:
    """Attaches a program to a network namespace (a file descriptor); returns the link, which detaches when nothing holds it."""
    return _call("bpf_link_create", program, netns, attach_type, None)


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Sets one element; the lengths are the map's."""
    _call("bpf_map_update_elem", fd, key, value, ctypes.c_uint64(0))


def map_lookup(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """Reads one element; None: there is no such key. `value_bytes` is the map's value size."""
    value = ctypes.create_string_buffer(value_bytes)
    try:
        _call("bpf_map_lookup_elem", fd, key, value)
    except FileNotFoundError:
        return None
    return value.raw


def map_delete(fd: int, key: bytes) -> None:
    """Removes one element; nothing happens when it is not there."""
    try:
        _call("bpf_map_delete_elem", fd, key)
    except FileNotFoundError:
        return


def map_keys(fd: int, key_bytes: int) -> Iterator[bytes]:
    """Walks a hash map's keys; do not change the map meanwhile."""
    previous: bytes | None = None
    while True:
        key = ctypes.create_string_buffer(key_bytes)
        try:
            _call("bpf_map_get_next_key", fd, previous, key)
        except FileNotFoundError:
            return
        previous = key.raw
        yield previous


def run_iterator(program: int) -> None:
    """Runs an iterator program over everything, in the calling thread and its network namespace, to the end."""
    link = _call("bpf_link_create", program, 0, TRACE_ITER, None)
    try:
        walk = _call("bpf_iter_create", link)
        try:
            while os.read(walk, _READ_BYTES):
                pass
        finally:
            os.close(walk)
    finally:
        os.close(link)


class _ProgramInfo(ctypes.Structure):
    """The beginning of struct bpf_prog_info."""

    _fields_ = (("type", ctypes.c_uint32), ("id", ctypes.c_uint32), ("tag", ctypes.c_uint8 * 8))


class _LinkInfo(ctypes.Structure):
    """struct bpf_link_info as far as a link to a network namespace fills it."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("netns", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 40),
    )


def _read_info(fd: int, info: ctypes.Structure) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _call("bpf_obj_get_info_by_fd", fd, ctypes.byref(info), ctypes.byref(size))


def program_id(fd: int) -> int:
    """The kernel's number of a program."""
    info = _ProgramInfo()
    _read_info(fd, info)
    return int(info.id)


def linked_netns(fd: int) -> int:
    """Inode of the network namespace that a link attaches to; 0 when that is gone."""
    info = _LinkInfo()
    _read_info(fd, info)
    return int(info.netns)


def mapping_of(fd: int, key_bytes: int, value_bytes: int) -> Mapping[bytes, bytes]:
    """A hash map as a dict."""
    found = {key: map_lookup(fd, key, value_bytes) for key in map_keys(fd, key_bytes)}
    return {key: value for key, value in found.items() if value is not None}
