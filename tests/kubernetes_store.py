"""An API server in memory: objects with versions, lists, watches, conflicts. What it does not do, it refuses."""

import asyncio
import copy
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.kubernetes_answers import event, refusal

Key = tuple[str, str, str]
# The kind of each plural that is served.
KINDS = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "serviceaccounts": "ServiceAccount",
    "pods": "Pod",
    "services": "Service",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "endpointslices": "EndpointSlice",
    "leases": "Lease",
    "authorizationpolicies": "AuthorizationPolicy",
    "peerauthentications": "PeerAuthentication",
    "serviceentries": "ServiceEntry",
    "workloadentries": "WorkloadEntry",
}


@dataclass
class Store:
    """Args:
    absent: plurals that are not installed.
    forbidden: (method, plural) that nobody may do.
    review: answers a TokenReview with its status.
    oldest: watches from an earlier version are answered with 410.
    writes: method, plural, name and subresource of every write that was accepted.
    """

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    review: Callable[[str], dict[str, Any]] = lambda token: {"authenticated": False}
    reviews: int = 0
    oldest: int = 0
    away: bool = False
    writes: list[tuple[str, str, str, str]] = field(default_factory=list)
    _version: int = 100
    _history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, plural: str, data: dict[str, Any]) -> dict[str, Any]:
        """Creates or replaces an object."""
        metadata = data["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        self._version += 1
        before = self.objects.get(key)
        metadata = {"uid": f"u{self._version}", "generation": 1, **metadata, "resourceVersion": str(self._version)}
        stored = {"apiVersion": "x/v1", **data, "kind": KINDS[plural], "metadata": metadata}
        self.objects[key] = stored
        await self._note("MODIFIED" if before is not None else "ADDED", plural, stored)
        return stored

    async def remove(self, plural: str, namespace: str, name: str) -> None:
        gone = self.objects.pop((plural, namespace, name))
        self._version += 1
        await self._note("DELETED", plural, {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._version)}})

    async def until(self, true: Callable[[], bool]) -> None:
        """Waits until something holds of the store."""
        async with self._changed:
            await self._changed.wait_for(true)

    async def _note(self, kind: str, plural: str, data: dict[str, Any]) -> None:
        self._history.append((self._version, kind, plural, data))
        async with self._changed:
            self._changed.notify_all()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "34"})
        parts = request.path.split("/")[3 if request.path.startswith("/api/") else 4 :]
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        plural, name, subresource, *_ = [*(parts[2:] if namespace else parts), "", ""]
        if plural == "tokenreviews":
            self.reviews += 1
            body = await request.json()
            return web.json_response({"kind": "TokenReview", "status": self.review(body["spec"]["token"])}, status=201)
        if plural in self.absent or plural not in KINDS:
            return _refuse(404, "NotFound")
        if (request.method, plural) in self.forbidden:
            return _refuse(403, "Forbidden")
        if request.method == "GET" and not name:
            return await (self._watch if "watch" in request.query else self._list)(request, plural, namespace)
        return await self._one(request, (plural, namespace, name), subresource)

    async def _one(self, request: web.Request, key: Key, subresource: str) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        key = (key[0], key[1], key[2] or body["metadata"]["name"])
        found = self.objects.get(key)
        if request.method == "POST" and found is not None:
            return _refuse(409, "AlreadyExists")
        applied = "apply" in request.headers.get("Content-Type", "")
        if found is None and (request.method != "POST" and not (applied and not subresource)):
            return _refuse(404, "NotFound")
        if request.method == "GET":
            return web.json_response(found)
        if request.method == "PUT" and body["metadata"].get("resourceVersion") != (found or {})["metadata"]["resourceVersion"]:
            return _refuse(409, "Conflict")
        version = body.get("metadata", {}).get("resourceVersion")
        if applied and version is not None and found is not None and version != found["metadata"]["resourceVersion"]:
            return _refuse(409, "Conflict")
        merged = _merge(copy.deepcopy(found or {}), body) if request.method == "PATCH" else body
        if request.method == "PATCH":
            now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            merged["metadata"]["managedFields"] = [{"manager": request.query.get("fieldManager", ""), "time": now}]
        merged["metadata"] = {**merged["metadata"], **({"namespace": key[1]} if key[1] else {})}
        self.writes.append((request.method, key[0], key[2], subresource))
        return web.json_response(await self.put(key[0], merged))

    async def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        partial = "PartialObjectMetadata" in request.headers["Accept"]
        items = [_seen(data, partial) for key, data in sorted(self.objects.items()) if key[0] == plural and namespace in {"", key[1]}]
        kind = "PartialObjectMetadata" if partial else KINDS[plural]
        limit, start = int(request.query.get("limit", len(items) or 1)), int(request.query.get("continue", 0))
        more = str(start + limit) if start + limit < len(items) else ""
        metadata = {"resourceVersion": str(self._version), "continue": more}
        return web.json_response({"kind": f"{kind}List", "metadata": metadata, "items": items[start : start + limit]})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        version, partial = int(request.query["resourceVersion"]), "PartialObjectMetadata" in request.headers["Accept"]
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.away:
            if version < self.oldest:
                await response.write(json.dumps(event("ERROR", refusal(410, "Expired"))).encode() + b"\n")
                break
            for at, kind, which, data in [one for one in self._history if one[0] > version]:
                version = at
                if which == plural and namespace in {"", data["metadata"].get("namespace")}:
                    await response.write(json.dumps(event(kind, _seen(data, partial))).encode() + b"\n")
            async with self._changed:
                await self._changed.wait_for(lambda: self._version > version or self.away or version < self.oldest)  # noqa: B023
        return response

    async def expire(self) -> None:
        """Forgets the past, as etcd does when it is compacted: watches must list anew."""
        self._version += 1
        self.oldest = self._version
        async with self._changed:
            self._changed.notify_all()

    async def go(self, away: bool) -> None:
        """Breaks every watch, and answers nobody; or comes back."""
        self.away = away
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[str]:
    """Serves on the loopback interface, and gives the URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", store.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _seen(data: dict[str, Any], partial: bool) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "metadata": data["metadata"]} if partial else data


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value
    return target


def _refuse(code: int, reason: str) -> web.Response:
    return web.json_response(refusal(code, reason), status=code)
