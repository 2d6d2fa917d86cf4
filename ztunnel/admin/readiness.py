"""Whether this ztunnel may be relied on. Pure."""

from collections.abc import Iterable


def obstacles(synced: bool, snapshot_received: bool, missing_certificates: Iterable[str]) -> tuple[str, ...]:
    """Returns what readiness waits for; nothing: ready.

    Args:
        synced: the control plane has answered once; that it may be away since then is no reason to stop serving.
        snapshot_received: the agent has named the node's pods once.
        missing_certificates: identities of pods that have none yet.
    """
    found = []
    if not synced:
        found.append("the control plane has not answered yet")
    if not snapshot_received:
        found.append("the agent has not sent its snapshot yet")
    found += [f"no certificate yet for {identity}" for identity in missing_certificates]
    return tuple(found)
