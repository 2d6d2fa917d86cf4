import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.documents import key_of, read_given, write_yaml
from mesh.errors import ConfigErrors

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz.-", min_size=1, max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_read_back_by_the_mesh(value: object):
    body = {"apiVersion": "v1", "kind": "Thing", "value": value}
    (given_,) = read_given({"f": write_yaml([body])})
    assert given_.body == body


@pytest.mark.parametrize(
    "text", ["no", "1e3", "0123", "true", "null", "~", "", "2026-01-01", "a: b", "0x10", "1_000", "on", "- a", "#", "web-1"]
)
def test_texts_stay_texts(text: str):
    (given_,) = read_given({"f": write_yaml([{"apiVersion": "v1", "kind": "Thing", "value": text}])})
    assert given_.body["value"] == text


def test_lists_are_taken_apart():
    listed = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}}]"
    of_one_kind = "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: b}}]"
    read = read_given({"f.yaml": f"{listed}\n---\n{of_one_kind}\n---\n"})
    assert [(one.source, one.key) for one in read] == [
        ("f.yaml:1:items.0.", ("Pod", "x", "a")),
        ("f.yaml:2:items.0.", ("Pod", "default", "b")),
    ]


def test_a_namespace_lies_in_itself():
    assert key_of({"kind": "Namespace", "metadata": {"name": "shop"}}) == ("Namespace", "shop", "shop")


@pytest.mark.parametrize(("text", "key"), [("a: [", "f.yaml:1"), ("just text", "f.yaml:1"), ("apiVersion: v1\nmetadata: {}", "f.yaml:1")])
def test_what_is_no_object_is_named(text: str, key: str):
    with pytest.raises(ConfigErrors) as caught:
        read_given({"f.yaml": text})
    assert caught.value.errors[0].key.startswith(key)
