"""Starts the programs of the mesh in their order, and keeps their tokens fresh."""

import asyncio
import datetime
import os

from lab import mesh_programs
from lab.bpffs import mount_bpffs
from lab.control import Say
from lab.errors import LabError
from lab.journal import Journal
from lab.layout import Layout
from lab.options import Options
from lab.probing import is_ready
from lab.supervisor import Program, keep_running
from lab.tokens import LIFETIME, make_token_key, mint_token, write_private

# What is waited for takes about a second.
_POLL_S = 0.1


class MeshRunner:
    """The mesh of one lab; `programs` are those started so far, whether somebody stopped them since or not."""

    def __init__(self, layout: Layout, options: Options, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        self._layout = layout
        self._options = options
        self._journal = journal
        self._tasks = tasks
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root", "LANG": "C.UTF-8", **options.settings}
        self.programs: list[Program] = []
        self._running: dict[str, asyncio.Task[None]] = {}

    async def start(self, nodes: tuple[str, ...], say: Say) -> None:
        """Returns when the control plane is ready and all others are started.

        Raises:
            OSError: this kernel has no bpffs, and capture needs it.
        """
        say("control plane")
        make_token_key(self._layout.token_key, self._layout.token_public_key)
        controlplane = mesh_programs.controlplane(self._layout, self._environment)
        self._supervise(controlplane)
        # It writes the root certificate that the nodes' proxies read.
        while not await asyncio.to_thread(is_ready, controlplane.netns, controlplane.readiness_port):
            await asyncio.sleep(_POLL_S)
        say(f"agents and ztunnels, capture by {self._options.capture}")
        self._journal.mount(self._layout.bpffs)
        mount_bpffs(self._layout.bpffs)
        self._write_tokens(nodes)
        self._tasks.create_task(self._renew_tokens(nodes))
        for node in nodes:
            self._supervise(mesh_programs.agent(self._layout, node, self._options.capture, self._environment))
            self._supervise(mesh_programs.ztunnel(self._layout, node, self._environment))

    @property
    def stopped(self) -> frozenset[str]:
        """The names of the programs that were stopped."""
        return frozenset(program.name for program in self.programs) - self._running.keys()

    async def stop_program(self, name: str) -> None:
        """Kills a program, which stays away until `start_program`; returns when it has ended.

        Raises:
            LabError: there is none of that name.
        """
        program = self._program(name)
        task = self._running.pop(program.name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def start_program(self, name: str) -> None:
        """Runs a program again that was stopped; nothing happens when it was not.

        Raises:
            LabError: there is none of that name.
        """
        program = self._program(name)
        if program.name not in self._running:
            self._run(program)

    def _program(self, name: str) -> Program:
        program = next((one for one in self.programs if one.name == name), None)
        if program is None:
            known = ", ".join(one.name for one in self.programs)
            raise LabError(f"the mesh has no program {name}; there are: {known or 'none, the lab has no mesh'}")
        return program

    def _supervise(self, program: Program) -> None:
        self.programs.append(program)
        self._run(program)

    def _run(self, program: Program) -> None:
        self._running[program.name] = self._tasks.create_task(keep_running(program), name=program.name)

    def _write_tokens(self, nodes: tuple[str, ...]) -> None:
        key = self._layout.token_key.read_bytes()
        for node in nodes:
            token = mint_token(key, node, datetime.datetime.now(datetime.UTC))
            write_private(self._layout.node(node) / "token", token.encode())

    async def _renew_tokens(self, nodes: tuple[str, ...]) -> None:
        while True:
            await asyncio.sleep(LIFETIME.total_seconds() / 2)
            self._write_tokens(nodes)
