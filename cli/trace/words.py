"""The words of a trace: pods, reasons and times by what numbers stand for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ebpf.observe.events import Event, Kind

OUTSIDE = "outside the pod"


@dataclass(frozen=True, slots=True)
class Words:
    """What numbers are called.

    Args:
        pods: by inode of the network namespace.
        drop_reasons, reset_reasons: the kernel's names.
        wall_clock_ns: what to add to CLOCK_MONOTONIC for the time of day.
    """

    pods: Mapping[int, str]
    drop_reasons: Mapping[int, str]
    reset_reasons: Mapping[int, str]
    wall_clock_ns: int

    def pod(self, netns: int) -> str:
        return self.pods.get(netns, f"netns {netns}")

    def time(self, time_ns: int) -> datetime:
        return datetime.fromtimestamp((time_ns + self.wall_clock_ns) / 1e9, UTC)

    def drop_reason(self, reason: int) -> str:
        return self.drop_reasons.get(reason, str(reason))

    def reason(self, event: Event) -> str:
        """Why a packet was dropped or a reset was sent; "" where the kernel does not say."""
        if event.kind is Kind.DROP:
            return self.drop_reason(event.reason)
        return self.reset_reasons.get(event.reason, "") if event.kind is Kind.RESET_SENT else ""


def milliseconds(rtt_us: int) -> str:
    """A round-trip time; "" where none has been measured."""
    return f"{rtt_us / 1000:.3f}" if rtt_us else ""
