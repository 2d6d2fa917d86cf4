"""The command: its options and its exit status."""

import asyncio
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.kubeconfig import DEFAULT_NAMESPACE, find_kubeconfig

if TYPE_CHECKING:
    from cli.check.facts import Facts
    from cli.check.findings import Finding


@click.command()
@click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The namespace of the mesh.")
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="The cluster; else that of KUBECONFIG.")
@click.option("--capture", type=click.Choice(("ebpf", "iptables")), help="How pods are to be captured; else as installed, or by eBPF.")
@click.option("--before", is_flag=True, help="Only what installing needs, also where the mesh is installed.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of all conditions.")
def check(namespace: str, kubeconfig: Path | None, capture: str | None, before: bool, as_json: bool) -> None:
    """Check whether the cluster can have the mesh and, once it is installed, whether the mesh is well.

    Exit status 0: no error; 1: some.
    """
    from rich.console import Console

    from cli.check.display import as_documents, print_findings
    from cli.check.findings import Level

    findings = run_check(find_kubeconfig(kubeconfig, os.environ), namespace, capture, before=before)
    if as_json:
        click.echo(json.dumps(as_documents(findings), indent=2, ensure_ascii=False))
    else:
        print_findings(findings, Console(highlight=False))
    if any(one.level is Level.ERROR for one in findings):
        raise click.exceptions.Exit(1)


def run_check(kubeconfig: Path | None, namespace: str, capture: str | None, *, before: bool) -> "list[Finding]":
    """Collects and judges.

    Raises:
        ConfigError: there is no cluster to talk to.
    """
    from cli.check.cluster import judge_cluster
    from cli.check.network_policies import judge_policies
    from cli.check.release import installed, judge_release

    facts = asyncio.run(_collect(kubeconfig, namespace, capture))
    findings = list(judge_cluster(facts))
    if facts.server is not None and installed(facts) and not before:
        findings += judge_release(facts)
        findings += judge_policies(facts.lists["pods"], facts.lists["namespaces"], facts.lists["networkpolicies"])
    return findings


async def _collect(kubeconfig: Path | None, namespace: str, capture: str | None) -> "Facts":
    from cli.check.collect import collect
    from cli.check.release import capture_of
    from runtime.kubernetes import Api, load_access

    async with Api(await load_access(kubeconfig), kubeconfig) as api:
        facts = await collect(api, namespace, version("ambient-mesh"), capture or "ebpf")
    return facts if capture else capture_of(facts)
