"""What a lab is asked to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.addresses import MAX_NODES
from mesh.errors import ConfigError

CAPTURE_MODES = ("ebpf", "iptables")


@dataclass(frozen=True, slots=True)
class Options:
    """Args:
        nodes: how many, 1 to MAX_NODES.
        capture: of CAPTURE_MODES.
        mesh: whether control plane, agents and ztunnels run at all.
        settings: further environment of every program of the mesh (docs/runtime.md names what there is).
    Raises:
        ConfigError: a value is none of these.
    """

    nodes: int = 2
    capture: str = "ebpf"
    mesh: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError("nodes", self.nodes, f"1 to {MAX_NODES}")
        if self.capture not in CAPTURE_MODES:
            raise ConfigError("capture", self.capture, f"one of {', '.join(CAPTURE_MODES)}")
