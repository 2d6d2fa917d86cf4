"""Asks the API server for everything that a check looks at. What it does not tell is noted; nothing here judges."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cli.check import cluster, release
from cli.check.facts import Document, Facts, Question
from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes import Api, Resource
from runtime.kubernetes.resources import CONFIG_MAPS, LEASES, NAMESPACES, NODES, PODS

_OWN_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)
_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
_QUESTIONS = (*cluster.QUESTIONS, *release.QUESTIONS)
_EVENTS = Resource("", "v1", "events", "Event")
_LISTED = (
    NAMESPACES,
    NODES,
    PODS,
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
)
# Source: kubectl's own chunks.
_PAGE = "500"
# Of a log: enough for a complaint to be among them.
_LINES = "30"
# Where Cilium's Helm chart puts its settings unless told otherwise.
_CILIUM = ("kube-system", "cilium-config")


async def collect(api: Api, namespace: str, cli_version: str, capture: str) -> Facts:
    """Returns what there is to know.

    Args:
        capture: as Facts has it.
    """
    try:
        server = await api.request("GET", "/version")
    except (ApiError, ApiUnreachable, BrokenAnswer) as error:
        return Facts(namespace, cli_version, capture, unreached=str(error))
    missing: dict[str, str] = {}
    async with asyncio.TaskGroup() as group:
        clock = group.create_task(_clock(api))
        answers = [group.create_task(_may(api, namespace, question)) for question in _QUESTIONS]
        lists = {resource.plural: group.create_task(_list(api, resource, missing)) for resource in _LISTED}
        cilium = group.create_task(_cilium(api))
        leases = group.create_task(_leases(api))
        events = group.create_task(_warnings(api, namespace))
    listed: Mapping[str, Sequence[Document]] = {kind: task.result() for kind, task in lists.items()} | {
        "configmaps": cilium.result(),
        "events": events.result(),
        "leases": leases.result(),
    }
    allowed = {question: answer for question, task in zip(_QUESTIONS, answers, strict=True) if (answer := task.result()) is not None}
    facts = Facts(
        namespace,
        cli_version,
        capture,
        server=server,
        clock_s=clock.result(),
        now_s=time.time() + (clock.result() or 0.0),
        allowed=allowed,
        lists=listed,
        missing=dict(sorted(missing.items())),
    )
    return replace(facts, logs=await _logs(api, facts))


async def _clock(api: Api) -> float | None:
    try:
        return await api.clock_ahead_s()
    except (ApiError, ApiUnreachable, BrokenAnswer):
        return None


async def _may(api: Api, namespace: str, question: Question) -> bool | None:
    """Returns whether we may; None: the server does not say."""
    attributes = {"verb": question.verb, "group": question.group, "resource": question.resource}
    if question.namespaced:
        attributes["namespace"] = namespace
    attributes["resource"], _, attributes["subresource"] = question.resource.partition("/")
    user = {"user": f"system:serviceaccount:{namespace}:{question.account}"} if question.account else {}
    try:
        review = await api.create(_REVIEWS if user else _OWN_REVIEWS, "", {"spec": {"resourceAttributes": attributes, **user}})
    except (ApiError, ApiUnreachable, BrokenAnswer):
        return None
    return bool(review.get("status", {}).get("allowed"))


async def _list(api: Api, resource: Resource, missing: dict[str, str]) -> list[Document]:
    """Lists all objects of a kind, page by page; a refusal is noted and ends it."""
    items: list[Document] = []
    query = {"limit": _PAGE}
    try:
        while True:
            page = await api.request("GET", resource.path(), query)
            items += page.get("items") or ()
            if not (token := page.get("metadata", {}).get("continue")):
                return items
            query = {"limit": _PAGE, "continue": token}
    except (ApiError, ApiUnreachable, BrokenAnswer) as error:
        missing[resource.plural] = str(error)
        return []


async def _cilium(api: Api) -> list[Document]:
    try:
        found = await api.get(CONFIG_MAPS, *_CILIUM)
    except (ApiError, ApiUnreachable, BrokenAnswer):
        return []
    return [found] if found else []


async def _leases(api: Api) -> list[Document]:
    """The nodes' leases; without them the nodes' clocks are not looked at."""
    try:
        return list((await api.request("GET", LEASES.path("kube-node-lease"))).get("items") or ())
    except (ApiError, ApiUnreachable, BrokenAnswer):
        return []


async def _warnings(api: Api, namespace: str) -> list[Document]:
    """The last warnings of the release's namespace; without them a check says less, and nothing else."""
    try:
        page = await api.request("GET", _EVENTS.path(namespace), {"fieldSelector": "type=Warning", "limit": _PAGE})
    except (ApiError, ApiUnreachable, BrokenAnswer):
        return []
    return list(page.get("items") or ())


async def _logs(api: Api, facts: Facts) -> dict[tuple[str, str], list[str]]:
    """The last lines of what is not ready; what cannot be had is left out."""
    logs: dict[tuple[str, str], list[str]] = {}
    for pod, container, crashed in release.unready_containers(facts):
        query = {"container": container, "tailLines": _LINES, "previous": str(crashed).lower()}
        try:
            text = b"".join([part async for part in api.stream(PODS.path(facts.namespace, pod, "log"), query, "*/*")])
        except (ApiError, ApiUnreachable, BrokenAnswer):
            continue
        logs[pod, container] = text.decode(errors="replace").splitlines()
    return logs
