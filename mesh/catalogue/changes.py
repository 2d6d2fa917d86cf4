"""What goes into the catalogue, and what comes out of it: single changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.kubernetes import Object
from mesh.model import Service, Workload
from mesh.policy.model import Authorization


class ObjectKey(NamedTuple):
    """Names one object; `namespace` is "" where the kind has none."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """An object as it is now; None: it is gone."""

    key: ObjectKey
    value: Object | None


@dataclass(frozen=True, slots=True)
class Delta:
    """What a batch of changes did to the mesh; a value of None is gone.

    Args:
        workloads: by uid.
        services: by key ("namespace/hostname").
        policies: by key ("namespace/name").
    """

    workloads: Mapping[str, Workload | None] = field(default_factory=dict)
    services: Mapping[str, Service | None] = field(default_factory=dict)
    policies: Mapping[str, Authorization | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.workloads or self.services or self.policies)
