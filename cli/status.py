"""The tables of `ambient lab status`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wider than any row: columns are never shortened to a terminal's width, they lose what one looks for.
_WIDTH = 1000


def print_status(document: Mapping[str, Any]) -> None:
    """Prints what the lab says of itself, for people."""
    console = Console(width=_WIDTH, highlight=False)
    nodes = [(node, *(_ready(document, f"{program} of {node}") for program in ("agent", "ztunnel"))) for node in document["nodes"]]
    pods = [
        (
            pod["namespace"], pod["name"], pod["node"], " ".join(pod["ips"]), pod["phase"], _yes(pod["ready"]), str(pod["restarts"]),
            pod["mesh"], pod["identity"],
        )
        for pod in document["pods"]
    ]  # fmt: skip
    services = [
        (one["namespace"], one["name"], " ".join(one["ips"]) or "none", " ".join(one["ports"]), " ".join(one["endpoints"]) or "none")
        for one in document["services"]
    ]
    mesh = f"capture by {document['capture']}, control plane {_ready(document, 'controlplane')}" if document["mesh"] else "no mesh"
    console.print(Text(f"lab {document['lab']}: {mesh}"))
    tables = (
        _table(("NODE", "AGENT", "ZTUNNEL"), nodes),
        _table(("NAMESPACE", "POD", "NODE", "ADDRESSES", "PHASE", "READY", "RESTARTS", "MESH", "IDENTITY"), pods),
        _table(("NAMESPACE", "SERVICE", "ADDRESSES", "PORTS", "ENDPOINTS"), services),
        _table(("NAMESPACE", "POLICY", "ACCEPTED", "ENFORCED", "WHY"), map(_policy, document["policies"])),
    )
    for table in tables:
        if table.row_count:
            console.print()
            console.print(table)
    if document["pending"]:
        console.print("\nnot yet as it is to be:")
    for pending in document["pending"]:
        console.print(Text(f"  {pending['kind']} {pending['name']}: {pending['reason']}"))


def _policy(policy: Mapping[str, Any]) -> tuple[str, ...]:
    """A row for an object that has a status; what layer 4 has no part in has no word on it."""
    conditions = {one["type"]: one for one in policy["conditions"]}
    accepted, enforced = conditions.get("Accepted"), conditions.get("EnforcedAtL4")
    layer = "-" if enforced is None else "at L4" if enforced["status"] == "True" else f"no: {enforced['reason']}"
    why = "; ".join(one["message"] for one in policy["conditions"] if one["status"] != "True")
    return (
        policy["namespace"],
        f"{policy['kind']}/{policy['name']}",
        _yes(accepted is not None and accepted["status"] == "True"),
        layer,
        why,
    )


def _ready(document: Mapping[str, Any], program: str) -> str:
    programs = document["programs"]
    if program in document["stopped"]:
        return "stopped"
    return ("ready" if programs[program] else "not ready") if program in programs else "-"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
