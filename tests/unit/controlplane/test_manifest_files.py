"""File by file: what is handed out leads from each good state to the next, and nothing is handed out while anything is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.manifest_files import ManifestFiles
from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigErrors
from mesh.kubernetes import Object
from mesh.manifests import parse_manifests, read_manifest

OBJECTS = [
    "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n",
    "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: web}\n",
    *(
        f"kind: Pod\napiVersion: v1\nmetadata: {{name: {name}, namespace: {namespace}, uid: {uid}}}\n"
        f"spec: {{containers: [{{name: c}}], serviceAccountName: {account}}}\nstatus: {{podIP: {ip}}}\n"
        for name, namespace, uid, account, ip in [
            ("a", "default", "u1", "default", "10.0.0.1"),
            ("a", "default", "u2", "web", "10.0.0.2"),
            ("b", "shop", "u2", "default", "10.0.0.3"),
            ("c", "default", "u3", "default", "10.0.0.3"),
        ]
    ),
    "kind: Pod\n",
    "[",
]
FILES = st.dictionaries(st.sampled_from(["1.yaml", "2.yaml"]), st.lists(st.sampled_from(OBJECTS), max_size=3).map("---\n".join))


def read_at_once(state: dict[str, str]) -> dict[ObjectKey, Object] | str:
    """Returns the objects, or everything that is wrong."""
    try:
        return dict(parse_manifests(dict(sorted(state.items()))).objects)
    except ConfigErrors as wrong:
        return str(wrong)


@given(st.lists(FILES, max_size=8))
def test_changes_lead_from_each_good_state_to_the_next(states: list[dict[str, str]]) -> None:
    files = ManifestFiles()
    held: dict[ObjectKey, Object] = {}
    before: dict[str, str] = {}
    for state in states:
        for name in before.keys() | state.keys():
            if name not in state:
                files.remove(name)
            elif before.get(name) != state[name]:
                files.put(name, read_manifest(name, state[name]))
        before = state
        expected = read_at_once(state)
        if isinstance(expected, str):
            with pytest.raises(ConfigErrors) as refused:
                files.take_changes()
            assert str(refused.value) == expected
            continue
        for change in files.take_changes():
            if change.value is None:
                del held[change.key]
            else:
                assert held.get(change.key) != change.value
                held[change.key] = change.value
        # The namespace that every cluster has stands in no file.
        assert held == {key: value for key, value in expected.items() if key != ("Namespace", "", "default")}
        assert files.take_changes() == []
