"""Hands the newest snapshot to whoever follows it."""

import asyncio

from controlplane.resources import NOTHING, Resources, address_resources
from mesh.model import Snapshot


class SnapshotFeed:
    """Holds the newest snapshot and wakes its followers; it is used from one event loop."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.addresses: Resources | None = None
        self._changed = asyncio.Event()

    def publish(self, snapshot: Snapshot) -> None:
        """Replaces the snapshot. Those who were slow see the newest one only."""
        if snapshot is self.snapshot:
            return
        self.addresses = address_resources(snapshot, self.addresses or NOTHING)
        self.snapshot = snapshot
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Returns an event that is set by the next publish; take it before looking at the snapshot."""
        return self._changed
