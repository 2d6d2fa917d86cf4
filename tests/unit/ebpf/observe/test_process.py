"""The observation process without bcc: what it decodes, and that the kernel's side lays it out so."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.observe import events, process

HEADER = Path(process.__file__).with_name("event.h")
SIZES = {"Q": 8, "I": 4, "H": 2, "B": 1, "s": 16}


def event_bytes(**changes: object) -> bytes:
    values = {
        "time_ns": 1,
        "socket": 2,
        "netns": 3,
        "mark": 0x539,
        "rtt_us": 35,
        "reason": 0,
        "kind": 1,
        "family": 2,
        "old_state": 2,
        "new_state": 1,
        "local_port": 40000,
        "remote_port": 80,
        "local": bytes([10, 0, 0, 1]) + bytes(12),
        "remote": bytes([10, 0, 0, 2]) + bytes(12),
    }
    return process.EVENT.pack(*{**values, **changes}.values())


def test_decode() -> None:
    assert process.decode(event_bytes()) == {
        "time_ns": 1,
        "socket": 2,
        "netns": 3,
        "mark": 0x539,
        "rtt_us": 35,
        "reason": 0,
        "kind": "state",
        "old_state": "SYN_SENT",
        "new_state": "ESTABLISHED",
        "local_port": 40000,
        "remote_port": 80,
        "local": "10.0.0.1",
        "remote": "10.0.0.2",
    }


def test_decode_ipv6() -> None:
    decoded = process.decode(event_bytes(family=10, local=bytes(15) + b"\1", remote=bytes(10) + b"\xff\xff\x0a\0\0\2"))
    assert (decoded["local"], decoded["remote"]) == ("::1", "::ffff:10.0.0.2")


@pytest.mark.parametrize("data", [b"", event_bytes()[:-1], event_bytes(family=1), event_bytes(kind=7), event_bytes(new_state=13)])
def test_what_is_no_event(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"unknown|bytes"):
        process.decode(data)


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_layout_is_that_of_the_kernels_side(tmp_path: Path) -> None:
    """Compiles assertions about every field's offset and size, made from the Python side, against event.h."""
    codes = process.EVENT.format.removeprefix("<").replace("16s", "s")
    expected, offset = [f"sizeof(struct event) == {process.EVENT.size}"], 0
    for code, name in zip(codes, process.EVENT_FIELDS, strict=True):
        size = SIZES[code]
        expected += [f"__builtin_offsetof(struct event, {name}) == {offset}", f"sizeof(((struct event *)0)->{name}) == {size}"]
        offset += size
    numbers = [f"KIND_{word.upper().replace('-', '_')} == {number}" for number, word in process.KINDS.items()]
    source = tmp_path / "layout.c"
    source.write_text(f'#include "{HEADER}"\n' + "".join(f'_Static_assert({one}, "{one}");\n' for one in expected + numbers))
    done = subprocess.run(["clang", "-target", "bpf", "-fsyntax-only", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_roles_are_those_of_the_program() -> None:
    program = HEADER.with_name("program.c").read_text()
    assert f"#define ROLE_POD {process.ROLE_POD}\n#define ROLE_NEIGHBOUR {process.ROLE_NEIGHBOUR}\n" in program


def test_kinds_are_those_that_the_reader_knows() -> None:
    assert set(process.KINDS.values()) == {kind.value for kind in events.Kind}


def test_addresses_are_packed_as_the_kernel_compares_them() -> None:
    assert process.pack_address("10.0.0.1") == bytes([10, 0, 0, 1]) + bytes(12)
    assert process.pack_address("fd00::1") == bytes([0xFD]) + bytes(14) + b"\1"


def test_it_imports_nothing_of_ours() -> None:
    """As it is run: by path, isolated, so that an import of the package would fail."""
    done = subprocess.run([sys.executable, "-I", process.__file__], input=b"", capture_output=True, check=False, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
