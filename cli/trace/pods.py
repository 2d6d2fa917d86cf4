"""The running pods of a lab, and the choice that a command line makes among them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebpf.observe.watched import Watched
from lab.layout import NETNS_DIR, Layout
from mesh.errors import ConfigError
from mesh.manifests import Manifests, parse_manifests
from mesh.model import IPAddress


@dataclass(frozen=True, slots=True)
class RunningPod:
    """A pod that has a network namespace.

    Args:
        name: "namespace/name".
        netns: file of the network namespace.
        inode: of that file.
    """

    name: str
    netns: Path
    inode: int
    addresses: tuple[IPAddress, ...]


def running_pods(layout: Layout) -> list[RunningPod]:
    """The pods of every node of the lab, by name.

    Raises:
        ConfigError: there is no such lab.
        ConfigErrors: its manifests are broken.
    """
    if not layout.manifests.is_dir():
        raise ConfigError("lab", layout.name, "a running lab; start one with `ambient lab up`")
    namespaces = {path.name: path for path in (layout.root / "nodes").glob("*/netns/*")}
    return find_running(parse_manifests(_read(layout.manifests)), namespaces)


def _read(directory: Path) -> dict[str, str]:
    files = {}
    for path in sorted(directory.glob("*.y*ml")):
        try:
            files[path.name] = path.read_text()
        except FileNotFoundError:
            continue  # it was removed while we looked
    return files


def find_running(manifests: Manifests, namespaces: Mapping[str, Path]) -> list[RunningPod]:
    """Those pods of the manifests that have a namespace.

    Args:
        namespaces: file of the network namespace by the pod's uid.
    """
    found = []
    for name, pod in sorted(manifests.pods.items()):
        netns = namespaces.get(pod.metadata.uid)
        try:
            inode = netns.stat().st_ino if netns else None
        except FileNotFoundError:
            continue  # it ended while we looked
        if netns is not None and inode is not None:
            found.append(RunningPod(name, netns, inode, pod.addresses))
    return found


def choose(pods: Sequence[RunningPod], wanted: str | None) -> list[RunningPod]:
    """The pod that is wanted, or all.

    Args:
        wanted: "namespace/name", or a name that one pod alone has.
    Raises:
        ConfigError: no pod, or more than one, has this name.
    """
    if wanted is None:
        return list(pods)
    found = [pod for pod in pods if wanted in {pod.name, pod.name.partition("/")[2]}]
    if len(found) == 1:
        return found
    names = ", ".join(pod.name for pod in found or pods) or "none is running"
    raise ConfigError("POD", wanted, f"one of: {names}" if found else f"a running pod: {names}")


def node_namespaces(layout: Layout) -> frozenset[int]:
    """The inodes of the network namespaces that carry packets between the pods of the lab."""
    names = [layout.bridge_netns, *(layout.node_netns(node.name) for node in (layout.root / "nodes").glob("*"))]
    return frozenset(path.stat().st_ino for path in map(NETNS_DIR.joinpath, names) if path.exists())


def watch_of(pods: Sequence[RunningPod], passed: Iterable[int]) -> Watched:
    """What to watch for these pods.

    Args:
        passed: inodes of the namespaces that their packets pass through; the pods' own may be among them.
    """
    names = {pod.inode: pod.name for pod in pods}
    return Watched(names, {ip: pod.inode for pod in pods for ip in pod.addresses}, frozenset(passed) - names.keys())
