"""YAML as Kubernetes reads it: the types of JSON, bounds, and errors with their document and line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yaml import safe_dump

from mesh import yaml_documents
from mesh.errors import ConfigError
from mesh.yaml_documents import Document, read_documents


def data(text: str) -> list[object]:
    return [one.data for one in read_documents("f.yaml", text) if isinstance(one, Document)]


def errors(text: str) -> list[tuple[str, str]]:
    return [(one.key, one.expected) for one in read_documents("f.yaml", text) if isinstance(one, ConfigError)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("017", "017"),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("1.e+3", 1000.0),
        (".5", 0.5),
        ("99999999999999999999", 99999999999999999999),
        ("yes", True),
        ("Off", False),
        ("'yes'", "yes"),
        ('"7"', "7"),
        ("!!str 7", "7"),
        ("! 7", "7"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[a, null, ~]", ["a", None, None]),
        ("{a: , 1: b, true: c}", {"a": None, "1": "b", "true": "c"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("<<: [{a: 1}, {a: 2, b: 2}]", {"a": 1, "b": 2}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert data(text) == [value]


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("0123456789.eE+-_:xX~<=yno", max_size=6)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-./0", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(json.filter(lambda value: value is not None))
@example("12e4567")
@example("0E0")
@example("09")
@example("9" * 200)
def test_what_is_written_is_read(value: object) -> None:
    assert data(safe_dump(value)) == [value]


def test_documents_are_numbered_and_empty_ones_left_out() -> None:
    assert read_documents("f.yaml", "a\n---\n---\nb\n---\n# c\n") == [Document(1, "a"), Document(3, "b")]
    assert read_documents("f.yaml", "") == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a\n---\nb: [\n", ("f.yaml:2:line 4", "valid YAML")),
        ("a: b: c", ("f.yaml:1:line 1", "valid YAML")),
        ("\tx: 1", ("f.yaml:1:line 1", "valid YAML")),
        ("a: 1\nb: 2\na: 3", ("f.yaml:1:line 3", "a key that is a text, and stands in its mapping once")),
        ("? [a]\n: b", ("f.yaml:1:line 1", "a key that is a text, and stands in its mapping once")),
        ("a\n---\n*x", ("f.yaml:2:line 3", "an anchor that is complete before its alias")),
        ("&x [*x]", ("f.yaml:1:line 1", "an anchor that is complete before its alias")),
        ("a: &x 1\n---\n*x", ("f.yaml:2:line 3", "an anchor that is complete before its alias")),
        ("!!python/name:os.system x", ("f.yaml:1:line 1", "no tag such as 'tag:yaml.org,2002:python/name:os.system'")),
        ("!!binary aGk=", ("f.yaml:1:line 1", "no tag such as 'tag:yaml.org,2002:binary'")),
        ("!!set {a}", ("f.yaml:1:line 1", "no tag such as 'tag:yaml.org,2002:set'")),
        ("<<: 7", ("f.yaml:1:line 1", "a mapping, or a list of mappings, to merge")),
        ("[" * 65 + "]" * 65, ("f.yaml:1:line 1", "at most 64 levels")),
        ("a: \x01", ("f.yaml:1", "valid YAML")),
        ("a: \ud800", ("f.yaml:1", "valid YAML")),
    ],
)
def test_errors(text: str, error: tuple[str, str]) -> None:
    assert errors(text) == [error]


def test_an_error_costs_its_own_document_alone() -> None:
    [first, wrong, last] = read_documents("f.yaml", "a\n---\n{x: 1, x: 2, y: [*z]}\n---\nc\n")
    assert (first, last) == (Document(1, "a"), Document(3, "c"))
    assert isinstance(wrong, ConfigError)


def test_an_expansion_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 50)]
    [(key, expected)] = errors("\n".join(lines))
    assert (key, expected) == ("f.yaml:1:line 6", "at most 1000000 nodes in a file, aliases written out")


def test_a_merge_bomb_is_refused_too() -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 50))]
    [(_, expected)] = errors("\n".join(lines))
    assert expected.startswith("at most 1000000 nodes")


def test_nodes_are_counted_over_all_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_documents, "MAX_NODES", 5)
    assert data("[a, b]\n---\n[c]") == [["a", "b"], ["c"]]
    assert errors("[a, b]\n---\n[c]\n---\nd") == [("f.yaml:3:line 5", "at most 5 nodes in a file, aliases written out")]


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_documents, "MAX_FILE_CHARACTERS", 3)
    assert errors("abcd") == [("f.yaml", "at most 3 characters")]
