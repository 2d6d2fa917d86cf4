"""Dialling with a client's address: ports that the client does not use, and that are free towards the destination."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from ztunnel.engine.interface import Cause
from ztunnel.engine.python import dialling
from ztunnel.engine.python.dialling import FIRST_SOURCE_PORT, SOURCE_PORTS, Dial, Stock
from ztunnel.engine.python.reactor import Reactor
from ztunnel.engine.python.sockets import Socket

CLIENT = "127.0.0.77"


class Dialling:
    """A listener on loopback, and dials to it as somebody else."""

    def __init__(self) -> None:
        self.reactor = Reactor(asyncio.get_running_loop())
        self.netns = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.sockets: list[Socket] = []
        self.failures: list[Cause] = []

    def dial(self, stock: Stock, source: str = CLIENT, *, far: bool = False) -> None:
        Dial(self.reactor, self.sockets.append, lambda cause, _: self.failures.append(cause)).start(
            stock, self.server.getsockname(), source, far=far
        )

    def close(self) -> None:
        for sock in (*self.sockets, self.server):
            sock.close()
        self.reactor.close()
        os.close(self.netns)


def run(test: Callable[[Dialling], Awaitable[None]]) -> None:
    async def body() -> None:
        ground = Dialling()
        try:
            await test(ground)
        finally:
            ground.close()

    asyncio.run(body())


def test_the_clients_address_is_kept_with_a_port_that_clients_do_not_get() -> None:
    async def body(ground: Dialling) -> None:
        stock = Stock(ground.reactor, ground.netns)
        for _ in range(3):
            ground.dial(stock)
        stock.close()
        names = [sock.getsockname() for sock in ground.sockets]
        assert [address for address, _ in names] == [CLIENT] * 3
        assert all(FIRST_SOURCE_PORT <= port < FIRST_SOURCE_PORT + SOURCE_PORTS for _, port in names)

    run(body)


def test_a_port_that_is_taken_towards_the_destination_is_passed_over() -> None:
    async def body(ground: Dialling) -> None:
        stocks = [Stock(ground.reactor, ground.netns) for _ in range(2)]
        for stock in stocks:
            stock._port = 500
            ground.dial(stock)
            stock.close()
        assert [sock.getsockname()[1] - FIRST_SOURCE_PORT for sock in ground.sockets] == [501, 502]

    run(body)


def test_when_every_port_is_taken_the_dial_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "MAX_PORT_ATTEMPTS", 1)

    async def body(ground: Dialling) -> None:
        stocks = [Stock(ground.reactor, ground.netns) for _ in range(2)]
        for stock in stocks:
            stock._port = 600
            ground.dial(stock)
            stock.close()
        assert (len(ground.sockets), ground.failures) == (1, [Cause.CONNECT_UNREACHABLE])

    run(body)


def test_without_a_source_the_address_is_the_namespaces_own() -> None:
    async def body(ground: Dialling) -> None:
        stock = Stock(ground.reactor, ground.netns)
        ground.dial(stock, source="")
        stock.close()
        assert ground.sockets[0].getsockname()[0] == "127.0.0.1"

    run(body)


@pytest.mark.parametrize("source", ["", CLIENT])
@pytest.mark.parametrize("far", [True, False])
def test_only_another_machine_is_asked_whether_it_is_still_there(source: str, far: bool) -> None:
    async def body(ground: Dialling) -> None:
        stock = Stock(ground.reactor, ground.netns)
        ground.dial(stock, source, far=far)
        stock.close()
        [sock] = ground.sockets
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is far
        if far:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 180
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(body)
