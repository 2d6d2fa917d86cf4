"""Keeps the authority in a cluster: read from its Secret by every replica, moved on and published by the one that leads."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.authority import Authority, Issuer, make_authority
from controlplane.authority_keeper import BUNDLE_FILE, ENDS_SOON, LISTS_FILE, REMIND_EVERY, describe
from controlplane.given_store import GivenAuthority
from controlplane.kubernetes import authority_secret
from controlplane.kubernetes.authority_secret import Kept
from controlplane.revoked import Revoked
from controlplane.rotation import Pace
from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer, ConfigError
from runtime.kubernetes import Api
from runtime.kubernetes.resources import CONFIG_MAPS, SECRETS

SECRET = "ambient-ca"  # noqa: S105  # its name
BUNDLE = "istio-ca-root-cert"
MANAGER = "ambient-controlplane"
# A revocation or a new root is urgent; two small objects every other second are nothing to an API server.
POLL_S = 2.0
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)

_log = structlog.get_logger()


class Source(Protocol):
    """Where an authority comes from."""

    async def read(self, now: dt.datetime) -> Authority:
        """Returns the authority in force; its revocation lists are of no account. Raises ConfigError, OSError, or as `Api` does."""

    def lists(self, published: bytes, now: dt.datetime) -> bytes:
        """Returns the revocation lists of what was read last: those that are published while they are right. Raises ConfigError."""

    async def step(self, published: dt.datetime, now: dt.datetime) -> None:
        """Moves a rotation on by one stage if that is due; for the leader alone. Raises as `read` does."""


class SecretAuthority:
    """The authority that the control plane makes itself, in a Secret."""

    def __init__(self, api: Api, namespace: str, pace: Pace) -> None:
        self._api = api
        self._namespace = namespace
        self._name = f"secret {namespace}/{SECRET}"
        self._pace = pace
        self._secret: dict[str, object] = {}
        self._contents: dict[str, bytes] = {}
        self._kept: Kept | None = None
        self._roots: dict[int, Issuer] = {}
        self._revoked = Revoked()

    async def read(self, now: dt.datetime) -> Authority:
        secret = await self._api.get(SECRETS, self._namespace, SECRET)
        contents = authority_secret.decode_secret(secret, self._name) if secret is not None else {}
        if authority_secret.is_empty(contents):
            if self._kept is not None:
                # A new root would cut off every node.
                raise ConfigError(self._name, "gone, or emptied", "what it held; start anew to begin with a new root")
            secret, contents = await self._begin(secret, contents, now)
        assert secret is not None
        kept = authority_secret.read_kept(contents, self._name, self._roots)
        if kept.issuer.ends <= now:
            ended = f"a root that ended at {kept.issuer.ends.isoformat()}"
            raise ConfigError(self._name, ended, "a root that is still valid; delete it to begin with a new one")
        self._secret, self._contents, self._kept, self._roots = secret, contents, kept, dict(kept.roots)
        bundle = b"".join(root.certificate.public_bytes(Encoding.PEM) for root in kept.trusted)
        return make_authority(kept.issuer, bundle, b"")

    def lists(self, published: bytes, now: dt.datetime) -> bytes:
        assert self._kept is not None, "it was read"
        return self._revoked.lists(self._kept.revoked, f"{self._name}/revoked", published, self._kept.trusted, now)

    async def step(self, published: dt.datetime, now: dt.datetime) -> None:
        assert self._kept is not None, "it was read"
        following = authority_secret.step(self._contents, self._kept, self._pace, published, now)
        if following is None:
            return
        await self._write(following)
        state = authority_secret.read_kept(following, self._name, self._roots).state
        if state != self._kept.state:
            _log.info("root_rotation", stage=state.stage.value, signing=state.signing, trusted=list(state.trusted), number=state.number)

    async def _begin(
        self, secret: dict[str, object] | None, contents: dict[str, bytes], now: dt.datetime
    ) -> tuple[dict[str, object], dict[str, bytes]]:
        """Makes the first root. Raises ApiError 409 when another replica was faster: what it made is read the next time."""
        first = authority_secret.begun(contents, self._pace, now)
        if secret is None:
            metadata = {"name": SECRET, "namespace": self._namespace}
            made = await self._api.create(SECRETS, self._namespace, {"metadata": metadata, **authority_secret.encode_secret(first)})
        else:
            self._secret = secret
            made = await self._write(first)
        _log.info("root_made", secret=f"{self._namespace}/{SECRET}")
        return made, first

    async def _write(self, contents: dict[str, bytes]) -> dict[str, object]:
        """Puts contents in place of those that were read, and of no others."""
        # With the version in it: another replica may have been faster.
        data = {"metadata": self._secret.get("metadata"), **authority_secret.encode_secret(contents)}
        if isinstance(kind := self._secret.get("type"), str):
            # It cannot be changed.
            data["type"] = kind
        return await self._api.replace(SECRETS, self._namespace, SECRET, data)


class MountedAuthority:
    """An authority that others made, in a directory that is a mounted Secret."""

    def __init__(self, given: GivenAuthority) -> None:
        self._given = given
        self._lists = b""

    async def read(self, now: dt.datetime) -> Authority:
        found = await asyncio.to_thread(self._given.read, b"", now)
        self._lists = found.revocations
        return found

    def lists(self, published: bytes, now: dt.datetime) -> bytes:
        return self._lists

    async def step(self, published: dt.datetime, now: dt.datetime) -> None:
        """Its rotation is its owner's work."""


class ClusterAuthority:
    """Holds `current` once `enter` has returned; to be read anew at each use, from any thread.

    Args:
        leading: says whether this replica may publish and move a rotation on.
    """

    def __init__(self, api: Api, namespace: str, source: Source, leading: Callable[[], bool], clock: Callable[[], dt.datetime]) -> None:
        self._api = api
        self._namespace = namespace
        self._source = source
        self._leading = leading
        self._clock = clock
        self._current: Authority | None = None
        self._trouble = ""
        self._reminded = _LONG_AGO

    async def enter(self) -> None:
        """Returns when there is an authority; what is in the way is logged once."""
        while not await self.refresh():
            await asyncio.sleep(POLL_S)

    async def follow(self, stopping: asyncio.Event) -> None:
        """Keeps it until `stopping` is set."""
        while not stopping.is_set():
            await self.refresh()
            self._remind()
            try:
                async with asyncio.timeout(POLL_S):
                    await stopping.wait()
            except TimeoutError:
                pass

    @property
    def trouble(self) -> str:
        """What is in the way; "" for nothing."""
        return self._trouble

    @property
    def current(self) -> Authority:
        assert self._current is not None, "enter has not returned"
        return self._current

    async def refresh(self) -> bool:
        """Takes over what has changed, and says whether all is well. What cannot be used leaves what was there before in force."""
        event = "authority_not_read"
        try:
            self._current = await self._source.read(self._clock())
            event = "bundle_not_written"
            if self._leading():
                # A rotation counts on the bundle being where the nodes find it.
                published_at = await self._publish(self._current)
                event = "root_not_rotated"
                await self._source.step(published_at, self._clock())
        except (ConfigError, ApiError, ApiUnreachable, BrokenAnswer, OSError) as error:
            # A conflict: another replica was faster; what it wrote is read the next time.
            conflict = isinstance(error, ApiError) and error.status == 409
            if not conflict and (said := f"{event}: {error}") != self._trouble:
                self._trouble = said
                _log.error(event, error=str(error), in_force=describe(self._current) if self._current is not None else "none")
            return False
        if self._trouble:
            self._trouble = ""
            _log.info("authority_kept_again", in_force=describe(self._current))
        return True

    async def _publish(self, authority: Authority) -> dt.datetime:
        """Brings the bundle to where the nodes find it, and returns when it came there."""
        found = await self._api.get(CONFIG_MAPS, self._namespace, BUNDLE)
        data = found.get("data") if found is not None else None
        published = data if isinstance(data, dict) else {}
        lists = self._source.lists(str(published.get(LISTS_FILE, "")).encode(), self._clock())
        wanted = {BUNDLE_FILE: authority.bundle.decode(), LISTS_FILE: lists.decode()}
        if found is None or any(published.get(key) != value for key, value in wanted.items()):
            # Of the version that was read: a replica that was held up may lead no longer, and know less than the one that does.
            version = _metadata(found).get("resourceVersion") if found is not None else None
            known = {"metadata": {"resourceVersion": version}} if version is not None else {}
            found = await self._api.apply(CONFIG_MAPS, self._namespace, BUNDLE, {**known, "data": wanted}, manager=MANAGER)
            _log.info("bundle_written", config_map=f"{self._namespace}/{BUNDLE}", authority=describe(authority))
        return _applied_at(found, self._clock())

    def _remind(self) -> None:
        now, ends = self._clock(), self.current.issuer.ends
        if ends - now < ENDS_SOON and now - self._reminded >= REMIND_EVERY:
            self._reminded = now
            _log.warning("authority_ends_soon", ends=ends.isoformat(), authority=describe(self.current))


def _applied_at(config_map: Mapping[str, Any], now: dt.datetime) -> dt.datetime:
    """Returns when we last changed it, whichever replica did; now, where nobody says. Source: Kubernetes, "Server-Side Apply", managers."""
    found = _metadata(config_map).get("managedFields")
    managers = found if isinstance(found, list) else ()
    times = [str(one.get("time")) for one in managers if isinstance(one, dict) and one.get("manager") == MANAGER]
    try:
        # Kubernetes writes times in UTC; one without a zone cannot be compared.
        return max(time for time in map(dt.datetime.fromisoformat, times) if time.tzinfo is not None)
    except (ValueError, TypeError):
        return now


def _metadata(data: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = data.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
