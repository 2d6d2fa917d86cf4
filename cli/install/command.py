"""The three commands: their options and their order."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.kubeconfig import DEFAULT_NAMESPACE, find_kubeconfig

if TYPE_CHECKING:
    from cli.install.helm import Release
    from runtime.kubernetes import Api

Command = TypeVar("Command", bound=Callable[..., object])
_NAMESPACE = click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The namespace of the mesh.")
_KUBECONFIG = click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="The cluster; else that of KUBECONFIG.")
_TIMEOUT = click.option("--timeout", "timeout_s", default=300, show_default=True, type=click.IntRange(1), help="Seconds until all is done.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done; the API server checks it.")


def _wishes(command: Command) -> Command:
    """The options of what is installed."""
    settings = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the chart; see docs/kubernetes.md.")
    values = click.option("--values", "-f", multiple=True, type=click.Path(path_type=Path, exists=True), help="A file of values.")
    unchecked = click.option("--no-check", is_flag=True, help="Go on where `ambient check` finds errors.")
    return settings(values(unchecked(command)))


@click.command()
@_NAMESPACE
@_KUBECONFIG
@_wishes
@_TIMEOUT
@_DRY_RUN
def install(no_check: bool, dry_run: bool, **wishes: Any) -> None:
    """Install the mesh into a Kubernetes cluster by Helm, and wait until every node is ready."""
    from cli.install.helm import install_command

    release = _release(**wishes)
    _roll_out(release, install_command(release, dry_run=dry_run), no_check=no_check, dry_run=dry_run)
    if not dry_run:
        click.echo("next: kubectl label namespace NAME istio.io/dataplane-mode=ambient")


@click.command()
@_NAMESPACE
@_KUBECONFIG
@_wishes
@_TIMEOUT
@_DRY_RUN
def upgrade(no_check: bool, dry_run: bool, **wishes: Any) -> None:
    """Bring the mesh to this version, or to other values; those that were set before stay."""
    from cli.install.helm import upgrade_command

    release = _release(**wishes)
    _roll_out(release, upgrade_command(release, dry_run=dry_run), no_check=no_check, dry_run=dry_run)


@click.command()
@_NAMESPACE
@_KUBECONFIG
@_TIMEOUT
@_DRY_RUN
def uninstall(namespace: str, kubeconfig: Path | None, timeout_s: int, dry_run: bool) -> None:
    """Take the mesh off every node, then out of the cluster. Pods go on without it; nothing restarts.

    Definitions of policies that somebody still has stay, and so do the policies.
    """
    from cli.install.cluster import remove_definitions, remove_namespace
    from cli.install.helm import run, uninstall_command

    release = _release(namespace, kubeconfig, timeout_s)
    click.echo("freeing the nodes; open connections get their time to end")
    said = run(uninstall_command(release, dry_run=dry_run))
    if dry_run:
        click.echo(said)
        return

    async def rest(api: "Api") -> None:
        await remove_definitions(api, click.echo)
        await remove_namespace(api, namespace, click.echo)

    _with_api(release.kubeconfig, rest)
    click.echo("the mesh is gone")


def _release(
    namespace: str, kubeconfig: Path | None, timeout_s: int, settings: tuple[str, ...] = (), values: tuple[Path, ...] = ()
) -> "Release":
    from cli.install.helm import Release

    return Release(namespace, find_kubeconfig(kubeconfig, os.environ), values, settings, timeout_s)


def _roll_out(release: "Release", command: list[str], *, no_check: bool, dry_run: bool) -> None:
    """Checks, makes the namespace, runs Helm, waits."""
    from cli.install.cluster import make_namespace, wait_until_ready
    from cli.install.helm import require_helm, run

    require_helm()
    if not no_check:
        _check(release)
    if dry_run:
        click.echo(run(command))
        return

    async def work(api: "Api") -> None:
        if await make_namespace(api, release.namespace):
            click.echo(f"namespace {release.namespace} made")
        await asyncio.to_thread(run, command)
        click.echo("the chart is in place")
        await wait_until_ready(api, release.namespace, release.timeout_s, click.echo)

    _with_api(release.kubeconfig, work)


def _check(release: "Release") -> None:
    """Shows what is in the way; errors end it."""
    from rich.console import Console

    from cli.check.command import run_check
    from cli.check.display import print_findings
    from cli.check.findings import Level

    capture = next((one.partition("=")[2] for one in release.settings if one.startswith("agent.capture=")), None)
    wrong = [one for one in run_check(release.kubeconfig, release.namespace, capture, before=True) if one.level is not Level.GOOD]
    if wrong:
        print_findings(wrong, Console(highlight=False, stderr=True))
    if any(one.level is Level.ERROR for one in wrong):
        raise click.ClickException("the cluster is not fit for the mesh; --no-check goes on all the same")


def _with_api(kubeconfig: Path | None, work: "Callable[[Api], Coroutine[Any, Any, None]]") -> None:
    from runtime.kubernetes import Api, load_access

    async def connected() -> None:
        async with Api(await load_access(kubeconfig), kubeconfig) as api:
            await work(api)

    asyncio.run(connected())
