"""What the Secret with the self-made authority holds, and what follows from it: the files that STATE_DIR has elsewhere, as keys. No I/O.

Several replicas change it by compare-and-swap: each makes all of what follows out of all of what it read, and of those that read the same
one alone can write. So it never holds a half: no state without its roots, no root without its key.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.authority import Issuer, issuer_of
from controlplane.root_store import certificate_name, key_name, new_certificate, new_key, read_certificate, read_key
from controlplane.rotation import Pace, Rotation, Seen, Stage, advance, begin
from controlplane.rotation_store import decode, encode
from controlplane.self_made import REQUEST_FILE, REVOKED_FILE
from mesh.errors import ConfigError

Contents = Mapping[str, bytes]
_STATE = re.compile(r"rotation-([1-9][0-9]{0,8})\.json")
_ROOT = re.compile(r"root-(key|cert)(-[0-9]+)?\.pem")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the Secret says.

    Args:
        roots: those that are trusted, by generation.
        requested: somebody asks for a rotation.
        revoked: serials, as they were written.
    """

    state: Rotation
    roots: Mapping[int, Issuer]
    requested: bool
    revoked: bytes

    @property
    def issuer(self) -> Issuer:
        return self.roots[self.state.signing]

    @property
    def trusted(self) -> tuple[Issuer, ...]:
        return tuple(self.roots[one] for one in self.state.trusted)


def decode_secret(secret: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """Returns the contents of a Secret. Raises ConfigError: it is none."""
    data = secret.get("data") or {}
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
    except (AttributeError, TypeError, ValueError, binascii.Error):
        raise ConfigError(name, "unreadable", "a Secret whose data is base64") from None


def encode_secret(contents: Contents) -> dict[str, Any]:
    return {"type": "Opaque", "data": {key: base64.b64encode(value).decode() for key, value in contents.items()}}


def is_empty(contents: Contents) -> bool:
    """Whether there is no authority, nor anything left of one."""
    return not any(_STATE.fullmatch(key) or _ROOT.fullmatch(key) for key in contents)


def begun(contents: Contents, pace: Pace, now: dt.datetime) -> dict[str, bytes]:
    """Returns contents with the first root, where there is no authority."""
    state = begin(pace, now)
    return {**contents, **_new_root(state.signing, now), _state_key(state): encode(state)}


def read_kept(contents: Contents, name: str, known: Mapping[int, Issuer]) -> Kept:
    """Reads an authority.

    Args:
        name: of the Secret, for the errors.
        known: the roots that were read before; a key that is the same is not read again.
    Raises:
        ConfigError: it cannot be used; the text quotes nothing of a key.
    """
    numbers = [int(match[1]) for key in contents if (match := _STATE.fullmatch(key))]
    if not numbers:
        raise ConfigError(name, "no rotation-*.json", "the state of the rotation that made its roots")
    key = f"rotation-{max(numbers)}.json"
    state = decode(max(numbers), contents[key], f"{name}/{key}")
    roots = {one: _read_root(contents, one, name, known.get(one)) for one in state.trusted}
    return Kept(state, roots, REQUEST_FILE in contents, contents.get(REVOKED_FILE, b""))


def step(contents: Contents, kept: Kept, pace: Pace, published: dt.datetime, now: dt.datetime) -> dict[str, bytes] | None:
    """Returns the contents that follow, None while there is nothing to do.

    Args:
        published: when the bundle that is in force was put where the nodes find it.
    """
    certificate = kept.issuer.certificate
    seen = Seen(certificate.not_valid_before_utc, certificate.not_valid_after_utc, kept.requested, published)
    after = advance(kept.state, pace, seen, now)
    heard = kept.requested and (after or kept.state).stage is not Stage.STEADY
    if after is None and not heard:
        return None
    following = {key: value for key, value in contents.items() if not (heard and key == REQUEST_FILE)}
    if after is not None:
        following = {key: value for key, value in following.items() if not _STATE.fullmatch(key) and not _forgotten(key, after)}
        following[_state_key(after)] = encode(after)
        for generation in after.trusted:
            if generation > max(kept.state.trusted):
                following |= _new_root(generation, now)
    return following


def _read_root(contents: Contents, generation: int, name: str, known: Issuer | None) -> Issuer:
    key_at, certificate_at = key_name(generation), certificate_name(generation)
    for one in (key_at, certificate_at):
        if one not in contents:
            raise ConfigError(f"{name}/{one}", None, "what belongs to a root that the nodes trust")
    key = read_key(contents[key_at], f"{name}/{key_at}")
    certificate = read_certificate(contents[certificate_at], key, f"{name}/{certificate_at}", key_at)
    return known if known is not None and known.certificate == certificate else issuer_of(key, certificate)


def _new_root(generation: int, now: dt.datetime) -> dict[str, bytes]:
    key = new_key()
    certificate = new_certificate(read_key(key, key_name(generation)), generation, now)
    return {key_name(generation): key, certificate_name(generation): certificate}


def _forgotten(key: str, state: Rotation) -> bool:
    """Whether it belongs to a root that nobody trusts any longer."""
    match = _ROOT.fullmatch(key)
    return match is not None and int((match[2] or "-1")[1:]) < min(state.trusted)


def _state_key(state: Rotation) -> str:
    return f"rotation-{state.number}.json"
