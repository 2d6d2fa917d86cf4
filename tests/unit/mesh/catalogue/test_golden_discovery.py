"""What manifests become in discovery, in protobuf's text form, against files that people can read.

To accept a change: REGOLD=1 .venv/bin/python -m pytest tests/unit/mesh/catalogue/test_golden_discovery.py, and read the diff.
"""

import os
import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from google.protobuf import text_encoding, text_format
from google.protobuf.message import Message

from mesh.catalogue.catalogue import Catalogue
from mesh.manifests import parse_manifests
from mesh.settings import MeshSettings
from mesh.wire.convert import resource_names, service_to_wire, workload_to_wire
from mesh.wire.policies import authorization_to_wire
from tests.unit.mesh.catalogue.objects import changes_between

GOLDEN = Path(__file__).parents[3] / "golden" / "discovery"
_PACKED = re.compile(r'(\baddress(?:es)?): "((?:[^"\\]|\\.)*)"')


def shown(message: Message) -> str:
    """Returns the text form, addresses as people write them."""
    text = text_format.MessageToString(message)
    return _PACKED.sub(lambda found: f"{found[1]}: {ip_address(text_encoding.CUnescape(found[2]))}", text)


def rendered(catalogue: Catalogue) -> Iterator[str]:
    for _, workload in sorted(catalogue.workloads.items()):
        yield f"# workload {' '.join((resource_names(workload)[0], *resource_names(workload)[1]))}\n{shown(workload_to_wire(workload))}"
    for _, service in sorted(catalogue.services.items()):
        yield f"# service {' '.join((resource_names(service)[0], *resource_names(service)[1]))}\n{shown(service_to_wire(service))}"
    for name, policy in sorted(catalogue.policies.items()):
        yield f"# policy {name}\n{shown(authorization_to_wire(policy))}"
    for key, conditions in sorted(catalogue.conditions.items()):
        lines = (f"{one.type} {one.status} {one.reason}: {one.message}\n" for one in conditions)
        yield f"# status of {key.kind} {key.namespace}/{key.name}\n{''.join(lines)}"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_discovery(path: Path) -> None:
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(changes_between({}, parse_manifests({path.name: path.read_text()}).objects))
    found, golden = "\n".join(rendered(catalogue)), path.with_suffix(".txt")
    if os.environ.get("REGOLD"):
        golden.write_text(found)
    assert found == golden.read_text()
