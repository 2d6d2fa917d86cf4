"""What people ask of the mesh's certificate authority: another root, and certificates that are no longer to be believed.

The control plane takes both from files of its STATE_DIR. Source: docs/runtime.md, "ambient-controlplane".
"""

import re
from pathlib import Path

from lab.errors import LabError

_ROTATION_FILE, _REVOKED_FILE = "rotate-root", "revoked"
# Source: RFC 5280, section 4.1.2.2: at most 20 octets.
_SERIAL = re.compile(r"[0-9a-fA-F]{1,40}")


def request_rotation(state_dir: Path) -> None:
    """Asks for a new root; the control plane takes the file away when it has begun."""
    (state_dir / _ROTATION_FILE).touch(mode=0o600)


def revoke(state_dir: Path, serial: str) -> None:
    """Adds a certificate to those that are revoked, for good.

    Raises:
        LabError: it is no serial.
    """
    plain = serial.replace(":", "")
    if not _SERIAL.fullmatch(plain):
        raise LabError(f"{serial}: expected the serial of a certificate, in hexadecimal, or the name of a pod")
    path = state_dir / _REVOKED_FILE
    known = path.read_text() if path.exists() else ""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(f"{known}{plain.lower()}\n")
    fresh.rename(path)
