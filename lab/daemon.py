"""The process behind a lab: `python -m lab.daemon NAME`, in a fresh directory, obeys the lab's socket until it is killed."""

import asyncio
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from lab.authority import request_rotation, revoke
from lab.control import Say, serve
from lab.edits import Edit, apply_files, change_labels, delete_files, delete_object
from lab.errors import LabError
from lab.journal import Journal
from lab.layout import Layout
from lab.log_files import keep_small
from lab.options import Options
from lab.processes import process_id
from lab.running_lab import RunningLab


class Daemon:
    """Answers the requests of the control socket."""

    def __init__(self, layout: Layout, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        self._layout = layout
        self._journal = journal
        self._tasks = tasks
        self._lab: RunningLab | None = None

    async def answer(self, question: Mapping[str, Any], say: Say) -> object:
        """Raises MeshError: what was asked for cannot be."""
        try:
            return await self._answer(question, say)
        except (NetlinkError, OSError) as error:
            traceback.print_exc()
            raise LabError(f"the machine refuses: {error}") from error

    async def _answer(self, question: Mapping[str, Any], say: Say) -> object:
        if question.get("op") == "start":
            if self._lab is not None:
                raise LabError("the lab has been started already")
            self._lab = RunningLab(self._layout, Options(**question["options"]), self._journal, self._tasks)
            await self._lab.start(question["files"], question["time_limit_s"], say)
            return None
        if self._lab is None:
            raise LabError("the lab has not been started yet")
        return await _answer(self._lab, question, say)


async def _answer(lab: RunningLab, question: Mapping[str, Any], say: Say) -> object:
    edit = _edit(question)
    if edit is not None:
        await lab.edit(edit)
        return None
    match question:
        case {"op": "wait", "time_limit_s": int(limit) | float(limit)}:
            await lab.wait(limit, say)
        case {"op": "status"}:
            return await lab.describe()
        case {"op": "pod", "namespace": str(namespace), "name": str(name)}:
            return lab.pod(namespace, name)
        case {"op": "serial", "namespace": str(namespace), "name": str(name)}:
            return await lab.serial_of(namespace, name)
        case _:
            await _operate(lab, question)
    return None


def _edit(question: Mapping[str, Any]) -> Edit | None:
    """What the question asks to be changed in the cluster."""
    match question:
        case {"op": "apply", "files": dict(files), "prune": bool(prune)}:
            return apply_files(files, prune=prune)
        case {"op": "delete", "files": dict(files)}:
            return delete_files(files)
        case {"op": "delete object", "kind": str(kind), "name": str(name)}:
            return delete_object(kind, name)
        case {"op": "label", "kind": str(kind), "name": str(name), "changes": dict(changes)}:
            return change_labels(kind, name, changes)
    return None


async def _operate(lab: RunningLab, question: Mapping[str, Any]) -> None:
    """Does something to the programs of the mesh."""
    match question:
        case {"op": "stop program", "name": str(name)}:
            await lab.mesh.stop_program(name)
        case {"op": "start program", "name": str(name)}:
            lab.mesh.start_program(name)
        case {"op": "rotate root"}:
            request_rotation(lab.layout.controlplane)
        case {"op": "revoke", "serial": str(serial)}:
            revoke(lab.layout.controlplane, serial)
        case _:
            raise LabError("the lab does not know this request; was it started by an older version?")


async def run(layout: Layout) -> None:
    """Runs until killed: `down` undoes what the journal says, which is the same after a crash."""
    journal = Journal(layout.state)
    own = process_id(os.getpid())
    assert own is not None
    journal.daemon(own)
    for directory in (layout.manifests, layout.root / "hosts"):
        directory.mkdir()
    layout.controlplane.mkdir(mode=0o700)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_small(layout.logs))
        daemon = Daemon(layout, journal, tasks)
        async with await serve(layout.control_socket, daemon.answer) as server:
            await server.serve_forever()


def main() -> None:
    asyncio.run(run(Layout(sys.argv[1])))


if __name__ == "__main__":
    main()
