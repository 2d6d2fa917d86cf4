from pathlib import Path

import pytest

from lab.authority import request_rotation, revoke
from lab.errors import LabError
from lab.observing import read_serials


def test_serials_are_added_one_a_line(tmp_path: Path):
    revoke(tmp_path, "AB:cd:01")
    revoke(tmp_path, "7f")
    assert (tmp_path / "revoked").read_text() == "abcd01\n7f\n"
    assert [path.name for path in tmp_path.iterdir()] == ["revoked"]


@pytest.mark.parametrize("text", ["", "web-1", "0x7f", "7f\n80", "a" * 41])
def test_what_is_no_serial(tmp_path: Path, text: str):
    with pytest.raises(LabError, match="expected the serial of a certificate"):
        revoke(tmp_path, text)
    assert not list(tmp_path.iterdir())


def test_a_rotation_is_asked_for(tmp_path: Path):
    request_rotation(tmp_path)
    request_rotation(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rotate-root"]


def test_serials_of_a_ztunnel():
    body = b'{"certificates": [{"identity": "a", "state": "valid", "serial": "7f"}, {"identity": "b", "state": "missing"}]}'
    assert read_serials(body) == {"a": "7f"}
