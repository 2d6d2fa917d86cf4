"""The parent's side, with other programs in the place of the interpreter that has bcc."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from ebpf.observe.events import Event, Kind
from ebpf.observe.headers import Headers
from ebpf.observe.observer import Lost, Observer
from ebpf.observe.requirements import ObservationUnavailable, Preparation
from ebpf.observe.watched import Watched

NOTHING = Watched({}, {})
PREPARATION = Preparation(Headers(Path("/headers"), ("-I/more",)), ("-DX=1",), {}, {})
EVENT_LINE = (
    '{"time_ns": 1, "socket": 2, "netns": 3, "mark": 0, "rtt_us": 0, "reason": 0, "kind": "retransmit", "old_state": "ESTABLISHED", '
    '"new_state": "ESTABLISHED", "local_port": 1, "remote_port": 2, "local": "10.0.0.1", "remote": "10.0.0.2"}'
)


def program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_what_is_told_before_the_watch_is_acknowledged_is_returned(tmp_path: Path) -> None:
    script = f"read start; read watch; echo '{EVENT_LINE}'; echo '{{\"lost\": 7}}'; echo '{{\"watching\": 1}}'; cat >/dev/null"
    with Observer(PREPARATION, program(tmp_path, script)) as observer:
        event, lost = observer.watch(NOTHING)
    assert isinstance(event, Event)
    assert event.kind is Kind.RETRANSMIT
    assert lost == Lost(7)


def test_it_is_told_what_to_compile_and_what_to_watch(tmp_path: Path) -> None:
    script = f'read start; read watch; echo "$BCC_KERNEL_SOURCE $start $watch" >{tmp_path}/told; echo \'{{"watching": 2}}\'; cat >/dev/null'
    with Observer(PREPARATION, program(tmp_path, script)) as observer:
        assert observer.watch(Watched({5: "a", 3: "b"}, {ip_address("10.0.0.1"): 3}, frozenset({8}))) == []
    told = (tmp_path / "told").read_text()
    assert told.startswith("/headers {")
    assert '"-I/more", "-DX=1"]' in told
    assert '{"pods": [3, 5], "neighbours": [8], "addresses": ["10.0.0.1"]}' in told


def test_complaints_of_the_compiler_are_the_reason(tmp_path: Path) -> None:
    python = program(tmp_path, "read start; read watch; echo 'program.c:1: no such thing' >&2; exit 1")
    with Observer(PREPARATION, python) as observer, pytest.raises(ObservationUnavailable) as ended:
        observer.watch(NOTHING)
    assert ended.value.problems == ("the observation process ended: program.c:1: no such thing",)


def test_process_that_ends_without_a_word(tmp_path: Path) -> None:
    python = program(tmp_path, "read start; read watch; exit 3")
    with Observer(PREPARATION, python) as observer, pytest.raises(ObservationUnavailable, match="exit code 3"):
        observer.watch(NOTHING)


def test_line_that_comes_in_pieces(tmp_path: Path) -> None:
    script = f"read start; printf '{EVENT_LINE[:50]}'; read watch; echo '{EVENT_LINE[50:]}'; echo '{{\"watching\": 1}}'; cat >/dev/null"
    with Observer(PREPARATION, program(tmp_path, script)) as observer:
        assert observer.read(10) == []
        assert len(observer.watch(NOTHING)) == 1


def test_closing_ends_the_process(tmp_path: Path) -> None:
    observer = Observer(PREPARATION, program(tmp_path, f"cat >/dev/null; touch {tmp_path}/ended"))
    observer.close()
    assert (tmp_path / "ended").exists()
