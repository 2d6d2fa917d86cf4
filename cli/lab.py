"""`ambient lab`: brings nodes and pods up, changes them, looks at them, takes them down."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click

from cli.applied import applied_lines, judged, warnings
from cli.manifests import catalogue_of, mesh_settings, read_lab
from cli.operations import revoke, rotate_root, start, stop
from cli.status import print_status
from lab import api
from lab.documents import Key, read_given
from lab.edits import parse_label
from lab.errors import LabError
from lab.layout import Layout, layout_of
from lab.options import CAPTURE_MODES, Options
from lab.preflight import require

Command = TypeVar("Command", bound=Callable[..., object])
SAMPLE = Path(api.__file__).parent / "manifests"
_DEFAULTS = Options()
_NAMESPACE = click.option("-n", "--namespace", default="default", show_default=True, help="The namespace of the object.")


def _files(*, required: bool) -> Callable[[Command], Command]:
    return click.option(
        "-f", "--filename", "paths", required=required, multiple=True, type=click.Path(path_type=Path, exists=True, allow_dash=True),
        help="A file of manifests, a directory of them, or - for standard input.",
    )  # fmt: skip


@click.group()
@click.pass_context
def lab(ctx: click.Context) -> None:
    """Nodes and pods as network namespaces of this machine.

    AMBIENT_LAB names the lab, so that there can be several at a time.
    """
    ctx.obj = layout_of(os.environ)


@lab.command()
@click.option("--nodes", default=_DEFAULTS.nodes, show_default=True, help="How many nodes.")
@click.option("--manifests", type=click.Path(path_type=Path, exists=True), default=SAMPLE, help="A file or directory; else a sample.")
@click.option(
    "--capture", type=click.Choice(CAPTURE_MODES), default=_DEFAULTS.capture, show_default=True, help="How connections are captured."
)
@click.option("--mesh/--no-mesh", default=True, help="Whether to run the mesh, or pods and services alone.")
@click.option("--cert-lifetime", type=click.IntRange(10, 86400), metavar="SECONDS", help="Lifetime of the pods' certificates; else a day.")
@click.option("--trust-domain-aliases", metavar="A,B", help="Older trust domains, whose identities are accepted as well.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of all programs, such as LOG_LEVEL=debug.")
@click.option("--timeout", "time_limit_s", default=api.DEFAULT_TIME_LIMIT_S, show_default=True, help="Seconds until all must be ready.")
@click.pass_obj
def up(
    layout: Layout, nodes: int, manifests: Path, capture: str, mesh: bool, cert_lifetime: int | None, trust_domain_aliases: str | None,
    settings: tuple[str, ...], time_limit_s: float,
) -> None:  # fmt: skip
    """Bring the lab up; returns when everything in it is ready."""
    named = {"CERT_LIFETIME_S": cert_lifetime, "CERT_MAX_LIFETIME_S": cert_lifetime, "TRUST_DOMAIN_ALIASES": trust_domain_aliases}
    pairs = {key: str(value) for key, value in named.items() if value is not None}
    options = Options(nodes, capture, mesh, {**pairs, **dict(map(_pair, settings))})
    files = api.read_manifests(manifests)
    handle = api.up(layout, options, files, click.echo, time_limit_s)
    _warn(handle, [given.key for given in read_given(files)])
    click.echo("the lab is up; `ambient lab status` shows it")


@lab.command(short_help="Take the lab down; nothing of it is left.")
@click.pass_obj
def down(layout: Layout) -> None:
    """Take the lab down, in whatever state it is; nothing of it is left."""
    click.echo("the lab is down" if api.down(layout) else "there was no lab")


for _command in (stop, start, rotate_root, revoke):
    lab.add_command(_command)


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def status(layout: Layout, as_json: bool) -> None:
    """Show nodes, pods, services, and what becomes of each policy."""
    document = api.Lab(layout).status()
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        print_status(document)


@lab.command()
@_files(required=True)
@click.option("--prune", is_flag=True, help="Delete what the manifests do not name.")
@click.option("--wait/--no-wait", default=True, help="Whether to wait until pods are ready.")
@click.pass_obj
def apply(layout: Layout, paths: tuple[Path, ...], prune: bool, wait: bool) -> None:
    """Add the objects of manifests, or update those that there are."""
    handle, files = api.Lab(layout), _read(paths)
    keys = [given.key for given in read_given(files)]
    if not (keys or prune):
        raise LabError(f"{', '.join(files)}: no object in it")
    handle.apply(files, prune=prune)
    for line in applied_lines(keys):
        click.echo(line)
    _warn(handle, keys)
    if wait:
        handle.wait(say=click.echo)


def _warn(handle: api.Lab, keys: Iterable[Key]) -> None:
    """Says at once what the mesh does not do as it is written: whoever does not look would find out too late."""
    if policies := judged(keys):
        conditions = catalogue_of(read_lab(handle.layout), mesh_settings(handle.status()["settings"])).conditions
        for line in warnings(policies, conditions):
            click.echo(f"Warning: {line}", err=True)


@lab.command(short_help="Delete objects by kind and name, or those of manifests.")
@_files(required=False)
@click.argument("kind", required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_NAMESPACE
@click.pass_obj
def delete(layout: Layout, paths: tuple[Path, ...], kind: str | None, names: tuple[str, ...], namespace: str) -> None:
    """Delete objects by kind and name, or those that manifests name; returns when their pods have ended."""
    if bool(paths) == bool(kind) or bool(kind) != bool(names):
        raise click.UsageError("expected -f FILE, or KIND NAME…")
    handle = api.Lab(layout)
    if paths:
        handle.delete(_read(paths))
    for name in names:
        handle.delete_object(str(kind), _qualified(name, namespace))
        click.echo(f"{kind}/{name} deleted")


@lab.command(short_help="Set labels of an object, or take them away.")
@click.argument("kind")
@click.argument("name")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY-…")
@_NAMESPACE
@click.pass_obj
def label(layout: Layout, kind: str, name: str, changes: tuple[str, ...], namespace: str) -> None:
    """Set labels of a namespace, node, pod, service or whatever has some, or take them away."""
    api.Lab(layout).label(kind, _qualified(name, namespace), dict(map(parse_label, changes)))
    click.echo(f"{kind}/{name} labelled")


@lab.command(
    name="exec", short_help="Run a command in a pod.", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@_NAMESPACE
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(layout: Layout, namespace: str, pod: str, command: tuple[str, ...]) -> None:
    """Run a command in a pod: its network, its /etc/hosts, its environment, this terminal."""
    target = api.Lab(layout).pod(_qualified(pod, namespace))
    argv = target.command(command[1:] if command[0] == "--" else command)
    terminal = {name: os.environ[name] for name in ("TERM",) if name in os.environ}
    os.execve(argv[0], argv, {**terminal, **target.env})  # noqa: S606 no shell is what is wanted


@lab.command(short_help="Print the log of a program of the mesh, or of a pod.")
@_NAMESPACE
@click.argument("what", metavar="ztunnel|agent|controlplane|lab|POD")
@click.option("--node", help="Of ztunnel or agent: on this node alone.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows.")
@click.pass_obj
def logs(layout: Layout, namespace: str, what: str, node: str | None, follow: bool) -> None:
    """Print the log of a program of the mesh, of the lab itself, or of a pod."""
    require(None)
    paths = [str(path) for path in log_paths(layout, namespace, what, node)]
    os.execvp("tail", ["tail", "--lines=+1", *(["--follow=name", "--retry"] if follow else []), "--", *paths])  # noqa: S606


def log_paths(layout: Layout, namespace: str, what: str, node: str | None) -> list[Path]:
    """The logs that are meant.

    Raises:
        LabError: there are none; with what there is.
    """
    if what in ("ztunnel", "agent"):
        paths = sorted((layout.logs / node).glob(f"{what}.log") if node else layout.logs.glob(f"*/{what}.log"))
    elif what in ("controlplane", "lab"):
        paths = [layout.process_log(what)]
    else:
        owner, _, name = what.rpartition("/")
        paths = [layout.pod_log(owner or namespace, name)]
    if not paths or not paths[0].exists():
        known = sorted(str(path.relative_to(layout.logs)).removesuffix(".log") for path in layout.logs.rglob("*.log"))
        raise LabError(f"no log of {what}{f' on {node}' if node else ''}; there are: {', '.join(known) or 'none, the lab is not up'}")
    return paths


def _read(paths: tuple[Path, ...]) -> dict[str, str]:
    return {name: text for path in paths for name, text in api.read_manifests(path).items()}


def _qualified(name: str, namespace: str) -> str:
    return name if "/" in name else f"{namespace}/{name}"


def _pair(text: str) -> tuple[str, str]:
    key, assigned, value = text.partition("=")
    if not (key and assigned):
        raise LabError(f"--set {text}: expected KEY=VALUE")
    return key, value
