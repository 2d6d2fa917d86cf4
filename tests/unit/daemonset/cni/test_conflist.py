"""The plugin's entry in configurations of every kind: it comes last, goes without a trace, and touches nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemonset.cni.conflist import PLUGIN, NotAConfiguration, choose, with_plugin, without_plugin

ENTRY = {"socket": "/run/ambient/cni.sock", "excludeNamespaces": ["kube-system"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4
)
PLUGINS = st.lists(st.dictionaries(st.text(), JSON).map(lambda fields: {**fields, "type": "bridge"}), min_size=1, max_size=3)
CONFLISTS = st.builds(lambda fields, plugins: {**fields, "plugins": plugins}, st.dictionaries(st.text(), JSON), PLUGINS)


@given(CONFLISTS)
def test_in_and_out_again_is_what_was_and_twice_is_once(conflist: dict[str, Any]) -> None:
    text = json.dumps(conflist)
    once = with_plugin(text, ENTRY)
    assert json.loads(once) == {**conflist, "plugins": [*conflist["plugins"], {"type": PLUGIN, **ENTRY}]}
    assert with_plugin(once, ENTRY) == once
    assert json.loads(without_plugin(once)) == conflist
    assert without_plugin(text) == text


def test_an_entry_of_another_version_is_replaced_and_comes_last() -> None:
    text = json.dumps({"plugins": [{"type": PLUGIN, "socket": "/old"}, {"type": "bridge"}]})
    assert json.loads(with_plugin(text, ENTRY))["plugins"] == [{"type": "bridge"}, {"type": PLUGIN, **ENTRY}]


def test_a_single_configuration_becomes_a_chain() -> None:
    text = json.dumps({"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "bridge": "cni0"})
    assert json.loads(with_plugin(text, ENTRY)) == {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "bridge", "bridge": "cni0"}, {"type": PLUGIN, **ENTRY}],
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"plugins": {}}', '{"plugins": []}', '{"type": 1}', "[" * 100_000])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(NotAConfiguration):
        with_plugin(text, ENTRY)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["20-b.conflist", "10-a.conf", "README"], "10-a.conf"),
        (["10-a.conflist.bak", ".10-a.conflist.x7"], None),
        ([], None),
    ],
)
def test_runtimes_use_the_first(names: list[str], chosen: str | None) -> None:
    assert choose(names) == chosen
