"""The manifests for those without Helm are committed, so that nobody needs Helm to install; they must be those of the chart."""

import hashlib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[4]
CHART = PROJECT / "daemonset/chart"


def _digest() -> str:
    """As the Makefile has it: of the list that sha256sum prints of the chart's files."""
    files = sorted((str(path.relative_to(PROJECT)), path) for path in CHART.rglob("*") if path.is_file())
    listed = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


@pytest.mark.parametrize("name", ["ambient", "uninstall"])
def test_they_are_those_of_the_chart(name: str) -> None:
    text = (PROJECT / f"daemonset/manifests/{name}.yaml").read_text()
    assert text.splitlines()[0].endswith(_digest()), "the chart has changed: make manifests"


def test_hooks_are_apart() -> None:
    documents = {
        name: [one for one in yaml.safe_load_all((PROJECT / f"daemonset/manifests/{name}.yaml").read_text()) if one]
        for name in ("ambient", "uninstall")
    }
    hooks = {name: {"helm.sh/hook" in one["metadata"].get("annotations", {}) for one in listed} for name, listed in documents.items()}
    assert hooks == {"ambient": {False}, "uninstall": {True}}
    assert documents["ambient"][0]["kind"] == "Namespace"
