"""What the lab's commands report."""

from pathlib import Path

from mesh.errors import MeshError

# Enough for a traceback, short enough to leave the reason on the screen.
_TAIL_LINES = 20
_TAIL_BYTES = 16384


class LabError(MeshError):
    """The lab cannot do what was asked; the message says why and what to do.

    Args:
        log: where the reason is likely to stand; its tail is part of the message.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message + (_tail(log) if log else ""))


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except FileNotFoundError:
        return f"\n{log} was never written"
    return "\n".join(("", f"the last lines of {log}:", *(f"  {line}" for line in lines))) if lines else f"\n{log} is empty"
