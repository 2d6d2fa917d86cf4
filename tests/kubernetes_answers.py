"""What an API server answers: lists, events, refusals."""

import json
from collections.abc import Iterable
from typing import Any


def thing(name: str, version: int | str, namespace: str = "shop", kind: str = "Pod", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "resourceVersion": str(version), "managedFields": [{"manager": "kubelet"}]}
    return {"kind": kind, "metadata": metadata | ({"namespace": namespace} if namespace else {}), **fields}


def listing(items: Iterable[dict[str, Any]], version: int | str, more: str = "", kind: str = "PodList") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}


def event(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": data}


def bookmark(version: int | str, kind: str = "Pod") -> dict[str, Any]:
    return event("BOOKMARK", {"kind": kind, "metadata": {"resourceVersion": str(version)}})


def refusal(code: int, reason: str, message: str = "no", causes: Iterable[str] = ()) -> dict[str, Any]:
    details = {"causes": [{"reason": one} for one in causes]}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)
