"""What is done to the mesh of a lab that is up: its programs stopped and started, its root replaced, certificates revoked."""

import click

from lab import api
from lab.errors import LabError
from lab.layout import Layout

_PROGRAM = click.argument("program", type=click.Choice(("controlplane", "ztunnel", "agent")))
_NODE = click.option("--node", help="Of ztunnel or agent: on this node alone.")


@click.command()
@_PROGRAM
@_NODE
@click.pass_obj
def stop(layout: Layout, program: str, node: str | None) -> None:
    """Kill a program of the mesh; it stays away until `start`."""
    handle = api.Lab(layout)
    for name in program_names(handle.status(), program, node):
        handle.stop_program(name)
        click.echo(f"{name} is stopped")


@click.command()
@_PROGRAM
@_NODE
@click.option("--wait/--no-wait", default=True, help="Whether to wait until all is settled again.")
@click.pass_obj
def start(layout: Layout, program: str, node: str | None, wait: bool) -> None:
    """Run a program again that was stopped."""
    handle = api.Lab(layout)
    for name in program_names(handle.status(), program, node):
        handle.start_program(name)
    if wait:
        handle.wait(say=click.echo)


@click.command(name="rotate-root")
@click.pass_obj
def rotate_root(layout: Layout) -> None:
    """Replace the root of the certificate authority, step by step.

    Both roots are trusted until the last certificate under the old one has ended.
    """
    handle = api.Lab(layout)
    # Nobody would hear it in a lab without the mesh.
    program_names(handle.status(), "controlplane", None)
    handle.rotate_root()
    click.echo("a new root is asked for; `ambient lab logs controlplane -f` tells each step")


@click.command(short_help="Revoke the certificate of a pod, or one by its serial.")
@click.option("-n", "--namespace", default="default", show_default=True, help="The namespace of the pod.")
@click.argument("what", metavar="POD|SERIAL")
@click.pass_obj
def revoke(layout: Layout, namespace: str, what: str) -> None:
    """Revoke a certificate, by its serial or that of a pod; its live connections end, and new ones are refused.

    A pod's certificate is that of its service account on its node: other pods there share it.
    """
    handle = api.Lab(layout)
    pods = {f"{one['namespace']}/{one['name']}" for one in handle.status()["pods"]}
    pod = what if "/" in what else f"{namespace}/{what}"
    serial = handle.serial_of(pod) if pod in pods else what
    handle.revoke(serial)
    click.echo(f"certificate {serial} is revoked")


def program_names(status: dict[str, object], program: str, node: str | None) -> list[str]:
    """The programs that are meant, by the names that the lab has for them.

    Raises:
        LabError: there are none.
    """
    programs = status["programs"]
    assert isinstance(programs, dict)
    wanted = f"{program} of {node}" if node else program
    names = [name for name in programs if name == wanted or (not node and name.partition(" of ")[0] == program)]
    if not names:
        raise LabError(f"the mesh has no program {wanted}; there are: {', '.join(programs) or 'none, the lab has no mesh'}")
    return names
