"""Which replica does what is to be done once: an election by Lease, as a state machine. No I/O; time comes in as an argument.

Others' clocks are not believed: a lease has run out when it was not seen to change for its own duration, by our clock. And its holder stops
acting well before that: it counts from the moment before it asked.
Source: Kubernetes, client-go, tools/leaderelection; Lease v1.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEASE_S = 15.0
# The holder gives up when it could not renew for so long.
RENEW_WITHIN_S = 10.0
RETRY_S = 2.0
# A holder that leaves says so by a lease of this duration. Source: client-go, release.
_RELEASED_S = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says.

    Args:
        holder: "" for nobody.
        acquired, renewed: times as Kubernetes writes them.
        transitions: how often it changed hands.
    """

    holder: str
    duration_s: int
    acquired: str
    renewed: str
    transitions: int


def read_record(lease: Mapping[str, Any]) -> Record:
    """Reads a Lease; what is missing or nonsense counts as not given."""
    spec = lease.get("spec")
    values = spec if isinstance(spec, dict) else {}

    def text(key: str) -> str:
        return value if isinstance(value := values.get(key), str) else ""

    def number(key: str) -> int:
        return value if type(value := values.get(key)) is int else 0

    return Record(
        text("holderIdentity"), number("leaseDurationSeconds"), text("acquireTime"), text("renewTime"), number("leaseTransitions")
    )


def write_record(record: Record) -> dict[str, Any]:
    """Returns the spec of a Lease."""
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration_s,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }


class Election:
    """One replica's part in it.

    Args:
        identity: no two replicas have the same.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._seen: Record | None = None
        self._seen_s = self._renewed_s = float("-inf")

    def leading(self, now_s: float) -> bool:
        """Whether this replica may act as the leader.

        Args:
            now_s: seconds on a clock that does not go backwards.
        """
        return now_s < self._renewed_s + RENEW_WITHIN_S

    def wish(self, found: Record | None, now_s: float, now: dt.datetime) -> Record | None:
        """Takes what the Lease says, and returns what it should say; None: it is another's.

        Args:
            found: None: there is no Lease.
        """
        stamp = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if found is None:
            return Record(self._identity, int(LEASE_S), stamp, stamp, 0)
        if found != self._seen:
            self._seen, self._seen_s = found, now_s
        if found.holder == self._identity:
            return Record(self._identity, int(LEASE_S), found.acquired or stamp, stamp, found.transitions)
        self._renewed_s = float("-inf")
        if found.holder and now_s < self._seen_s + found.duration_s:
            return None
        return Record(self._identity, int(LEASE_S), stamp, stamp, found.transitions + 1)

    def won(self, record: Record, asked_s: float) -> None:
        """The Lease says what was wished.

        Args:
            asked_s: when that was asked for.
        """
        self._seen, self._seen_s, self._renewed_s = record, asked_s, asked_s

    def leave(self, now: dt.datetime) -> Record | None:
        """Returns what the Lease should say so that another need not wait; None: it is not ours."""
        held, self._renewed_s = self._renewed_s > float("-inf"), float("-inf")
        if not held or self._seen is None:
            return None
        stamp = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return Record("", _RELEASED_S, stamp, stamp, self._seen.transitions)
