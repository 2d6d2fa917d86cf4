"""Which node runs whose pods: what the certificate service asks before it signs."""

from typing import Protocol

from mesh.identity import Identity


class Placement(Protocol):
    """The part of what is known of the cluster that certificates depend on."""

    @property
    def known(self) -> bool:
        """Whether the source has been read once; before, nobody can say who runs where."""

    def runs(self, node: str, identity: Identity) -> bool:
        """Says whether the node runs a pod of this identity."""
