"""The process: it starts, says so, stops when it is told to, and resumes with the root that it had."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.unit.controlplane.world import World, namespace, pod


def start(settings: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from controlplane.main import main; sys.exit(main())"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **settings}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_until_published(world: World, number: signal.Signals) -> list[str]:
    """Returns the events of one life of the process, in their order."""
    with start({**world.settings(), "LOG_FORMAT": "json"}) as process:
        try:
            assert process.stdout is not None
            events = []
            for line in process.stdout:
                events.append(json.loads(line)["event"])
                if events[-1] == "published":
                    process.send_signal(number)
            assert process.wait(10) == 0
        finally:
            process.kill()
    return events


def test_two_lives(world: World) -> None:
    world.write(namespace("shop"), pod("a", "10.0.0.1"))
    written = ["bundle_written", "bundle_written"]
    events = ["listening", "manifests_read", "published", "stopping", "stopped"]
    assert run_until_published(world, signal.SIGTERM) == [*written, *events]
    root = (world.state / "root-cert.pem").read_bytes()
    assert run_until_published(world, signal.SIGINT) == events
    assert (world.state / "root-cert.pem").read_bytes() == root


def test_wrong_settings_are_all_named(world: World) -> None:
    with start({**world.settings(), "LISTEN_ADDR": "x", "LOG_FORMAT": "y"}) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 78
    assert [line.split(":")[0] for line in errors.splitlines()[1:]] == ["LISTEN_ADDR", "LOG_FORMAT"]


@pytest.mark.parametrize(
    ("setting", "value"), [("MANIFESTS_DIR", "/nonexistent"), ("TOKEN_KEY", "/dev/null"), ("LISTEN_ADDR", "192.0.2.1:1")]
)
def test_what_cannot_be_used_is_named(world: World, setting: str, value: str) -> None:
    with start({**world.settings(), setting: value}) as process:
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 78
    assert "cannot_run" in output
    assert setting in output.splitlines()[-1]
