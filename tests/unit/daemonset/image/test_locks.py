"""What the image holds of others' packages is what the tests ran with."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[4]


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (PROJECT / name).read_text(), re.MULTILINE))


def test_the_images_packages_are_those_of_the_tests() -> None:
    assert _locked("requirements-runtime.lock").items() <= _locked("requirements.lock").items()


def test_every_dependency_is_in_the_image() -> None:
    dependencies = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=!~ \[]", one)[0].lower().replace("_", "-") for one in dependencies}
    assert names <= _locked("requirements-runtime.lock").keys()
