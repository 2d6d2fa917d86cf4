"""The console script, as a process."""

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", code), env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False
    )


def test_wrong_settings_are_told_at_once_and_nothing_starts() -> None:
    ended = run("import sys; from ztunnel.main import main; sys.exit(main())")
    assert ended.returncode == 78
    assert "NODE_NAME: None: expected a name" in ended.stderr
    assert "AUTH_TOKEN" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_importing_it_leaves_openssl_to_be_configured() -> None:
    assert run("import sys, ztunnel.main; sys.exit('ssl' in sys.modules)").returncode == 0


def test_what_ztunnel_does_without() -> None:
    """Each of these costs megabytes on every node."""
    heavy = ["grpc", "pydantic", "yaml", "rich", "pyroute2", "watchfiles", "jwt", "click"]
    ended = run(
        f"import sys; sys.modules['rich'] = None; import ztunnel.process;print([name for name in {heavy!r} if sys.modules.get(name)])"
    )
    assert ended.stdout.strip() == "[]", ended.stderr
