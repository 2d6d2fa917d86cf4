"""Keeps a program of the mesh running in its network namespace, as kubelet would."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.backoff import MESH_PROCESS
from lab.lifeline import LIFELINE, in_netns
from lab.netns import netns_path


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the mesh.

    Args:
        netns: name of the network namespace that it runs in.
        env: its whole environment.
        pid_file: holds its process id while it runs.
        readiness_port: `GET /healthz/ready` answers 200 there when it is ready.
    """

    name: str
    netns: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    pid_file: Path
    readiness_port: int


async def keep_running(program: Program) -> None:
    """Starts the program, and again whenever it ends; on cancellation kills it, and ends when it has.

    Raises:
        OSError: it cannot be started at all.
    """
    backoff = MESH_PROCESS
    log = os.open(program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            started = time.monotonic()
            status = await _run_once(program, log)
            backoff = backoff.after(time.monotonic() - started)
            os.write(log, f"[lab] {program.name} ended with status {status}; next start in {backoff.delay_s:g} s\n".encode())
            await asyncio.sleep(backoff.delay_s)
    finally:
        os.close(log)


async def _run_once(program: Program, log: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *LIFELINE, *in_netns(netns_path(program.netns)), *program.argv, env=dict(program.env), cwd="/",
        stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    program.pid_file.write_text(f"{process.pid}\n")
    try:
        return await process.wait()
    finally:
        program.pid_file.unlink(missing_ok=True)
        if process.returncode is None:
            process.kill()
            await process.wait()


def script(name: str) -> tuple[str, ...]:
    """How to start one of our console scripts: the one beside this interpreter."""
    return sys.executable, str(Path(sys.executable).parent / name)
