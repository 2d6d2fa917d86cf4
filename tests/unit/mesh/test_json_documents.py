"""JSON as kubectl prints it is a manifest; what only looks like JSON is an error with its place."""

import json

import pytest

from mesh import json_documents
from mesh.errors import ConfigError, ConfigErrors
from mesh.json_documents import read_json
from mesh.manifests import parse_manifests, read_manifest
from mesh.yaml_documents import Document

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "creationTimestamp": None},
    "spec": {"containers": [{"name": "c"}], "nodeName": "n"},
}
CASES = [
    ('{"a": 1,\n "a": 2}', ("f.json:1", "keys that stand in their mapping once")),
    ('{"a": NaN}', ("f.json:1", "no number such as NaN")),
    ('{"a":\n\n 1,}', ("f.json:1:line 3", "valid JSON")),
    ("{} {}", ("f.json:1:line 1", "valid JSON")),
    ("[" * 100_000, ("f.json:1", "a document of fewer levels")),
    ("9" * 5000, ("f.json:1", None)),
]


def test_one_document_with_its_types() -> None:
    assert read_json("f.json", '{"a": [1, true, null, "é"]}') == Document(1, {"a": [1, True, None, "é"]})
    assert read_json("f.json", " \n") is None


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_what_is_wrong_is_said_with_its_place(text: str, expected: tuple[str, str | None]) -> None:
    error = read_json("f.json", text)
    assert isinstance(error, ConfigError)
    assert error.key == expected[0]
    assert expected[1] in (error.expected, None)


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "MAX_FILE_CHARACTERS", 3)
    assert isinstance(read_json("f.json", "[ 1]"), ConfigError)


def test_a_list_of_kubectl_is_read_like_yaml() -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [POD]})
    assert parse_manifests({"f.json": text}).pods == parse_manifests({"f.yaml": text}).pods
    with pytest.raises(ConfigErrors, match=r"f\.json:1:items\.0\.spec\.containers: 7"):
        parse_manifests({"f.json": text.replace('[{"name": "c"}]', "7")})


@pytest.mark.parametrize("levels", range(100, 1000, 60))
def test_depth_that_json_can_read_is_an_error_or_ignored(levels: int) -> None:
    text = json.dumps(POD).replace("null", "[" * levels + "]" * levels)
    assert all("levels" in error.expected for error in read_manifest("f.json", text).errors)
