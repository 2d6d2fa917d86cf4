"""What a directory of manifests becomes on the wire, in protobuf's text form, compared with a file that people can read."""

from pathlib import Path

from google.protobuf import text_format

from controlplane.resources import Resource, address_resources
from mesh.manifests import parse_manifests
from mesh.snapshot import build_snapshot
from mesh.wire import workload_pb2 as pb

GOLDEN = Path(__file__).parents[2] / "golden" / "addresses"


def shown(resource: Resource) -> str:
    names = " ".join((resource.name, *resource.aliases))
    return f"# {names}\n{text_format.MessageToString(pb.Address.FromString(resource.body))}"


def test_addresses() -> None:
    manifests = parse_manifests({"shop.yaml": (GOLDEN / "shop.yaml").read_text()})
    resources = address_resources(build_snapshot(manifests, None, "cluster.local", "Kubernetes", "cluster.local"))
    assert "\n".join(map(shown, resources.by_name.values())) == (GOLDEN / "shop.txt").read_text()
