"""The plugin's entry in a node's network configuration: put in, and taken out. Pure.

Source: Container Network Interface specification 1.1.0, "Network configuration format".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PLUGIN = "ambient-cni"
# A configuration that names no version is of the first; chains of plugins came later.
_OLDEST_CHAIN = "0.3.0"


class NotAConfiguration(ValueError):
    """The text is no network configuration; says why."""


def with_plugin(text: str, entry: Mapping[str, Any]) -> str:
    """The configuration with our plugin last in its chain; one that has it already as it should be is returned as it is.

    Args:
        text: of a .conflist, or of a .conf, which becomes the first of a chain.
        entry: our plugin's, without its type.
    Raises:
        NotAConfiguration: the text is none.
    """
    conflist = _read(text)
    wanted = {"type": PLUGIN, **entry}
    plugins = [one for one in conflist["plugins"] if not _is_ours(one)]
    if not plugins:
        raise NotAConfiguration("no plugin makes the pods' network")
    if conflist["plugins"] == [*plugins, wanted] and "plugins" in json.loads(text):
        return text
    return _text({**conflist, "plugins": [*plugins, wanted]})


def without_plugin(text: str) -> str:
    """The configuration without our plugin; one that does not have it is returned as it is.

    Raises:
        NotAConfiguration: the text is none.
    """
    conflist = _read(text)
    plugins = [one for one in conflist["plugins"] if not _is_ours(one)]
    return text if plugins == conflist["plugins"] else _text({**conflist, "plugins": plugins})


def choose(names: Sequence[str], own: str | None = None) -> str | None:
    """The file that a runtime uses: the first by name. None: there is none yet.

    Args:
        own: a file that is passed over.
    Source: containerd and CRI-O, and the library of the specification: lexicographic order.
    """
    candidates = sorted(name for name in names if name.endswith((".conflist", ".conf", ".json")) and name != own)
    return candidates[0] if candidates else None


def _is_ours(plugin: object) -> bool:
    return isinstance(plugin, dict) and plugin.get("type") == PLUGIN


def _read(text: str) -> dict[str, Any]:
    """A chain; a single configuration as a chain of one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAConfiguration(f"it is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise NotAConfiguration("it is no JSON object")
    if isinstance(data.get("plugins"), list):
        return data
    if isinstance(data.get("type"), str):
        chain = {"cniVersion": data.get("cniVersion", _OLDEST_CHAIN), "name": data.get("name", data["type"])}
        return {**chain, "plugins": [{key: value for key, value in data.items() if key not in {"cniVersion", "name"}}]}
    raise NotAConfiguration("it has neither plugins nor a type")


def _text(conflist: Mapping[str, Any]) -> str:
    return json.dumps(conflist, indent=2) + "\n"
