"""Reads BTF, the kernel's description of its own types: offsets of fields, names of enumerators, arguments of tracepoints.

Source: the kernel's documentation, bpf/btf.rst, "BTF Type and String Encoding". Pure: bytes in, facts out.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_WORDS_3 = struct.Struct("<III")

_PTR, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC_PROTO = 2, 4, 5, 6, 8, 13
_MODIFIERS = frozenset({_TYPEDEF, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag: the type behind them counts
# Bytes that follow a type of each kind: fixed, and for each of its vlen members. A kind that is not here has none.
_TRAILER = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12)}
_LAST_KIND = 19  # ENUM64
# Deeper nesting of structs and typedefs than the kernel has is a loop in broken data.
_MAX_DEPTH = 32


class BtfError(Exception):
    """The data is not BTF that we can read, or does not describe what was asked for."""


@contextmanager
def _reading() -> Iterator[None]:
    """Turns what reading beyond the data's end raises into BtfError."""
    try:
        yield
    except (struct.error, ValueError, IndexError) as error:
        raise BtfError(f"broken BTF: {error}") from None


@dataclass(frozen=True, slots=True)
class _Type:
    """One type: where its members stand in the data, and what a reference points to."""

    name: int
    kind: int
    vlen: int
    flag: bool
    size_or_type: int
    members: int


@dataclass(frozen=True, slots=True)
class Btf:
    """The types of one kernel.

    Args:
        data: the whole file.
        strings: where the names start in it.
        types: by id, from 1; 0 is void.
        named: the ids of each (kind, name) that has one.
    """

    data: bytes
    strings: int
    types: tuple[_Type, ...]
    named: Mapping[tuple[int, str], int]

    @_reading()
    def offset_of(self, path: str) -> int:
        """The offset in bytes of a field.

        Args:
            path: "struct.field.field"; anonymous members are looked through, as C does.
        Raises:
            BtfError: this kernel has no such field, or it is a bit-field.
        """
        struct_name, *fields = path.split(".")
        type_id = self.named.get((_STRUCT, struct_name), 0)
        bits = 0
        for name in fields:
            found = self._find_member(type_id, name, _MAX_DEPTH)
            if found is None:
                raise BtfError(f"this kernel has no field {path}")
            type_id, offset = found
            bits += offset
        if bits % 8:
            raise BtfError(f"{path} does not start at a byte")
        return bits // 8

    @_reading()
    def enumerators(self, enum: str) -> dict[int, str]:
        """The names of an enumeration's values; empty where the kernel does not have it."""
        type_id = self.named.get((_ENUM, enum))
        if type_id is None:
            return {}
        found = self.types[type_id]
        pairs = struct.iter_unpack("<Ii", self.data[found.members : found.members + 8 * found.vlen])
        return {value: self._string(name) for name, value in pairs}

    @_reading()
    def tracepoint_arguments(self, tracepoint: str) -> int:
        """How many arguments a raw tracepoint gives to its program; 0 where the kernel does not have it."""
        type_id = self.named.get((_TYPEDEF, f"btf_trace_{tracepoint}"))
        if type_id is None:
            return 0
        pointer = self.types[self.types[type_id].size_or_type]
        prototype = self.types[pointer.size_or_type]
        if pointer.kind != _PTR or prototype.kind != _FUNC_PROTO:
            raise BtfError(f"btf_trace_{tracepoint} is not a pointer to a function")
        return prototype.vlen - 1  # the first is the tracer's own data

    def _string(self, offset: int) -> str:
        return _string_at(self.data, self.strings + offset)

    def _members(self, found: _Type) -> Iterator[tuple[str, int, int]]:
        """Name, type and offset in bits of each member."""
        for name, type_id, offset in _WORDS_3.iter_unpack(self.data[found.members : found.members + 12 * found.vlen]):
            yield self._string(name), type_id, offset & 0xFFFFFF if found.flag else offset

    def _find_member(self, type_id: int, wanted: str, depth: int) -> tuple[int, int] | None:
        if depth == 0:
            raise BtfError("types are nested in a loop")
        found = self.types[type_id]
        if found.kind in _MODIFIERS:
            return self._find_member(found.size_or_type, wanted, depth - 1)
        if found.kind not in {_STRUCT, _UNION}:
            return None
        for name, member_type, offset in self._members(found):
            if name == wanted:
                return member_type, offset
            inner = self._find_member(member_type, wanted, depth - 1) if not name else None
            if inner is not None:
                return inner[0], offset + inner[1]
        return None


@_reading()
def parse(data: bytes) -> Btf:
    """Reads the content of /sys/kernel/btf/vmlinux.

    Raises:
        BtfError: it is cut off, of another byte order, or has a kind of type that is not known.
    """
    magic, _, _, header_size, type_offset, type_size, string_offset, _ = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BtfError("not little-endian BTF")
    types = tuple(_read_types(data, header_size + type_offset, type_size))
    strings = header_size + string_offset
    return Btf(data, strings, types, _index(data, strings, types))


def _read_types(data: bytes, start: int, size: int) -> Iterator[_Type]:
    yield _Type(0, 0, 0, False, 0, 0)
    position, end = start, start + size
    while position < end:
        name, info, size_or_type = _TYPE.unpack_from(data, position)
        kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
        if kind > _LAST_KIND:
            raise BtfError(f"unknown kind of type: {kind}")
        position += _TYPE.size
        yield _Type(name, kind, vlen, bool(info >> 31), size_or_type, position)
        fixed, each = _TRAILER.get(kind, (0, 0))
        position += fixed + each * vlen


def _index(data: bytes, strings: int, types: tuple[_Type, ...]) -> dict[tuple[int, str], int]:
    """Only the kinds that are looked up by name; the first of a name wins."""
    named: dict[tuple[int, str], int] = {}
    for type_id, found in enumerate(types):
        if found.name and found.kind in {_STRUCT, _ENUM, _TYPEDEF}:
            named.setdefault((found.kind, _string_at(data, strings + found.name)), type_id)
    return named


def _string_at(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode("ascii", "replace")
