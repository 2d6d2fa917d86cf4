"""A control plane on a cluster: what it publishes and when, whom it believes, what it writes, and what several of them do."""

import asyncio
import json
from collections.abc import Callable

import grpc
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.config import parse
from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.server import ControlPlane
from tests.unit.controlplane.kubernetes.cluster import InCluster, Replica, token
from tests.unit.controlplane.world import IDENTITY, ambient, csr, pod, service, uid

BUNDLE = ("configmaps", "mesh", "istio-ca-root-cert")
SECRET = ("secrets", "mesh", "ambient-ca")
LEASE = ("leases", "mesh", "ambient-controlplane")


def policy(name: str, spec: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def names(replica: Replica, kind: str = ADDRESS_TYPE) -> set[str]:
    return set(replica.control_plane._feed.table(kind).by_name)


async def until(replica: Replica, true: Callable[[], bool]) -> None:
    """Waits for a publication after which something holds."""
    feed = replica.control_plane._feed
    while not (feed.known and true()):
        changed = feed.changed
        if feed.known and true():
            return
        await changed.wait()


async def test_it_publishes_when_every_kind_was_listed_and_follows(cluster: InCluster) -> None:
    await cluster.put("namespaces", ambient("shop"))
    await cluster.put("pods", pod("a", "10.0.0.1"))
    await cluster.put("services", service("web", "10.96.0.1"))
    async with cluster.api() as url, cluster.plane(url) as replica:
        await replica.published()
        assert names(replica) == {uid("a"), "shop/web.shop.svc.cluster.local"}
        await cluster.put("pods", pod("b", "10.0.0.2"))
        await until(replica, lambda: uid("b") in names(replica))
        await cluster.store.remove("pods", "shop", "a")
        await until(replica, lambda: uid("a") not in names(replica))
        assert await replica.page("/healthz/ready") == (200, "ready\n")


async def test_without_a_permission_nothing_is_published_and_the_kind_is_named(cluster: InCluster) -> None:
    cluster.store.forbidden.add(("GET", "authorizationpolicies"))
    with structlog.testing.capture_logs() as logs:
        async with cluster.api() as url, cluster.plane(url) as replica:
            while "403" not in (text := (await replica.page("/healthz/ready"))[1]) or text.count(":") > 3:
                await asyncio.sleep(0.01)
            assert text.startswith("not listed yet: authorizationpolicies.security.istio.io: 403 Forbidden")
            kinds = {one["resource"]: one["listed"] for one in json.loads((await replica.page("/kinds"))[1])}
            assert (kinds["pods"], kinds["authorizationpolicies.security.istio.io"]) == (True, False)
    assert [log["resource"] for log in logs if log["event"] == "kind_not_followed"] == ["authorizationpolicies.security.istio.io"]


async def test_the_kinds_of_istio_may_be_absent(cluster: InCluster) -> None:
    cluster.store.absent |= {"authorizationpolicies", "peerauthentications", "serviceentries", "workloadentries"}
    async with cluster.api() as url, cluster.plane(url) as replica:
        await replica.published()
        assert await replica.page("/healthz/ready") == (200, "ready\n")


async def test_an_object_that_cannot_be_read_holds_up_no_other(cluster: InCluster) -> None:
    await cluster.put("namespaces", ambient("shop"))
    broken = pod("a", "10.0.0.1")
    broken["status"]["podIP"] = "x"
    await cluster.put("pods", broken, pod("b", "10.0.0.2"))
    with structlog.testing.capture_logs() as logs:
        async with cluster.api() as url, cluster.plane(url) as replica:
            await until(replica, lambda: names(replica) == {uid("b")})
            await cluster.put("pods", broken, pod("c", "10.0.0.3"))
            await until(replica, lambda: uid("c") in names(replica))
            await cluster.put("pods", pod("a", "10.0.0.1"))
            await until(replica, lambda: uid("a") in names(replica))
    said = [(log["event"], log["name"], log.get("field")) for log in logs if log["event"].startswith("object_")]
    assert said == [("object_invalid", "a", "status.podIP"), ("object_valid_again", "a", None)]


async def test_a_policy_that_cannot_be_read_lets_nobody_in(cluster: InCluster) -> None:
    await cluster.put("authorizationpolicies", policy("p", {"selector": {"matchLabels": {"app": "web"}}, "rules": 7}))
    async with cluster.api() as url, cluster.plane(url) as replica:
        await until(replica, lambda: names(replica, AUTHORIZATION_TYPE) == {"shop/p"})
        await cluster.store.until(lambda: "status" in cluster.store.objects["authorizationpolicies", "shop", "p"])
        status = cluster.store.objects["authorizationpolicies", "shop", "p"]["status"]
        assert [(one["type"], one["status"]) for one in status["conditions"]] == [("Accepted", "False"), ("EnforcedAtL4", "False")]
        assert status["conditions"][0]["message"].startswith("spec.rules (unreadable)")


async def test_conditions_are_written_once(cluster: InCluster) -> None:
    await cluster.put("authorizationpolicies", policy("p", {}))
    await cluster.put("serviceentries", {"metadata": {"name": "e", "namespace": "shop"}, "spec": {"hosts": ["a.example"]}})
    async with cluster.api() as url, cluster.plane(url) as replica:
        await replica.published()
        await cluster.store.until(lambda: sum(one[3] == "status" for one in cluster.store.writes) >= 2)
        await cluster.put("authorizationpolicies", policy("q", {"surprise": 1}))
        await cluster.store.until(lambda: ("PATCH", "authorizationpolicies", "q", "status") in cluster.store.writes)
    statuses = [one for one in cluster.store.writes if one[3] == "status"]
    assert sorted(statuses) == sorted(set(statuses))
    assert len(statuses) == 3


async def test_a_policy_that_changes_has_its_new_conditions_at_once(cluster: InCluster) -> None:
    await cluster.put("authorizationpolicies", policy("p", {}))
    key = ("authorizationpolicies", "shop", "p")

    def accepted() -> str:
        status = cluster.store.objects[key].get("status", {"conditions": [{"status": ""}]})
        return str(status["conditions"][0]["status"])

    async with cluster.api() as url, cluster.plane(url):
        await cluster.store.until(lambda: accepted() == "True")
        await cluster.store.put("authorizationpolicies", {**cluster.store.objects[key], "spec": {"surprise": 1}})
        await cluster.store.until(lambda: accepted() == "False")


async def test_certificates_are_for_whom_the_api_server_vouches(cluster: InCluster) -> None:
    await cluster.put("namespaces", ambient("shop"))
    await cluster.put(
        "pods", pod("a", "10.0.0.1"), {**pod("ambient-x", "10.0.0.9", node="n1"), "metadata": {"name": "ambient-x", "namespace": "mesh"}}
    )
    request = csr(ec.generate_private_key(ec.SECP256R1()), IDENTITY)
    async with cluster.api() as url, cluster.plane(url) as replica:
        await replica.published()
        await cluster.store.until(lambda: BUNDLE in cluster.store.objects)
        bearer = token()
        assert len(await replica.sign(request, IDENTITY, bearer)) == 2
        await replica.sign(request, IDENTITY, bearer)
        assert cluster.store.reviews == 1
        # An API server before 1.32 names the pod, and the watched pods say where it runs.
        await replica.sign(request, IDENTITY, token(node=""))
        refusals = {
            token(node="n2"): grpc.StatusCode.PERMISSION_DENIED,
            token(node="", pod="unknown"): grpc.StatusCode.UNAVAILABLE,
            token(subject="system:serviceaccount:shop:default"): grpc.StatusCode.UNAUTHENTICATED,
            token(lifetime_s=-1): grpc.StatusCode.UNAUTHENTICATED,
        }
        for text, code in refusals.items():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await replica.sign(request, IDENTITY, text)
            assert refused.value.code() is code
        await cluster.store.go(away=True)
        await replica.sign(request, IDENTITY, bearer)
        with pytest.raises(grpc.aio.AioRpcError) as away:
            await replica.sign(request, IDENTITY, token(jti="other"))
        assert away.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_api_server_that_goes_and_comes_back_changes_nothing(cluster: InCluster) -> None:
    await cluster.put("namespaces", ambient("shop"))
    await cluster.put("pods", *(pod(f"p{number}", f"10.0.1.{number}") for number in range(1, 200)))
    async with cluster.api() as url, cluster.plane(url) as replica:
        await replica.published()
        catalogue = replica.control_plane._feed.catalogue
        generation = catalogue.generation
        await cluster.store.go(away=True)
        await cluster.store.go(away=False)
        await cluster.store.expire()
        await cluster.put("pods", pod("new", "10.0.0.1"))
        await until(replica, lambda: uid("new") in names(replica))
        assert catalogue.generation == generation + 1


async def test_two_replicas_have_one_authority_and_one_leader(cluster: InCluster) -> None:
    await cluster.put("namespaces", ambient("shop"))
    await cluster.put("pods", pod("a", "10.0.0.1"))
    await cluster.put("authorizationpolicies", policy("p", {}))
    request = csr(ec.generate_private_key(ec.SECP256R1()), IDENTITY)
    async with cluster.api() as url, cluster.plane(url, "plane-2") as second:
        async with cluster.plane(url, "plane-1") as first:
            await asyncio.gather(first.published(), second.published())
            await cluster.store.until(lambda: {BUNDLE, LEASE} <= cluster.store.objects.keys())
            chains = [await one.sign(request, IDENTITY, token()) for one in (first, second)]
            assert chains[0][1] == chains[1][1] == cluster.bundle()["root-cert.pem"]
            leader = cluster.store.objects[LEASE]["spec"]["holderIdentity"]
        assert leader in {"plane-1", "plane-2"}
        # What the first one left is the second's, and it does what is to be done once.
        await cluster.store.until(lambda: cluster.store.objects[LEASE]["spec"]["holderIdentity"] == "plane-2")
        await cluster.put("authorizationpolicies", policy("q", {}))
        await cluster.store.until(lambda: "status" in cluster.store.objects["authorizationpolicies", "shop", "q"])
    roots = [one for one in cluster.store.writes if one[1] == "secrets"]
    assert roots == [("POST", "secrets", "ambient-ca", "")]
    assert cluster.store.objects[LEASE]["spec"]["holderIdentity"] == ""


async def test_a_root_is_rotated_on_request_and_every_replica_follows(cluster: InCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = cluster.settings
    quick = {"ROOT_SPREAD_S": "1", "CERT_MAX_LIFETIME_S": "10"}
    monkeypatch.setattr(cluster, "settings", lambda url, name: {**settings(url, name), **quick})
    async with cluster.api() as url, cluster.plane(url, "plane-1"), cluster.plane(url, "plane-2"):
        await cluster.store.until(lambda: BUNDLE in cluster.store.objects)
        secret = cluster.store.objects[SECRET]
        await cluster.store.put("secrets", {**secret, "data": {**secret["data"], "rotate-root": ""}})
        await cluster.store.until(lambda: cluster.bundle()["root-cert.pem"].count("BEGIN") == 2)
        await cluster.store.until(lambda: "rotation-3.json" in cluster.store.objects[SECRET]["data"])
        assert "rotate-root" not in cluster.store.objects[SECRET]["data"]


async def test_without_permission_for_the_secret_the_readiness_says_so(cluster: InCluster) -> None:
    cluster.store.forbidden.add(("GET", "secrets"))
    async with cluster.api() as url:
        control_plane = ControlPlane(parse({**cluster.settings(url, "plane-1"), "READINESS_ADDR": "127.0.0.1:0"}))
        starting = asyncio.create_task(control_plane.start())
        while "403" not in control_plane._surroundings.unready:
            await asyncio.sleep(0.01)
        cluster.store.forbidden.clear()
        await starting
        await control_plane.stop()


async def test_a_secret_that_vanishes_leaves_the_authority_in_force(cluster: InCluster) -> None:
    with structlog.testing.capture_logs() as logs:
        async with cluster.api() as url, cluster.plane(url) as replica:
            await cluster.store.until(lambda: BUNDLE in cluster.store.objects)
            authority = replica.control_plane._surroundings.authority
            secret = cluster.store.objects[SECRET]
            await cluster.store.remove("secrets", "mesh", "ambient-ca")
            while not any(log["event"] == "authority_not_read" for log in logs):
                await asyncio.sleep(0.01)
            assert replica.control_plane._surroundings.authority is authority
            await cluster.store.put("secrets", secret)
    assert [one for one in cluster.store.writes if one[1] == "secrets"] == [("POST", "secrets", "ambient-ca", "")]
    assert "PRIVATE KEY" not in str(logs)
