"""The process of a pod: makes its namespaces, runs its containers and restarts them.

Reads a PodRun (JSON) from standard input, and tells on standard output how the pod is, a JSON object a line, whenever that changes:
{"phase": "Running", "ready": true, "restarts": {"web": 0}}. On SIGTERM it ends the containers, and then itself. Containers die with it.
"""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.backoff import CONTAINER
from lab.containers import ContainerRun, PodRun
from lab.lifeline import LIFELINE
from lab.listening import listening_ports
from lab.sandbox import enter_sandbox

# How soon a container's port is seen to be open; kubelet's own loop runs once a second.
_PORT_POLL_S = 0.1
# As a shell says of what it cannot find.
_CANNOT_START = 127


@dataclass(slots=True)
class _Container:
    """The state of one container."""

    run: ContainerRun
    running: bool = False
    ready: bool = False
    finished: bool = False
    failed: bool = False
    restarts: int = 0


@dataclass(slots=True)
class _Pod:
    """The state of the pod; `said` is what was last told."""

    containers: list[_Container]
    said: dict[str, object] = field(default_factory=dict)

    def tell(self) -> None:
        status = {
            "phase": self._phase(),
            "ready": all(one.ready for one in self.containers),
            "restarts": {one.run.name: one.restarts for one in self.containers},
        }
        if status != self.said:
            self.said = status
            print(json.dumps(status), flush=True)

    def _phase(self) -> str:
        """Source: Kubernetes, "Pod Lifecycle"."""
        if all(one.finished for one in self.containers):
            return "Failed" if any(one.failed for one in self.containers) else "Succeeded"
        return "Running" if all(one.running or one.finished or one.restarts for one in self.containers) else "Pending"


def read_pod_run(text: str) -> PodRun:
    """The other end of `write_pod_run`."""
    fields = json.loads(text)
    containers = tuple(
        ContainerRun(**{**one, "argv": tuple(one["argv"]), "tcp_ports": tuple(one["tcp_ports"])}) for one in fields.pop("containers")
    )
    return PodRun(**fields, containers=containers)


def write_pod_run(run: PodRun) -> str:
    return json.dumps(asdict(run))


async def _keep_running(pod: _Pod, container: _Container, run: PodRun, log: int) -> None:
    backoff = CONTAINER
    while True:
        started = time.monotonic()
        status = await _run_once(pod, container, run, log)
        container.running = container.ready = False
        if run.restart_policy == "Never" or (run.restart_policy == "OnFailure" and status == 0):
            container.finished, container.failed = True, status != 0
            pod.tell()
            return
        backoff = backoff.after(time.monotonic() - started)
        os.write(log, f"[lab] {container.run.name} ended with status {status}; next start in {backoff.delay_s:g} s\n".encode())
        pod.tell()
        await asyncio.sleep(backoff.delay_s)
        container.restarts += 1


async def _run_once(pod: _Pod, container: _Container, run: PodRun, log: int) -> int:
    """Runs the container to its end and returns its exit status, negative for a signal."""
    spec = container.run
    try:
        process = await asyncio.create_subprocess_exec(
            *LIFELINE, *spec.argv, env=dict(spec.env), cwd=spec.directory, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        os.write(log, f"[lab] {spec.name}: cannot start: {error}\n".encode())
        return _CANNOT_START
    container.running = True
    pod.tell()
    watch = asyncio.create_task(_watch_ports(pod, container))
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _end(process, run.grace_s)
        raise
    finally:
        watch.cancel()


async def _watch_ports(pod: _Pod, container: _Container) -> None:
    while not listening_ports() >= set(container.run.tcp_ports):
        await asyncio.sleep(_PORT_POLL_S)
    container.ready = True
    pod.tell()


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ends the container's whole session: politely, then for certain."""
    for number, time_limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        if process.returncode is None:
            try:
                os.killpg(process.pid, number)
                await asyncio.wait_for(process.wait(), time_limit_s)
            except (ProcessLookupError, TimeoutError):
                continue


async def run_pod(run: PodRun) -> None:
    """Runs until SIGTERM; a pod whose containers are all finished stays, with its addresses, as in Kubernetes."""
    log = os.open(run.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    pod = _Pod([_Container(one) for one in run.containers])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(_keep_running(pod, one, run, log)) for one in pod.containers]
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    run = read_pod_run(sys.stdin.readline())
    enter_sandbox(Path(run.netns), Path(run.hosts), run.hostname)
    asyncio.run(run_pod(run))


if __name__ == "__main__":
    main()
