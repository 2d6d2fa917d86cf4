"""Files that say where the API server is, and who one is there."""

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.layout import Layout
from tests.cluster.pki import Authority


def write_kubeconfig(layout: Layout, path: Path, authority: Authority, user: str, groups: Sequence[str] = ()) -> None:
    """Writes a kubeconfig for a user, with a certificate of its own. JSON is YAML, too."""
    issued = authority.issue(user, groups)
    cluster = {"server": layout.api, "certificate-authority-data": _encoded(authority.issued.certificate)}
    credentials = {"client-certificate-data": _encoded(issued.certificate), "client-key-data": _encoded(issued.key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": user}}],
        "current-context": layout.name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()
