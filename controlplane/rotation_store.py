"""The state of the root's rotation on disk: a file for each state, of which the highest number is in force.

A state is made by creating its file, which one replica alone can do (see controlplane.files.write_new); the others find it there.
"""

import datetime as dt
import json
import re
from pathlib import Path

from controlplane.files import PUBLIC_MODE, read_bounded, write_new
from controlplane.rotation import Rotation
from mesh.errors import ConfigError

_NAME = re.compile(r"rotation-([1-9][0-9]{0,8})\.json")
# One has some 150 bytes.
_MAX_LENGTH = 4096
# A state that vanishes between listing and reading was replaced; that happens a few times in years.
_TRIES = 5


def encode(state: Rotation) -> bytes:
    fields = {
        "signing": state.signing,
        "trusted": list(state.trusted),
        "since": state.since.isoformat(),
        "longest_s": int(state.longest.total_seconds()),
    }
    return json.dumps(fields).encode() + b"\n"


def decode(number: int, content: bytes, key: str) -> Rotation:
    """Reads a state.

    Args:
        key: the file's name, for the error.
    Raises:
        ConfigError: it is not what `encode` writes.
    """
    try:
        fields = json.loads(content)
        signing, trusted = fields["signing"], tuple(fields["trusted"])
        since, longest_s = dt.datetime.fromisoformat(fields["since"]), fields["longest_s"]
        numbers = (signing, longest_s, *trusted)
        sound = all(type(one) is int and one > 0 for one in numbers) and since.tzinfo is not None
        longest = dt.timedelta(seconds=longest_s)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ConfigError(key, content[:64], "the state of a rotation, as the control plane writes it") from None
    if not sound or trusted not in {(signing,), (signing, signing + 1), (signing - 1, signing)}:
        raise ConfigError(key, content[:64], "one or two generations of roots, of which one signs, and since when")
    return Rotation(number, signing, trusted, since, longest)


def newest(state_dir: Path) -> Rotation | None:
    """Returns the state in force, None when there is none yet.

    Raises:
        ConfigError: it cannot be read as one.
        OSError: the directory cannot be read.
    """
    for _ in range(_TRIES):
        numbers = _numbers(state_dir)
        if not numbers:
            return None
        path = _path(state_dir, max(numbers))
        try:
            return decode(max(numbers), read_bounded(path, _MAX_LENGTH), str(path))
        except FileNotFoundError:
            continue
    raise ConfigError(str(state_dir), "rotation states that come and go", "a file system that holds what was written")


def put(state_dir: Path, state: Rotation) -> bool:
    """Makes a state the one in force; False when another replica was faster. What went before is removed."""
    if not write_new(_path(state_dir, state.number), encode(state), PUBLIC_MODE):
        return False
    for number in _numbers(state_dir):
        if number < state.number:
            _path(state_dir, number).unlink(missing_ok=True)
    return True


def _path(state_dir: Path, number: int) -> Path:
    return state_dir / f"rotation-{number}.json"


def _numbers(state_dir: Path) -> list[int]:
    return [int(match[1]) for path in state_dir.iterdir() if (match := _NAME.fullmatch(path.name))]
