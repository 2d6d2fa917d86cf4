"""One pod's network namespace as the kernel holds it: reads the items of capture, and performs steps on them.

Everything here runs in a thread that is inside the namespace (daemonset.capture.namespace).
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute  # type: ignore[import-untyped]

from daemonset.capture import chains, netlink
from daemonset.capture.conntrack import forget_captured
from daemonset.capture.items import Chains, Item, LoopFilter, Own, Programs, Route, Rule, Steering, Survey, Sysctl
from daemonset.capture.steps import Add, Adopt, AwaitHandshakes, Held, Hold, Mark, Remove, Step, held
from ebpf import pins
from ebpf.layout import Settings, SynSent
from ebpf.sockets import SocketWalker

_SYSCTLS = Path("/proc/sys")
# A switch takes milliseconds; after this an agent that died in one holds nothing up.
_HOLD_NS = 1_000_000_000
# A handshake that takes longer is with a peer that does not answer.
_HANDSHAKES_S = 0.5
_POLL_S = 0.005
_CLSACT_NOTE = "qdisc lo clsact"
# A mark that no socket carries: the walk only counts.
_NO_MARK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Site:
    """Where one pod is captured.

    Args:
        name: for errors and logs.
        netns: file descriptor of its network namespace; belongs to whoever made the site.
        pins: the directory of its pinned programs and maps; need not exist.
    """

    name: str
    netns: int
    pins: Path


@contextmanager
def standing(site: Site, walker: SocketWalker | None) -> Iterator["Ground"]:
    """The site's kernel state, for the calling thread, which is inside the site's namespace."""
    with netlink.routing() as routing:
        yield Ground(site, walker, routing)


class Ground:
    """Reads and changes one namespace.

    Args:
        walker: None where eBPF is not used: then no sockets are marked and none adopted.
    """

    def __init__(self, site: Site, walker: SocketWalker | None, routing: IPRoute) -> None:
        self._site = site
        self._walker = walker
        self._routing = routing

    def survey(self) -> Survey:
        """Looks at the namespace's devices and addresses."""
        return netlink.read_survey(self._routing)

    def read(self) -> Held:
        """Everything of capture that the kernel holds, by key, in no order."""
        routes = netlink.read_routes(self._routing)
        found: list[Item] = [*self._read_programs(), *routes, *netlink.read_rules(self._routing)]
        # Only iptables mode routes by lo: without it there are no chains, and no need to run four programs.
        if any(route.device == "lo" for route in routes):
            found += chains.read_chains()
        return held(found)

    def _read_programs(self) -> Iterator[Item]:
        directory = self._site.pins
        complete = pins.complete(directory)
        name = netlink.read_filter_name(self._routing)
        if name is not None:
            yield LoopFilter(stale=not complete or name != _filter_name(directory))
        if not directory.exists():
            return
        yield Programs(stale=not complete)
        for note in pins.read_originals(directory):
            if note != _CLSACT_NOTE and (_SYSCTLS / note).exists():
                yield Sysctl(note, _read_sysctl(note))
        settings = pins.read_settings(directory)
        if not complete or settings is None:
            return
        yield Own(pins.read_own(directory))
        if pins.attached_netns(directory) == os.fstat(self._site.netns).st_ino:
            yield Steering(inbound=bool(settings.inbound))

    def perform(self, step: Step) -> None:
        """Performs one step.

        Raises:
            OSError: the kernel refused.
        """
        with netlink.refusals():
            self._perform(step)

    def _perform(self, step: Step) -> None:
        match step:
            case Add(item):
                self._add(item)
            case Remove(item):
                self._remove(item)
            case Mark(from_mark, to_mark, syn_sent):
                self._mark(from_mark, to_mark, syn_sent)
            case Adopt():
                self.adopt()
            case AwaitHandshakes():
                self._await_handshakes()
            case Hold(on):
                self._set(lambda settings: Settings(time.monotonic_ns() + _HOLD_NS if on else 0, settings.inbound))

    def _add(self, item: Item) -> None:
        directory = self._site.pins
        match item:
            case Programs():
                pins.create(directory)
            case Own(addresses):
                pins.write_own(directory, addresses)
            case Sysctl(path, value):
                pins.note_original(directory, path, _read_sysctl(path))
                (_SYSCTLS / path).write_text(str(value), encoding="ascii")
            case LoopFilter():
                pins.note_original(directory, _CLSACT_NOTE, netlink.has_clsact(self._routing))
                with pins.opened(directory / "loop") as program:
                    netlink.add_filter(self._routing, program, _filter_name(directory))
            case Route():
                netlink.add_route(self._routing, item)
            case Rule():
                netlink.add_rule(self._routing, item)
            case Steering(inbound):
                self._steer(inbound)
            case Chains():
                chains.add_chains(item)

    def _remove(self, item: Item) -> None:
        directory = self._site.pins
        match item:
            case Programs():
                pins.remove(directory)
            case Sysctl(path):
                original = pins.read_originals(directory).get(path)
                if original is not None and (_SYSCTLS / path).exists():
                    (_SYSCTLS / path).write_text(str(original), encoding="ascii")
                pins.forget_original(directory, path)
            case LoopFilter():
                ours = not pins.read_originals(directory).get(_CLSACT_NOTE, 0)
                netlink.remove_filter(self._routing, with_qdisc=ours)
            case Route():
                netlink.remove_route(self._routing, item)
            case Rule():
                netlink.remove_rule(self._routing, item)
            case Steering():
                pins.detach(directory)
            case Chains():
                chains.remove_chains(item)
                forget_captured(item.family)
            case Own():
                return  # goes with Programs

    def _steer(self, inbound: bool) -> None:
        directory = self._site.pins
        self._set(lambda settings: Settings(settings.hold_until_ns, inbound))
        if pins.attached_netns(directory) != os.fstat(self._site.netns).st_ino:
            pins.detach(directory)
            pins.attach(directory, self._site.netns)

    def _set(self, change: Callable[[Settings], Settings]) -> None:
        settings = pins.read_settings(self._site.pins)
        if settings is not None:
            pins.write_settings(self._site.pins, change(settings))

    def adopt(self) -> tuple[int, ...] | None:
        """Puts ztunnel's listeners into the listener map; how many of each port, or None where capture needs none."""
        if self._walker is None or not pins.complete(self._site.pins):
            return None
        return self._walker.adopt(self._site.pins / "listeners")

    def _mark(self, from_mark: int, to_mark: int, syn_sent: SynSent) -> int:
        """Marks sockets; returns how many unmarked half-open connections there are."""
        return self._walker.mark(from_mark, to_mark, syn_sent)[1] if self._walker else 0

    def _await_handshakes(self) -> None:
        deadline = time.monotonic() + _HANDSHAKES_S
        while self._mark(_NO_MARK, 0, SynSent.NONE) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _read_sysctl(path: str) -> int:
    return int((_SYSCTLS / path).read_text(encoding="ascii"))


def _filter_name(directory: Path) -> str:
    """Names the filter after the pinned program, so that another one is told from it."""
    return f"ambient-{pins.loop_program_id(directory)}"
