"""Whether the image can run what it is for: everything loads, inside of it and without what the builder has."""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from daemonset.image.archive import Layer

# As the processes find them, with all that these import and load.
_PYTHON = (
    "import ctypes, cli.check, cli.free_nodes, cli.install, controlplane.main, daemonset.main, runtime.kubernetes, ztunnel.process;"
    'ctypes.CDLL("libbpf.so.1")'
)
_COMMANDS = (
    ("/usr/bin/python3", "-c", _PYTHON),
    *((f"/usr/sbin/{name}", "--version") for name in ("nft", "iptables-nft-save", "ip6tables-nft-restore", "iptables-legacy-save")),
    ("/usr/local/bin/ambient", "--help"),
)


def try_image(layers: Iterable[Layer]) -> None:
    """Runs each program once inside the image.

    Raises:
        SystemExit: one does not run; it has said why.
    """
    with tempfile.TemporaryDirectory(prefix="ambient-trial-") as root:
        for layer in layers:
            subprocess.run(["tar", "--extract", "--gzip", "--directory", root], input=layer.content, check=True)
        # A process's namespaces are read from /proc, which no image brings.
        inside = ("unshare", "--mount", "--pid", "--fork", f"--root={root}", "--mount-proc")
        for command in _COMMANDS:
            if subprocess.run([*inside, *command], check=False, stdout=subprocess.DEVNULL).returncode:
                raise SystemExit(f"the image cannot run {Path(command[0]).name}")
