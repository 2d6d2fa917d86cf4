"""What program.c is told of a kernel: every macro that it uses, and nothing where the kernel is too old."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ebpf.observe import kernel
from ebpf.observe.btf import BtfError

SOURCE = Path(kernel.__file__).with_name("program.c").read_text()


@dataclass
class FakeBtf:
    """A kernel whose fields lie at the length of their path."""

    arguments: dict[str, int] = field(default_factory=lambda: {**kernel.TRACEPOINTS, "kfree_skb": 4, "tcp_send_reset": 3})

    def offset_of(self, path: str) -> int:
        return len(path)

    def tracepoint_arguments(self, tracepoint: str) -> int:
        return self.arguments[tracepoint]

    def enumerators(self, enum: str) -> dict[int, str]:
        return {"skb_drop_reason": {3: "SKB_DROP_REASON_NO_SOCKET"}, "sk_rst_reason": {1: "SK_RST_REASON_NO_SOCKET"}}[enum]


def test_macros() -> None:
    flags = kernel.macros(FakeBtf())  # type: ignore[arg-type]
    assert "-DSOCK_MARK=12" in flags
    assert "-DKFREE_SKB_ARGS=4" in flags
    assert "-DTCP_SEND_RESET_ARGS=3" in flags


def test_every_offset_that_the_program_reads_is_given_and_every_given_one_is_read() -> None:
    used = set(re.findall(r"\+ ((?:SOCK|INET|TCP|NET|SKB|DST|DEV)_[A-Z0-9_]+)", SOURCE))
    assert used == set(kernel.FIELDS)


def test_every_tracepoint_of_the_program_is_checked() -> None:
    assert set(re.findall(r"RAW_TRACEPOINT_PROBE\((\w+)\)", SOURCE)) == set(kernel.TRACEPOINTS)


def test_kernel_without_drop_reasons_is_refused() -> None:
    old = FakeBtf({**kernel.TRACEPOINTS, "kfree_skb": 2})
    with pytest.raises(BtfError, match="tracepoint kfree_skb has 2 arguments, of which 3 are needed"):
        kernel.macros(old)  # type: ignore[arg-type]


def test_names_of_reasons() -> None:
    assert kernel.drop_reasons(FakeBtf()) == {3: "NO_SOCKET"}  # type: ignore[arg-type]
    assert kernel.reset_reasons(FakeBtf()) == {1: "NO_SOCKET"}  # type: ignore[arg-type]
