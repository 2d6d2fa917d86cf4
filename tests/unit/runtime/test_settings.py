"""How every process reads its settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.errors import ConfigErrors
from runtime.settings import ListenAddress, SettingsReader, dns_name, listen_address, matching, one_of, path


def test_a_setting_is_what_was_given_or_its_default() -> None:
    reader = SettingsReader({"A": "/a", "EMPTY": ""})
    assert reader.read("A", None, path, "a path") == Path("/a")
    assert reader.read("B", "/b", path, "a path") == Path("/b")
    assert reader.read_optional("A", path, "a path") == Path("/a")
    assert reader.read_optional("EMPTY", path, "a path") is None
    assert reader.read_optional("B", path, "a path") is None
    reader.check()


def test_everything_that_is_wrong_is_told_at_once_with_key_value_and_what_was_expected() -> None:
    reader = SettingsReader({"A": "", "C": "a\0b"})
    reader.read("A", "/a", path, "a path")
    reader.read("B", None, path, "a directory")
    reader.read_optional("C", path, "a file")
    with pytest.raises(ConfigErrors) as wrong:
        reader.check()
    assert [(one.key, one.value, one.expected) for one in wrong.value.errors] == [
        ("A", "", "a path"),
        ("B", None, "a directory"),
        ("C", "a\0b", "a file"),
    ]


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "A", "a_b", "a\n", "../x", "a" * 254])
def test_what_is_no_dns_name(name: str) -> None:
    assert dns_name(name) is None


@pytest.mark.parametrize("name", ["a", "node-1.zone.example", "1"])
def test_what_is_one(name: str) -> None:
    assert dns_name(name) == name


def test_words() -> None:
    assert [one_of(("a", "b"))(text) for text in ("a", "c", "")] == ["a", None, None]
    assert [matching(re.compile(r"[a-c]"))(text) for text in ("a", "ab", "a\n")] == ["a", None, None]


@pytest.mark.parametrize("address", [ListenAddress("::", 15012), ListenAddress("127.0.0.1", 0)])
def test_an_address_is_read_as_it_is_written(address: ListenAddress) -> None:
    assert listen_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "80", "::1:80", "[::1]", "[::1]:", "a:b", "a:65536", "a:٣", "[[::1]]:80"])
def test_what_is_no_address(text: str) -> None:
    assert listen_address(text) is None


def test_reading_settings_loads_nothing_heavy() -> None:
    heavy = {"ssl", "asyncio", "structlog", "watchfiles"}
    code = f"import sys, runtime.settings; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run((sys.executable, "-c", code), timeout=60, check=False).returncode == 0
