"""`ambient demo`: shows on this machine what the mesh does, and checks what it says."""

import os
import signal
import sys
import time

import click
from rich.console import Console
from rich.markup import escape

from cli.lab import SAMPLE
from lab import api
from lab.demo import Narrator, run_demo, tail_of_failure
from lab.layout import NAME_VARIABLE, Layout, layout_of
from lab.options import CAPTURE_MODES, Options

# Beside a lab that the user has up, unless the environment names one.
_DEFAULT_NAME = "demo"


@click.command()
@click.option(
    "--capture", type=click.Choice(CAPTURE_MODES), default=Options().capture, show_default=True, help="How connections are captured."
)
def demo(capture: str) -> None:
    """Two nodes, a client, a service over two web pods: what one label changes.

    Exits with an error if any of it is not as it says. Leaves nothing behind.
    """
    layout = layout_of({NAME_VARIABLE: _DEFAULT_NAME, **os.environ})
    # So that it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    if not _tell(layout, Options(capture=capture), console):
        console.print("[red]Not everything was as it should be.[/red]")
        sys.exit(1)
    console.print(f"\n[green]Everything was as it should be[/green], in {time.monotonic() - started:.0f} s. The lab is gone again.")


def _tell(layout: Layout, options: Options, console: Console) -> bool:
    def step(text: str) -> None:
        console.print(f"\n[bold]{escape(text)}[/bold]")

    def show(text: str) -> None:
        console.print(f"  {escape(text)}", style="dim")

    def verdict(text: str, held: bool) -> None:
        console.print(f"  {'[green]✓[/green]' if held else '[red]✗ not so:[/red]'} {escape(text)}")

    step("A lab of two nodes: namespaces of this machine")
    lab = api.up(layout, options, api.read_manifests(SAMPLE), show)
    try:
        good = run_demo(lab, Narrator(step, show, verdict))
        if not good:
            console.print(escape(tail_of_failure(lab)), style="dim")
        return good
    finally:
        api.down(layout)
