"""Output to a pipe that nobody reads, that is read late, and that is gone."""

import asyncio
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ztunnel.fakes import eventually
from ztunnel.telemetry.output import MAX_HELD_BYTES, Output

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


def drain(reader: int) -> bytes:
    os.set_blocking(reader, False)
    found = b""
    try:
        while chunk := os.read(reader, 65536):
            found += chunk
    except BlockingIOError:
        pass
    return found


async def test_lines_of_a_busy_moment_leave_in_one_write(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pipe
    writes: list[int] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return real(fd, data)

    monkeypatch.setattr("ztunnel.telemetry.output.os.write", write)
    output = Output(writer)
    for _ in range(50):
        output.write(LINE)
    await eventually(lambda: writes)
    assert writes == [50 * len(LINE)]
    assert drain(reader) == 50 * LINE
    output.close()


async def test_a_reader_that_is_slow_gets_everything_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    lines = [b"%098d\n" % number for number in range(5000)]
    for line in lines:
        output.write(line)
    found = b""

    async def read_on() -> None:
        nonlocal found
        while len(found) < 5000 * 99:
            found += drain(reader)
            await asyncio.sleep(0)

    await read_on()
    assert found == b"".join(lines)
    assert output.dropped_lines == 0
    output.close()


async def test_a_reader_that_has_stopped_costs_whole_lines_and_never_the_loop(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    sent = 0
    while output.dropped_lines == 0:
        output.write(LINE)
        sent += 1
        await asyncio.sleep(0)
    assert MAX_HELD_BYTES <= sent * len(LINE) <= MAX_HELD_BYTES + 2**21
    found = b""
    while len(found) < (sent - 1) * len(LINE):
        found += drain(reader)
        await asyncio.sleep(0)
    assert set(found.splitlines(keepends=True)) == {LINE}
    output.write(b"again\n")
    await eventually(lambda: drain(reader) == b"again\n")
    output.close()


async def test_a_socket_that_nobody_reads_does_not_block_either() -> None:
    reader, writer = socket.socketpair()
    with reader, writer:
        output = Output(writer.fileno())
        while output.dropped_lines == 0:
            output.write(LINE)
            await asyncio.sleep(0)
        assert writer.getblocking(), "whoever else writes to it is not affected"
        reader.settimeout(5)
        assert reader.recv(len(LINE)) == LINE
        output.close()


def test_before_the_loop_runs_lines_leave_at_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    output.write(LINE)
    assert drain(reader) == LINE
    output.close()


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    os.close(reader)
    output.write(LINE)
    assert output.dropped_lines == 1
    output.close()


def test_the_callers_own_descriptor_stays_blocking_and_open(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    Output(writer).close()
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_file_is_appended_to_where_the_caller_stands(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        output = Output(file.fileno())
        output.write(b"line\n")
        output.close()
        file.write(b"after\n")
    assert path.read_bytes() == b"before\nline\nafter\n"
