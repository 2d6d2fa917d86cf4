"""Children that do not outlive their parent, whatever kills that."""

from pathlib import Path

# In front of a command: the kernel kills the program when the process that started it ends. Kept across exec, not inherited by children.
LIFELINE = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")


def in_netns(path: Path) -> tuple[str, ...]:
    """In front of a command: it runs in the network namespace."""
    return "/usr/bin/nsenter", f"--net={path}", "--"
