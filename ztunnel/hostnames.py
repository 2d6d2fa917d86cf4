"""The addresses of hostnames, looked up by the node's resolver: for endpoints that the control plane knows by name only."""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import structlog

from mesh.model import IPAddress

# getaddrinfo does not say how long an answer holds; the node's resolver keeps it no longer than its authority allows.
LIFETIME_S = 30.0
# A name that does not exist may have been made a moment too late; a resolver that does not answer may be back.
RETRY_S = 5.0
# A name that no decision has asked for in so long is looked up no more.
IDLE_S = 600.0
# About 1 KB each.
MAX_HOSTNAMES = 1024
# Of one name. Routing uses fewer; the rest are kept so that a changed answer is told from one in another order.
MAX_ADDRESSES = 64
# The resolver of C has so many threads in libuv, and one that hangs holds one for as long as it likes.
MAX_LOOKUPS = 4
# What resolv.conf allows by default: 2 attempts of 5 s.
LOOKUP_TIMEOUT_S = 10.0
# How soon what is due is noticed.
PERIOD_S = 1.0
# The name has no address; everything else says that nobody knows now.
_ABSENT = frozenset((socket.EAI_NONAME, socket.EAI_NODATA))

log = structlog.get_logger(scope="hostnames")

# Returns the addresses of a name as text; raises OSError.
Lookup = Callable[[str], Awaitable[Iterable[str]]]


async def look_up(hostname: str) -> Iterable[str]:
    """Asks the node's resolver: /etc/hosts, then DNS. Only families that the node has addresses of are asked for."""
    flags = socket.AI_ADDRCONFIG
    found = await asyncio.get_running_loop().getaddrinfo(hostname, None, type=socket.SOCK_STREAM, flags=flags)
    return [str(address[0]) for *_, address in found]


@dataclass(slots=True)
class _Entry:
    """One name; `due_s`: when it is looked up again, `asked_s`: when a decision last asked for it."""

    answered: asyncio.Future[None]
    asked_s: float
    due_s: float = float("inf")
    addresses: tuple[IPAddress, ...] = ()


class Hostnames:
    """Bounded; the least recently asked for goes first. While a resolver does not answer, what was known goes on.

    Args:
        changed: called when a name has other addresses than decisions were made with.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        lookup: Lookup = look_up,
        clock: Callable[[], float] = time.monotonic,
        max_hostnames: int = MAX_HOSTNAMES,
    ) -> None:
        self._changed = changed
        self._lookup = lookup
        self._clock = clock
        self._max_hostnames = max_hostnames
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._entries)

    async def run(self) -> None:
        """Owns the lookups; serves until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            while True:
                await asyncio.sleep(PERIOD_S)
                self.refresh()

    def addresses_of(self, hostname: str) -> tuple[IPAddress, ...]:
        """Returns what is known now, for a decision."""
        entry = self._entries.get(hostname)
        if entry is None:
            return ()
        entry.asked_s = self._clock()
        self._entries.move_to_end(hostname)
        return entry.addresses

    def settled(self, hostname: str) -> bool:
        """Says whether a name has been looked up, or was found to have no addresses."""
        entry = self._entries.get(hostname)
        return entry is not None and entry.answered.done()

    async def settle(self, hostnames: Iterable[str], timeout_s: float) -> None:
        """Returns when each name has been looked up, or the time is up; an answer that comes later is told by `changed`."""
        entries = [self._ask(hostname) for hostname in hostnames]
        waiting = [entry.answered for entry in entries if not entry.answered.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_s)

    def refresh(self) -> None:
        """Looks up again what is due, and forgets what nobody asks for."""
        now_s = self._clock()
        idle = [hostname for hostname, entry in self._entries.items() if now_s - entry.asked_s >= IDLE_S]
        for hostname in idle:
            del self._entries[hostname]
        if idle:
            # A decision that was made with them may still be cached, and would never hear of a change.
            self._changed()
        for hostname, entry in self._entries.items():
            if now_s >= entry.due_s:
                self._begin(hostname, entry)

    def _ask(self, hostname: str) -> _Entry:
        entry = self._entries.get(hostname)
        if entry is None:
            entry = self._entries[hostname] = _Entry(asyncio.get_running_loop().create_future(), self._clock())
            self._begin(hostname, entry)
            if len(self._entries) > self._max_hostnames:
                self._entries.popitem(last=False)
                self._changed()
        return entry

    def _begin(self, hostname: str, entry: _Entry) -> None:
        entry.due_s = float("inf")
        if self._group is None:
            entry.answered.set_result(None)
        else:
            self._group.create_task(self._answer(hostname, entry))

    async def _answer(self, hostname: str, entry: _Entry) -> None:
        before, after = entry.addresses, entry.addresses
        lifetime_s = RETRY_S
        try:
            async with self._lookups, asyncio.timeout(LOOKUP_TIMEOUT_S):
                after = usable_addresses(await self._lookup(hostname))
            lifetime_s = LIFETIME_S if after else RETRY_S
        except (OSError, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.errno in _ABSENT:
                after = ()
            log.warning("no answer", hostname=hostname, reason=str(error) or type(error).__name__, known=len(after))
        entry.addresses, entry.due_s = after, self._clock() + lifetime_s
        if not entry.answered.done():
            entry.answered.set_result(None)
        if after != before:
            self._changed()


def usable_addresses(found: Iterable[str]) -> tuple[IPAddress, ...]:
    """Returns addresses that a pod may be sent to. Whoever answers for a name must not send it to itself or to its link."""
    addresses = {ip_address(text.partition("%")[0]) for text in found}
    usable = (ip for ip in addresses if not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or _mapped(ip)))
    return tuple(sorted(usable, key=lambda ip: (ip.version, int(ip)))[:MAX_ADDRESSES])


def _mapped(ip: IPv4Address | IPv6Address) -> bool:
    return isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None
