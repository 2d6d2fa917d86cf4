"""The authority that the control plane makes itself, in STATE_DIR: read, rotated step by step, with what it has revoked.

Several replicas may share the directory; whatever one of them decides is a file that is made once (see controlplane.files).
"""

import datetime as dt
import re
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.authority import Authority, Issuer, make_authority
from controlplane.files import read_bounded, sweep
from controlplane.revoked import MAX_REVOKED_LENGTH, Revoked
from controlplane.root_store import create_root, forget_root, load_root
from controlplane.rotation import Pace, Rotation, Seen, Stage, advance, begin
from controlplane.rotation_store import newest, put
from mesh.errors import ConfigError

# Its presence asks for a rotation; the control plane removes it when the rotation has begun.
REQUEST_FILE = "rotate-root"
# Serials to be revoked; see controlplane.revocation.read_serials.
REVOKED_FILE = "revoked"
_LATER_ROOT = re.compile(r"root-(key|cert)-[0-9]+\.pem")
_OURS = re.compile(r"root-(key|cert)(-[0-9]+)?\.pem|rotation-[0-9]+\.json")

_log = structlog.get_logger()


class SelfMadeAuthority:
    """Reads the authority in force, and moves its rotation on when that is due."""

    def __init__(self, state_dir: Path, pace: Pace) -> None:
        self._directory = state_dir
        self._pace = pace
        self._roots: dict[int, Issuer] = {}
        self._revoked = Revoked()

    def read(self, published_lists: bytes, now: dt.datetime) -> Authority:
        """Returns the authority in force.

        Args:
            published_lists: the revocation lists that the nodes have; they stay while they are right.
        Raises:
            ConfigError, OSError: a file cannot be used.
        """
        state = self._state(now)
        self._roots = {one: self._roots.get(one) or load_root(self._directory, one) for one in state.trusted}
        issuer = self._roots[state.signing]
        if issuer.ends <= now:
            path = str(self._directory)
            raise ConfigError(
                path, f"a root that ended at {issuer.ends.isoformat()}", "a root that is still valid; remove it to begin with a new one"
            )
        trusted = tuple(self._roots[one] for one in state.trusted)
        bundle = b"".join(root.certificate.public_bytes(Encoding.PEM) for root in trusted)
        return make_authority(issuer, bundle, self._lists(published_lists, trusted, now))

    def step(self, published: dt.datetime, now: dt.datetime) -> None:
        """Moves the rotation on by one stage if that is due; to be called when what was read last is published.

        Args:
            published: when the bundle that is in force was put where the nodes find it.
        Raises:
            ConfigError, OSError: a file cannot be used.
        """
        state = self._state(now)
        request = self._directory / REQUEST_FILE
        requested = request.exists()
        certificate = load_root(self._directory, state.signing).certificate
        seen = Seen(certificate.not_valid_before_utc, certificate.not_valid_after_utc, requested, published)
        after = advance(state, self._pace, seen, now)
        if after is not None:
            for generation in after.trusted:
                if generation > max(state.trusted):
                    create_root(self._directory, generation, now)
            if put(self._directory, after):
                _log.info("root_rotation", stage=after.stage.value, signing=after.signing, trusted=list(after.trusted), number=after.number)
        in_force = self._state(now)
        if requested and in_force.stage is not Stage.STEADY:
            request.unlink(missing_ok=True)
        for generation in range(1, min(in_force.trusted)):
            forget_root(self._directory, generation)

    def _state(self, now: dt.datetime) -> Rotation:
        """Returns the state in force; makes the first one where there is none and never was."""
        if not self._roots:
            self._directory.mkdir(parents=True, exist_ok=True)
            sweep(self._directory, _OURS)
        state = newest(self._directory)
        if state is not None:
            return state
        if self._roots:
            # A volume that is gone for a while, say: a new root would cut off every node.
            raise ConfigError(str(self._directory), "no rotation-*.json any more", "what it held; start anew to begin with a new root")
        later = sorted(path.name for path in self._directory.iterdir() if _LATER_ROOT.fullmatch(path.name))
        if later:
            raise ConfigError(str(self._directory), f"{later[0]} without rotation-*.json", "the state of the rotation that made it")
        create_root(self._directory, 1, now)
        put(self._directory, begin(self._pace, now))
        state = newest(self._directory)
        assert state is not None, "somebody made it, and the highest number is never removed"
        return state

    def _lists(self, published: bytes, trusted: tuple[Issuer, ...], now: dt.datetime) -> bytes:
        path = self._directory / REVOKED_FILE
        try:
            content = read_bounded(path, MAX_REVOKED_LENGTH)
        except FileNotFoundError:
            content = b""
        return self._revoked.lists(content, str(path), published, trusted, now)
