"""BTF: written by hand here, and the running kernel's own read against bpftool."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf.observe import btf

INT, PTR, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC_PROTO = 1, 2, 4, 5, 6, 8, 10, 13


class Writer:
    """Writes BTF: types are numbered from 1 in the order in which they are added."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""

    def name(self, text: str) -> int:
        if not text:
            return 0
        offset = len(self.strings)
        self.strings += text.encode() + b"\0"
        return offset

    def add(self, kind: int, name: str, size_or_type: int, *extra: int, vlen: int = 0, flag: bool = False) -> None:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | vlen, size_or_type)
        self.types += struct.pack(f"<{len(extra)}I", *extra)

    def add_struct(self, kind: int, name: str, *members: tuple[str, int, int], flag: bool = False) -> None:
        extra = [word for member, type_id, offset in members for word in (self.name(member), type_id, offset)]
        self.add(kind, name, 64, *extra, vlen=len(members), flag=flag)

    def data(self) -> bytes:
        header = struct.pack("<HBBIIIII", btf.MAGIC, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings


def kernel() -> Writer:
    """A kernel with an anonymous union, a typedef of a struct, a bit-field, an enum and a tracepoint."""
    made = Writer()
    made.add(INT, "int", 4, 32)  # 1
    made.add_struct(STRUCT, "", ("net", 1, 0))  # 2
    made.add(TYPEDEF, "possible_net_t", 2)  # 3
    made.add_struct(UNION, "", ("family", 1, 0), ("alias", 1, 0))  # 4
    made.add_struct(STRUCT, "sock", ("first", 1, 0), ("", 4, 32), ("net", 3, 64), ("bit", 1, 101 | 1 << 24), flag=True)  # 5
    made.add(ENUM, "reason", 4, made.name("R_NONE"), 0, made.name("R_MINUS"), 0xFFFFFFFF, vlen=2)  # 6
    made.add(FUNC_PROTO, "", 0, 0, 0, 0, 5, 0, 1, vlen=3)  # 7
    made.add(PTR, "", 7)  # 8
    made.add(TYPEDEF, "btf_trace_hit", 8)  # 9
    made.add(TYPEDEF, "btf_trace_wrong", 1)  # 10
    return made


@pytest.mark.parametrize(
    ("path", "offset"), [("sock.first", 0), ("sock.family", 4), ("sock.alias", 4), ("sock.net", 8), ("sock.net.net", 8)]
)
def test_offset_of_a_field(path: str, offset: int) -> None:
    assert btf.parse(kernel().data()).offset_of(path) == offset


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sock.missing", "this kernel has no field sock.missing"),
        ("sock.first.deeper", "this kernel has no field sock.first.deeper"),
        ("absent.first", "this kernel has no field absent.first"),
        ("sock.bit", "sock.bit does not start at a byte"),
    ],
)
def test_what_is_no_field(path: str, message: str) -> None:
    with pytest.raises(btf.BtfError, match=message):
        btf.parse(kernel().data()).offset_of(path)


def test_enumerators() -> None:
    types = btf.parse(kernel().data())
    assert types.enumerators("reason") == {0: "R_NONE", -1: "R_MINUS"}
    assert types.enumerators("absent") == {}


def test_tracepoint_arguments() -> None:
    types = btf.parse(kernel().data())
    assert types.tracepoint_arguments("hit") == 2
    assert types.tracepoint_arguments("absent") == 0
    with pytest.raises(btf.BtfError, match="btf_trace_wrong is not a pointer to a function"):
        types.tracepoint_arguments("wrong")


def test_types_in_a_loop_are_an_error() -> None:
    made = Writer()
    made.add_struct(STRUCT, "loop", ("", 1, 0))
    with pytest.raises(btf.BtfError, match="nested in a loop"):
        btf.parse(made.data()).offset_of("loop.field")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "broken BTF"),
        (b"\xeb\x9f" + kernel().data()[2:], "not little-endian BTF"),
        (kernel().data()[:60], "broken BTF"),
        (
            struct.pack("<HBBIIIII", btf.MAGIC, 1, 0, 24, 0, 12, 12, 1) + struct.pack("<III", 0, 25 << 24, 0) + b"\0",
            "unknown kind of type: 25",
        ),
    ],
)
def test_broken_data(data: bytes, message: str) -> None:
    with pytest.raises(btf.BtfError, match=message):
        btf.parse(data)


@given(st.integers(0, len(kernel().data()) - 1), st.binary(min_size=1, max_size=8))
def test_nothing_but_btf_error_is_raised(position: int, garbage: bytes) -> None:
    data = kernel().data()
    try:
        types = btf.parse(data[:position] + garbage + data[position + len(garbage) :])
        types.offset_of("sock.family")
        types.enumerators("reason")
        types.tracepoint_arguments("hit")
    except btf.BtfError:
        pass


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="this kernel has no BTF")
def test_the_running_kernel() -> None:
    types = btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())
    # Fixed by the kernel's ABI or by RFC: a list of pointers, an IPv4 and a TCP header.
    assert [types.offset_of(f"list_head.{name}") for name in ("next", "prev")] == [0, 8]
    assert [types.offset_of(f"iphdr.{name}") for name in ("ttl", "protocol", "saddr", "daddr")] == [8, 9, 12, 16]
    assert [types.offset_of(f"tcphdr.{name}") for name in ("source", "dest", "seq", "window")] == [0, 2, 4, 14]
    assert types.enumerators("bpf_prog_type")[17] == "BPF_PROG_TYPE_RAW_TRACEPOINT"
