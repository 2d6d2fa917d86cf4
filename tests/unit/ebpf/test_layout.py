"""The layouts that programs and Python share, compared with what the compiler made."""

import ctypes
import json
import subprocess
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf.layout import (
    ADDRESS_BYTES,
    LISTENER_PORTS,
    MEMBERS,
    ORIGINAL_NAME_BYTES,
    OWN_ADDRESSES,
    Settings,
    Walk,
    pack_address,
    unpack_address,
)
from ebpf.pins import OBJECTS


def btf(name: str) -> dict[str, list[tuple[str, int]]]:
    """Members of every struct of an object, with their offsets in bits, as bpftool reads them from its BTF."""
    dump = subprocess.run(["bpftool", "-j", "btf", "dump", "file", str(OBJECTS / name)], capture_output=True, check=True).stdout
    structs = (found for found in json.loads(dump)["types"] if found["kind"] == "STRUCT")
    return {found["name"]: [(one["name"], one["bits_offset"]) for one in found["members"]] for found in structs}


def fields(structure: type[ctypes.Structure]) -> list[int]:
    return [getattr(structure, name).offset * 8 for name, *_ in structure._fields_]


@pytest.mark.parametrize(
    ("file", "name", "structure"), [("capture.bpf.o", "settings", Settings), ("sockets.bpf.o", "walk", Walk)], ids=["settings", "walk"]
)
def test_structures_have_the_same_members(file: str, name: str, structure: type[ctypes.Structure]) -> None:
    members = btf(file)[name]
    assert [offset for _, offset in members] == fields(structure)
    assert len(members) == len(structure._fields_)


def test_constants_of_the_header() -> None:
    source = "".join((OBJECTS.parent / "programs" / name).read_text() for name in ("capture.h", "capture.bpf.c"))
    for line in (
        f"#define MEMBERS {MEMBERS}",
        f"#define OWN_ADDRESSES {OWN_ADDRESSES}",
        f"#define ORIGINAL_NAME {ORIGINAL_NAME_BYTES}",
        "#define MARK_MASK 0xfff",
        "#define ZTUNNEL_MARK 0x539",
        "#define LOOP_MARK 0x111",
        *(f"#define {name}_PORT {port}" for name, port in zip(("OUTBOUND", "INBOUND", "HBONE"), LISTENER_PORTS, strict=True)),
    ):
        assert line in source


@given(st.ip_addresses().filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None))
def test_addresses_survive(ip) -> None:
    packed = pack_address(ip)
    assert len(packed) == ADDRESS_BYTES
    assert unpack_address(packed) == ip


def test_an_ipv4_address_is_mapped() -> None:
    assert pack_address(ip_address("10.1.2.3")) == bytes(10) + b"\xff\xff\x0a\x01\x02\x03"
