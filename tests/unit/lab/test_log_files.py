from pathlib import Path

from lab.errors import LabError
from lab.log_files import rotate_large


def test_a_large_log_moves_aside_and_its_writer_goes_on(tmp_path: Path):
    log = tmp_path / "node1" / "ztunnel.log"
    log.parent.mkdir()
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        rotate_large(tmp_path, 99)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    assert log.with_suffix(".log.1").read_bytes() == b"x" * 100


def test_a_small_log_stays(tmp_path: Path):
    (tmp_path / "a.log").write_bytes(b"x" * 99)
    rotate_large(tmp_path, 99)
    assert [one.name for one in tmp_path.iterdir()] == ["a.log"]


def test_an_error_shows_the_end_of_its_log(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {n}\n" for n in range(1000)))
    text = str(LabError("no", log))
    assert text.splitlines()[0] == "no"
    assert text.splitlines()[-1] == "  line 999"
    assert len(text.splitlines()) == 22


def test_a_log_that_is_not_there_is_said_to_be_so(tmp_path: Path):
    assert "never written" in str(LabError("no", tmp_path / "none.log"))
