"""The chart agrees with the package, with its own schema, and with what the processes accept."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ztunnel.config import LOG_LEVELS, MAX_DRAIN_S

PROJECT = Path(__file__).parents[4]
CHART = PROJECT / "daemonset/chart"


@pytest.fixture
def values() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return read


@pytest.fixture
def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return read


def test_its_version_is_the_packages() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_the_schema_knows_every_value_and_no_other(values: dict[str, Any], schema: dict[str, Any]) -> None:
    def compare(given: dict[str, Any], known: dict[str, Any], path: str) -> list[str]:
        if known.get("additionalProperties") is not False:
            return []
        properties = known["properties"]
        wrong = [f"{path}{name}" for name in given.keys() ^ properties.keys() if name != "global"]
        inner = [(given[name], properties[name], f"{path}{name}.") for name in given.keys() & properties.keys()]
        return wrong + [one for value, part, where in inner if isinstance(value, dict) for one in compare(value, part, where)]

    # What Kubernetes lets a container claim, and nothing of ours does.
    assert [one for one in compare(values, schema, "") if not one.endswith("resources.claims")] == []


def test_limits_are_those_of_the_processes(schema: dict[str, Any]) -> None:
    ztunnel = schema["properties"]["ztunnel"]["properties"]
    assert ztunnel["drainTimeoutS"]["maximum"] == MAX_DRAIN_S
    assert set(ztunnel["logLevel"]["enum"]) == set(LOG_LEVELS)
