"""The command: its options, its errors, its loop."""

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mesh.errors import ConfigError, ConfigErrors

if TYPE_CHECKING:
    from cli.trace.display import Display
    from cli.trace.pods import RunningPod

# Four times a second: as often as round-trip times are told, and as people can read.
_REFRESH_S = 0.25


@click.command()
@click.argument("pod", required=False)
@click.option("--all", "every", is_flag=True, help="The pods of all nodes; the same as naming none.")
@click.option("--lines", is_flag=True, help="A line for each event instead of a live table; the default where output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each event.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after so long; else Ctrl-C stops.")
def trace(pod: str | None, every: bool, lines: bool, as_json: bool, duration: float | None) -> None:
    """Show the TCP connections of POD ("namespace/name" or "name") as the kernel sees them.

    State changes, round-trip time, retransmits, resets, drop reasons, and whether each connection was captured: "yes", "NO" (it went
    around ztunnel), "ztunnel" (one of ztunnel's own), "exempt" (inside the pod, or a probe of its node), "-" (not established).
    """
    if pod and every:
        raise click.UsageError("name a POD, or ask for --all")
    from ebpf.observe.requirements import ObservationUnavailable

    try:
        _trace(pod, lines or not sys.stdout.isatty(), as_json, duration)
    except ObservationUnavailable as error:
        _fail(error.problems)
    except (ConfigError, ConfigErrors) as error:
        _fail(tuple(str(error).splitlines()))
    except KeyboardInterrupt:
        pass  # how people end it


def _fail(problems: tuple[str, ...]) -> None:
    for problem in problems:
        click.echo(f"ambient trace: {problem}", err=True)
    raise click.exceptions.Exit(1)


def _trace(wanted: str | None, lines: bool, as_json: bool, duration_s: float | None) -> None:
    from cli.trace.session import Session
    from cli.trace.words import Words
    from ebpf.observe.observer import Observer
    from ebpf.observe.requirements import prepare

    machine = prepare()
    find = _finder(wanted)
    wall_clock_ns = time.time_ns() - time.monotonic_ns()
    with Observer(machine) as observer, _display(lines, as_json) as display:
        session = Session(observer, find)
        end_s = time.monotonic() + (duration_s or float("inf"))
        while time.monotonic() < end_s:
            batch = session.next(_REFRESH_S)
            display.show(batch, Words(batch.watched.pods, machine.drop_reasons, machine.reset_reasons, wall_clock_ns))


def _finder(wanted: str | None) -> Callable[[], "tuple[list[RunningPod], frozenset[int]]"]:
    """Finds the pods to trace, now and whenever it is asked again, so that a pod that comes back is traced again; and the namespaces
    that their packets pass through.

    Raises:
        ConfigError: the pod that is wanted does not run now, or there is no lab.
    """
    from cli.trace.pods import choose, node_namespaces, running_pods
    from lab.layout import layout_of

    layout = layout_of(os.environ)
    names = {pod.name for pod in choose(running_pods(layout), wanted)} if wanted else None

    def find() -> "tuple[list[RunningPod], frozenset[int]]":
        pods = running_pods(layout)
        passed = node_namespaces(layout) | {pod.inode for pod in pods}
        return [pod for pod in pods if names is None or pod.name in names], passed

    return find


def _display(lines: bool, as_json: bool) -> "Display":
    from rich.console import Console

    from cli.trace.display import LineDisplay, TableDisplay

    return LineDisplay(as_json) if lines or as_json else TableDisplay(Console())
