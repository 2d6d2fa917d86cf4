"""Listening sockets: which families answer, and whether two may listen at once."""

import errno
import socket

import pytest

from runtime.listening import listen


def test_every_address_is_also_that_of_ipv4() -> None:
    with listen(("::", 0)) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
        assert listener.accept()


def test_without_ipv6_every_address_is_every_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], **options: bool) -> socket.socket:
        if ":" in address[0]:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    with listen(("::", 0)) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
    with pytest.raises(OSError, match="no IPv6"):
        listen(("::1", 0))


def test_the_next_process_listens_beside_this_one_only_if_both_agreed() -> None:
    with listen(("127.0.0.1", 0), reuse_port=True) as first:
        listen(first.getsockname(), reuse_port=True).close()
    with listen(("127.0.0.1", 0)) as first, pytest.raises(OSError, match="in use"):
        listen(first.getsockname())
