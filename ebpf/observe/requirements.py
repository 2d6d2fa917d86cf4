"""What observation needs of the machine, found all at once, or everything that is missing."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ebpf.observe import btf, kernel
from ebpf.observe.headers import Headers, find_headers
from mesh.errors import MeshError

# Debian builds bcc for its own Python, which no virtual environment sees.
SYSTEM_PYTHON = "/usr/bin/python3"
_BTF_FILE = "sys/kernel/btf/vmlinux"


class ObservationUnavailable(MeshError):
    """This machine, or this user, cannot observe; `problems` has a line for each thing that is missing, with what to do."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Preparation:
    """Everything that the observation process and the readers of its events must know of this machine.

    Args:
        macros: compiler arguments for program.c.
        drop_reasons, reset_reasons: the kernel's names.
    """

    headers: Headers
    macros: tuple[str, ...]
    drop_reasons: Mapping[int, str]
    reset_reasons: Mapping[int, str]


def prepare(root: Path = Path("/"), python: str = SYSTEM_PYTHON) -> Preparation:
    """Looks at the machine.

    Args:
        root: of the file system.
        python: the interpreter that has bcc.
    Raises:
        ObservationUnavailable: with all problems at once.
    """
    release = os.uname().release
    problems = []
    if os.geteuid() != 0:
        problems.append("loading a program into the kernel needs root: run this as root")
    if not _has_bcc(python):
        problems.append(f"bcc is missing for {python}: apt-get install python3-bpfcc")
    headers = find_headers(root, release)
    if headers is None:
        problems.append(f"kernel headers are missing (any version serves): apt-get install linux-headers-{_flavour(release)}")
    try:
        types = btf.parse((root / _BTF_FILE).read_bytes())
        macros = kernel.macros(types)
    except (OSError, btf.BtfError) as error:
        problems.append(f"this kernel cannot be observed ({error}): it takes Linux 5.17 or newer, built with CONFIG_DEBUG_INFO_BTF")
        raise ObservationUnavailable(tuple(problems)) from None
    if problems or headers is None:
        raise ObservationUnavailable(tuple(problems))
    return Preparation(headers, macros, kernel.drop_reasons(types), kernel.reset_reasons(types))


def _has_bcc(python: str) -> bool:
    try:
        return subprocess.run([python, "-I", "-c", "import bcc"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _flavour(release: str) -> str:
    """The Debian package: of the running kernel where it is one of Debian's, else the smallest."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return release if release.endswith(f"-{machine}") else f"cloud-{machine}"
