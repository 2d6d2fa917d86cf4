"""The table of connections that events make. Pure: time comes with the events."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from ebpf.observe.connection import Connection, Path, advance
from ebpf.observe.events import CLOSED, LISTEN, NO_STATE, Event, Kind
from ebpf.observe.verdict import Verdict, is_ztunnel, judge
from mesh.model import SocketAddress

# More than a person reads; a pod under attack must not fill the memory of the one who looks.
MAX_CONNECTIONS = 4096
# How long a connection that has ended stays to be read.
LINGER_NS = 10_000_000_000

Judged = tuple[Connection, Verdict]


class ConnectionTable:
    """The connections of the watched namespaces, at most `limit`: the one that changed longest ago gives way."""

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self._limit = limit
        self._numbers = count()
        self._connections: dict[int, Connection] = {}  # in the order of their latest change
        self._by_socket: dict[int, int] = {}
        self._by_path: dict[Path, int] = {}

    def add(self, connection: Connection) -> None:
        """Adds one that was open before the first event; what events told of it already wins."""
        if connection.path not in self._by_path:
            self._put(next(self._numbers), connection)

    def apply(self, event: Event) -> int | None:
        """Takes an event in; returns the number of its connection in `judged`, None for a listener, which is no connection."""
        if LISTEN in {event.old_state, event.new_state} and event.new_state in {LISTEN, CLOSED}:
            return None
        number = self._find(event)
        if number is None:
            number = next(self._numbers)
            before = Connection(event.netns, event.local, event.remote, event.time_ns, event.time_ns)
        else:
            before = self._connections[number]
        self._put(number, advance(before, event))
        return number

    def judged(self, now_ns: int) -> dict[int, Judged]:
        """Every connection with its verdict, by number; the number stays the connection's own.

        Args:
            now_ns: of CLOCK_MONOTONIC.
        """
        ztunnels: dict[tuple[int, SocketAddress], list[SocketAddress]] = {}
        for connection in self._connections.values():
            if is_ztunnel(connection.mark):
                ztunnels.setdefault((connection.netns, connection.remote), []).append(connection.local)
        verdicts: dict[int, Judged] = {}
        for number, connection in self._connections.items():
            verdict = judge(connection, ztunnels.get((connection.netns, connection.local), ()), now_ns)
            if verdict is Verdict.CAPTURED and not connection.captured:
                self._connections[number] = replace(connection, captured=True)  # the other end may be forgotten earlier than this one
            verdicts[number] = connection, verdict
        return verdicts

    def forget(self, now_ns: int) -> None:
        """Drops what ended longer ago than people need to read it."""
        ended = [number for number, one in self._connections.items() if one.closed and now_ns - one.changed_ns > LINGER_NS]
        for number in ended:
            self._drop(number)

    def retain(self, namespaces: frozenset[int]) -> None:
        """Drops the connections of all other namespaces."""
        for number in [number for number, one in self._connections.items() if one.netns not in namespaces]:
            self._drop(number)

    def _find(self, event: Event) -> int | None:
        path = self._by_path.get((event.netns, event.local, event.remote))
        if path is None and not event.socket:
            # The first packet of a socket that connects may be told of before the port that it was given.
            path = self._by_path.get((event.netns, SocketAddress(event.local.ip, 0), event.remote))
        if event.kind is Kind.STATE and event.old_state in {CLOSED, LISTEN}:
            # A new connection; of one that packets alone have told of so far it is the socket.
            return path if path is not None and self._connections[path].state == NO_STATE else None
        return self._by_socket.get(event.socket, path) if event.socket else path

    def _put(self, number: int, connection: Connection) -> None:
        self._drop(number)
        self._drop_stale(connection)
        self._connections[number] = connection
        self._by_path[connection.path] = number
        if connection.socket:
            self._by_socket[connection.socket] = number
        if len(self._connections) > self._limit:
            self._drop(next(iter(self._connections)))

    def _drop_stale(self, connection: Connection) -> None:
        """Drops what cannot be open beside this connection: what has its socket or, with a port, its path. Its end was missed."""
        same_path = self._by_path.get(connection.path) if connection.local.port else None
        if same_path is not None and not self._connections[same_path].closed:
            self._drop(same_path)
        same_socket = self._by_socket.get(connection.socket)
        if same_socket is not None:
            self._drop(same_socket)

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is None:
            return
        if self._by_path.get(connection.path) == number:
            del self._by_path[connection.path]
        if self._by_socket.get(connection.socket) == number:
            del self._by_socket[connection.socket]


def in_order(judged: Sequence[Judged]) -> list[Judged]:
    """The application's connections first, then those that tell least; each as they were opened."""
    last = (Verdict.ZTUNNEL, Verdict.EXEMPT)
    return sorted(judged, key=lambda pair: (pair[1] in last, pair[0].opened_ns))
