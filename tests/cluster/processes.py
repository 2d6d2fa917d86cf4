"""Starts the programs of a cluster so that they outlive the command that starts them, and waits until they answer."""

import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from tests.cluster.journal import note_process
from tests.cluster.layout import Layout

# Everything starts within seconds on an idle machine; on a busy one it may take ten times as long.
PATIENCE_S = 120.0
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 5
_LAST_WORDS = 2000


class NotReady(Exception):
    """Something did not come up in time."""


def start(layout: Layout, name: str, command: Sequence[str]) -> int:
    """Starts a program in a session of its own; what it says goes to logs/NAME.log. Returns its process id."""
    with (layout.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    note_process(layout, name, process.pid)
    return process.pid


def until(holds: Callable[[], object], words: str, layout: Layout, log: str = "", patience_s: float = PATIENCE_S) -> None:
    """Asks again until it is so.

    Args:
        log: of whose log the end is shown when it is not so in time.
    Raises:
        NotReady: it is not.
    """
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise NotReady(f"not so after {patience_s:g} s: {words}\n{last_words(layout, log) if log else ''}")
        time.sleep(_POLL_S)


def last_words(layout: Layout, log: str) -> str:
    path = layout.logs / f"{log}.log"
    return path.read_text(errors="replace")[-_LAST_WORDS:] if path.exists() else ""


def answers(url: str, ca_file: str | None = None) -> bool:
    """Whether GET is answered by 200."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_TIMEOUT_S, context=context) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
