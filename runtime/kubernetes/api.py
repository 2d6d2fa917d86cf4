"""Requests to the API server: JSON in and out, bounded in size and time."""

import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog

from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer, ConfigError
from runtime.kubernetes.access import Access, load_access
from runtime.kubernetes.following import status_error
from runtime.kubernetes.resources import Resource
from runtime.kubernetes.watch_lines import read_object

_log = structlog.get_logger()
# A page of a list; what is larger is asked for in smaller pages.
MAX_ANSWER_BYTES = 64 << 20
# The server itself gives up on a request after a minute. Source: kube-apiserver, --request-timeout.
TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
# A watch carries a bookmark a minute; silence for so long is a connection that leads nowhere.
# Source: Kubernetes, "API Concepts", watch bookmarks.
SILENCE_S = 150.0
# A server that vanished without a word is noticed by the kernel within half a minute.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 30_000))
# A configuration that the server does not take may be a file that is being replaced.
_RELOAD_EVERY_S = 5.0
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


@dataclass(slots=True)
class _Connections:
    """Connections under one configuration. What goes on by a former one ends by itself: the server has let it in."""

    session: aiohttp.ClientSession
    used: int = 0
    former: bool = False

    async def close_if_unused(self) -> None:
        if self.former and not self.used:
            await self.session.close()


class Api:
    """The API server; used as an async context manager.

    Every call raises:
        ApiError: the server refused it.
        ApiUnreachable: it did not answer.
        BrokenAnswer: what it answered is no object.

    Args:
        access: from `load_access`.
        kubeconfig: where it came from; it is read again when the server no longer knows us.
    """

    def __init__(self, access: Access, kubeconfig: Path | None) -> None:
        self._access = access
        self._kubeconfig = kubeconfig
        self._connections: _Connections | None = None
        self._reloaded_s = time.monotonic()
        # How far the server's clock was ahead of ours when it answered last, to a second or two.
        self.server_ahead_s = 0.0

    async def __aenter__(self) -> Self:
        self._connections = _Connections(_session(self._access))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connections is not None:
            self._connections.former = True
            await self._connections.session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Returns an object; None: there is none."""
        try:
            return await self.request("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, resource: Resource, namespace: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Makes an object. Raises ApiError 409 too: there is one of this name."""
        return await self.request("POST", resource.path(namespace), body=_typed(resource, data))

    async def replace(self, resource: Resource, namespace: str, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Puts an object in place of the one whose resourceVersion it carries. Raises ApiError 409 too: that is no longer the newest."""
        return await self.request("PUT", resource.path(namespace, name), body=_typed(resource, data))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any], subresource: str = "") -> dict[str, Any]:
        """Changes some fields of an object. Source: RFC 7396."""
        return await self.request("PATCH", resource.path(namespace, name, subresource), body=patch, content_type=_MERGE)

    async def apply(
        self, resource: Resource, namespace: str, name: str, data: Mapping[str, Any], *, manager: str, subresource: str = ""
    ) -> dict[str, Any]:
        """Declares the fields that `manager` owns of an object, by force where others own them. Source: Kubernetes, "Server-Side Apply"."""
        body = {
            **_typed(resource, data),
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **data.get("metadata", {})},
        }
        query = {"fieldManager": manager, "force": "true"}
        return await self.request("PATCH", resource.path(namespace, name, subresource), query, body=body, content_type=_APPLY)

    async def delete(self, resource: Resource, namespace: str, name: str) -> None:
        await self.request("DELETE", resource.path(namespace, name))

    async def clock_ahead_s(self) -> float:
        """Returns the seconds by which the server's clock is ahead of ours, to about one: what it answers says when, in whole seconds."""
        sent_s = time.time()
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        async with self._open("GET", "/version", None, timeout, None, {}) as response:
            try:
                # Source: RFC 9110, section 6.6.1.
                date = parsedate_to_datetime(response.headers.get("Date", ""))
            except ValueError:
                raise BrokenAnswer("an answer without its date") from None
        return date.timestamp() + 0.5 - (sent_s + time.time()) / 2

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Makes a request, and returns the object that it is answered with."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        data = json.dumps(body).encode() if body is not None else None
        async with self._open(method, path, query, timeout, data, {"Accept": accept, "Content-Type": content_type}) as response:
            return read_object(await _read(response, MAX_ANSWER_BYTES))

    async def stream(self, path: str, query: Mapping[str, str], accept: str) -> AsyncGenerator[bytes, None]:
        """Yields what arrives of an answer that goes on: b"" first, when the server has agreed. It ends with it, or after SILENCE_S."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S)
        async with self._open("GET", path, query, timeout, None, {"Accept": accept}) as response:
            yield b""
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            except TimeoutError:
                return

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        authorization = await self._access.authorization()
        sent = {**headers, **({"Authorization": authorization} if authorization else {})}
        access, connections = self._access, self._connections
        assert connections is not None, "used outside of its block"
        connections.used += 1
        try:
            async with connections.session.request(
                method,
                access.host + path,
                params=query,
                data=data,
                headers=sent,
                timeout=limits,
                allow_redirects=False,
                proxy=access.proxy or None,
                server_hostname=access.server_name or None,
            ) as response:
                self._compare_clocks(response)
                if not 200 <= response.status < 300:
                    raise await _refusal(response)
                yield response
        except ApiError as error:
            if error.status == 401:
                await self._reload()
            raise
        except aiohttp.ClientSSLError as error:
            await self._reload()
            raise ApiUnreachable(f"{type(error).__name__}: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnreachable(f"{type(error).__name__}: {error}") from None
        finally:
            connections.used -= 1
            await connections.close_if_unused()

    def _compare_clocks(self, response: aiohttp.ClientResponse) -> None:
        try:
            self.server_ahead_s = parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
        except (KeyError, ValueError, OverflowError):
            # Nobody has to say what time it is.
            return

    async def _reload(self) -> None:
        """Reads the configuration again: a token, a certificate or the server's authority may have been replaced."""
        if time.monotonic() - self._reloaded_s < _RELOAD_EVERY_S:
            return
        self._reloaded_s = time.monotonic()
        try:
            self._access = await load_access(self._kubeconfig)
        except ConfigError as error:
            _log.warning("api_access_not_read", error=str(error))
            return
        if self._connections is not None:
            self._connections.former = True
        self._connections = _Connections(_session(self._access))


def _session(access: Access) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=access.tls if access.tls is not None else True, socket_factory=_socket)
    # A watch with large objects comes in large pieces.
    return aiohttp.ClientSession(connector=connector, read_bufsize=1 << 18, headers={"User-Agent": "ambient-mesh"})


def _socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    made.setblocking(False)
    return made


def _typed(resource: Resource, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **data}


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, length = [], 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        if length > limit:
            raise BrokenAnswer(f"an answer of more than {limit} bytes", too_large=True)
        parts.append(chunk)
    return b"".join(parts)


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """Reads what the server says of a refusal; a proxy before it may say it in another way."""
    try:
        status = read_object(await _read(response, 1 << 16))
    except BrokenAnswer as broken:
        return ApiError(response.status, "", str(broken))
    return status_error(response.status, status)
