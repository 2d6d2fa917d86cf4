from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.journal import Created, Journal, ProcessId, reduce_journal

WHOLE = '{"daemon": 7, "start_ticks": 90}\n{"netns": "lab-net"}\n{"netns": "lab-node1"}\n{"mount": "/run/ambient-lab/bpf"}\n'


def test_a_journal_says_what_was_made_in_its_order(tmp_path: Path):
    journal = Journal(tmp_path / "state.json")
    journal.daemon(ProcessId(7, 90))
    journal.netns("lab-net")
    journal.netns("lab-default-web")
    journal.mount(Path("/run/ambient-lab/bpf"))
    journal.netns_gone("lab-default-web")
    created = reduce_journal((tmp_path / "state.json").read_text())
    assert created == Created(netns=("lab-net",), mounts=("/run/ambient-lab/bpf",), daemon=ProcessId(7, 90))


def test_what_was_written_before_half_a_line_counts_and_so_does_what_comes_after(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text('{"netns": "lab-net"}\n{"netns": "lab-no')
    Journal(path).netns("lab-node2")
    assert reduce_journal(path.read_text()).netns == ("lab-net", "lab-node2")


@given(st.integers(0, len(WHOLE)))
def test_a_journal_cut_off_anywhere_says_what_its_whole_lines_say(length: int):
    created = reduce_journal(WHOLE[:length])
    full = reduce_journal(WHOLE)
    assert created.netns == full.netns[: len(created.netns)]
    assert created.daemon in (None, full.daemon)
    assert len(created.netns) >= WHOLE[:length].count("netns") - 1


@given(st.text())
def test_anything_may_stand_in_the_file(text: str):
    reduce_journal(text)


def test_records_of_other_types_are_passed_over():
    assert reduce_journal('[]\n3\n{"netns": 4}\n{"daemon": "x", "start_ticks": 1}\n{"mount": null}') == Created()
