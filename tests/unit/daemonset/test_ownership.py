"""Of two agents the newer one acts, and the older one again when that is gone."""

from pathlib import Path

from daemonset.ownership import Ownership


def test_the_newer_acts_and_the_older_takes_over_again(tmp_path: Path) -> None:
    older, newer = Ownership(tmp_path / "run/owner"), Ownership(tmp_path / "run/owner")
    older.claim()
    assert older.held()
    newer.claim()
    assert (older.held(), newer.held()) == (False, True)
    older.give_up()
    assert newer.held()
    newer.give_up()
    assert older.held()
    older.give_up()
    assert list((tmp_path / "run").iterdir()) == []


def test_alone_there_is_no_file() -> None:
    alone = Ownership(None)
    alone.claim()
    assert alone.held()
    alone.give_up()
