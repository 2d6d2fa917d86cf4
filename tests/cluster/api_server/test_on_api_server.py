"""The control plane on a real API server: what it reads, whom it believes, what it writes, and what it lives through."""

import json
import signal
import time
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cluster.api_server.ground import NAMESPACE, Ground, Plane, eventually
from tests.unit.controlplane.world import csr

IDENTITY = "spiffe://cluster.local/ns/shop/sa/default"
PODS = "/api/v1/namespaces/shop/pods"
POLICIES = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ambient-controlplane"
MERGE = "application/merge-patch+json"


def objects(plane: Plane, resource: str) -> int:
    return int(plane.kinds()[resource]["objects"])


def request() -> str:
    return csr(ec.generate_private_key(ec.SECP256R1()), IDENTITY)


def refusal(plane: Plane, token: str) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        plane.sign(request(), IDENTITY, token)
    return refused.value.code()  # type: ignore[attr-defined]


def leader(ground: Ground) -> str:
    return str(ground.server.get(LEASE)["spec"]["holderIdentity"])


def conditions(ground: Ground, name: str) -> dict[str, str]:
    found = json.loads(ground.server.kubectl("get", "authorizationpolicies", "-n", "shop", name, "-o", "json"))
    return {one["type"]: one["status"] for one in found.get("status", {}).get("conditions", [])}


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": name}, "spec": spec}


def test_hundreds_of_objects_and_conditions_that_kubectl_shows(cluster: Ground) -> None:
    for number in range(600):
        cluster.server.make(
            PODS,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"p{number}"},
                "spec": {"containers": [{"name": "c", "image": "none"}]},
            },
        )
    cluster.server.make(
        POLICIES, policy("all", action="ALLOW", rules=[{}]), policy("http", rules=[{"to": [{"operation": {"methods": ["GET"]}}]}])
    )
    with cluster.plane() as plane:
        plane.ready()
        assert objects(plane, "pods") == 600
        assert len(plane.events("published")) == 1
        cluster.run_pod("late", "10.0.0.1")
        eventually(lambda: objects(plane, "pods") == 601, "the pod is known")
        eventually(lambda: conditions(cluster, "all") == {"Accepted": "True", "EnforcedAtL4": "True"}, "a condition")
        eventually(lambda: conditions(cluster, "http") == {"Accepted": "True", "EnforcedAtL4": "False"}, "a condition")
        written = cluster.server.get(f"{POLICIES}/all")
        managers = {one["manager"]: one.get("subresource") for one in written["metadata"]["managedFields"]}
        assert managers["ambient-controlplane"] == "status"
        # What was written is no news, and is not written again.
        cluster.server.make(POLICIES, policy("more", rules=[{}]))
        eventually(lambda: conditions(cluster, "more"), "a condition")
        assert cluster.server.get(f"{POLICIES}/all")["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
        code, answer = cluster.server.ask("PATCH", f"{POLICIES}/all", {"spec": {"surprise": 1}}, content_type=MERGE)
        assert code == 200, answer
        eventually(lambda: conditions(cluster, "all") == {"Accepted": "False", "EnforcedAtL4": "False"}, "another condition")
        assert plane.terminate() == 0


def test_bound_tokens(cluster: Ground) -> None:
    cluster.run_pod("a", "10.0.0.1")
    cluster.run_pod("ambient-1", "10.0.1.1", namespace=NAMESPACE, account="ambient")
    cluster.run_pod("ambient-2", "10.0.1.2", namespace=NAMESPACE, account="ambient", node="n2")
    tokens = {name: cluster.token("ambient", bound_to=name, audience="istio-ca") for name in ("ambient-1", "ambient-2")}
    with cluster.plane() as plane:
        plane.ready()
        eventually(cluster.bundle, "the bundle")
        assert len(plane.sign(request(), IDENTITY, tokens["ambient-1"])) == 2
        assert refusal(plane, tokens["ambient-2"]) is grpc.StatusCode.PERMISSION_DENIED
        refused = [
            # Not bound to a pod, for another audience, of another account, changed on the way.
            cluster.token("ambient", audience="istio-ca"),
            cluster.token("ambient", bound_to="ambient-1"),
            cluster.token("ambient-controlplane", audience="istio-ca"),
            tokens["ambient-1"][:-8] + "AAAAAAAA",
        ]
        assert [refusal(plane, one) for one in refused] == [grpc.StatusCode.UNAUTHENTICATED] * 4
        late = cluster.token("ambient", bound_to="ambient-1", audience="istio-ca")
        cluster.server.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/ambient-1", {"gracePeriodSeconds": 0})
        eventually(lambda: refusal(plane, late) is grpc.StatusCode.UNAUTHENTICATED, "the token of a pod that is gone")
        assert not any(token in plane.log.read_text() for token in tokens.values())


def test_an_api_server_that_is_killed_and_comes_back(cluster: Ground) -> None:
    for number in range(300):
        cluster.run_pod(f"p{number}", f"10.0.{number // 200 + 1}.{number % 200 + 1}")
    cluster.run_pod("ambient-1", "10.0.9.1", namespace=NAMESPACE, account="ambient")
    token = cluster.token("ambient", bound_to="ambient-1", audience="istio-ca")
    with cluster.plane() as plane:
        plane.ready()
        eventually(cluster.bundle, "the bundle")
        bundle = cluster.bundle()
        plane.sign(request(), IDENTITY, token)
        published = len(plane.events("published"))
        cluster.server.kill_server()
        eventually(lambda: len(plane.events("kind_not_followed")) >= 10, "every watch broke")
        # What is known is served.
        cluster.bundle = lambda: bundle  # type: ignore[method-assign]
        plane.sign(request(), IDENTITY, token)
        assert plane.page("/healthz/ready")[0] == 200
        cluster.server.start_server()
        eventually(lambda: all(not one["trouble"] for one in plane.kinds().values()), "every kind is followed again")
        assert len(plane.events("published")) == published
        cluster.run_pod("new", "10.0.8.1")
        eventually(lambda: len(plane.events("published")) > published, "the next change is published")
        assert plane.process is not None
        assert plane.process.poll() is None


def test_a_past_that_was_compacted_away(cluster: Ground) -> None:
    for number in range(50):
        cluster.run_pod(f"p{number}", f"10.0.1.{number + 1}")
    with cluster.plane() as plane:
        plane.ready()
        assert plane.process is not None
        plane.process.send_signal(signal.SIGSTOP)
        # What was sent already would be read all the same: the connection ends first.
        cluster.server.kill_server()
        cluster.server.start_server()
        cluster.server.ask("DELETE", f"{PODS}/p0", {"gracePeriodSeconds": 0})
        cluster.run_pod("new", "10.0.8.1")
        cluster.server.compact()
        cluster.server.kill_server()
        cluster.server.start_server()
        plane.process.send_signal(signal.SIGCONT)
        eventually(lambda: objects(plane, "pods") == 50 and not plane.kinds()["pods"]["trouble"], "what changed meanwhile is known")
        listed = [one for one in plane.events("kind_listed") if one["resource"] == "pods"]
        # A list that is compared with what is known: the pod that is gone, and the one that came.
        assert [(one["objects"], one["changes"]) for one in listed] == [(50, 50), (50, 2)]
        assert any("410" in one["error"] for one in plane.events("kind_not_followed"))


def test_two_replicas_of_which_the_leader_is_killed(cluster: Ground) -> None:
    cluster.run_pod("a", "10.0.0.1")
    cluster.run_pod("ambient-1", "10.0.1.1", namespace=NAMESPACE, account="ambient")
    token = cluster.token("ambient", bound_to="ambient-1", audience="istio-ca")
    with cluster.plane("plane-1") as first, cluster.plane("plane-2") as second:
        for one in (first, second):
            one.ready()
        eventually(cluster.bundle, "the bundle")
        chains = [one.sign(request(), IDENTITY, token) for one in (first, second)]
        assert chains[0][1] == chains[1][1]
        planes = {one.name: one for one in (first, second)}
        leads = planes.pop(eventually(lambda: leader(cluster), "a leader"))
        (other,) = planes.values()
        leads.kill()
        killed = time.monotonic()
        other.sign(request(), IDENTITY, token)
        cluster.server.make(POLICIES, policy("p", rules=[{}]))
        eventually(lambda: conditions(cluster, "p"), "the other replica writes conditions")
        # The lease has to run out: 15 s, and a retry.
        assert time.monotonic() - killed < 25
        assert leader(cluster) == other.name
        assert sum(len(one.events("root_made")) for one in (first, second)) == 1


def test_a_leader_that_is_told_to_stop_hands_over_at_once(cluster: Ground) -> None:
    with cluster.plane("plane-1") as first:
        first.ready()
        eventually(lambda: leader(cluster) == "plane-1", "a leader")
        with cluster.plane("plane-2") as second:
            second.ready()
            assert first.terminate() == 0
            stopped = time.monotonic()
            eventually(lambda: leader(cluster) == "plane-2", "another leader")
            assert time.monotonic() - stopped < 6


def test_a_root_is_rotated_on_request(cluster: Ground) -> None:
    with (
        cluster.plane("plane-1", ROOT_SPREAD_S="2", CERT_MAX_LIFETIME_S="10") as first,
        cluster.plane("plane-2", ROOT_SPREAD_S="2", CERT_MAX_LIFETIME_S="10") as second,
    ):
        for one in (first, second):
            one.ready()
        before = eventually(cluster.bundle, "the bundle")
        cluster.server.kubectl("patch", "secret", "-n", NAMESPACE, "ambient-ca", "--type=merge", '-p={"data": {"rotate-root": ""}}')
        eventually(lambda: cluster.bundle().count(b"BEGIN") == 2, "both roots are trusted")
        after = eventually(lambda: (found := cluster.bundle()).count(b"BEGIN") == 1 and found, "the old root is forgotten")
        assert after != before
        assert {one["stage"] for plane in (first, second) for one in plane.events("root_rotation")} == {"introduced", "retiring", "steady"}
        assert all("PRIVATE" not in one.log.read_text() for one in (first, second))


def test_kinds_and_permissions_that_are_missing_and_come(bare: Ground) -> None:
    bare.prepare(crds=False)
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ambient-controlplane"
    role = bare.server.get(path)
    rules = [{**one, "resources": [plural for plural in one["resources"] if plural != "nodes"]} for one in role["rules"]]
    bare.server.ask("PATCH", path, {"rules": rules}, content_type=MERGE)
    with bare.plane() as plane:
        eventually(lambda: plane.page("/healthz/ready")[1].startswith("not listed yet: nodes: 403 Forbidden"), "the kind is named")
        eventually(lambda: plane.kinds()["authorizationpolicies.security.istio.io"]["listed"], "nobody has policies without their kind")
        assert "404" in plane.kinds()["authorizationpolicies.security.istio.io"]["trouble"]
        assert plane.events("published") == []
        bare.server.ask("PATCH", path, {"rules": role["rules"]}, content_type=MERGE)
        bare.install_crds()
        bare.server.make(POLICIES, policy("p", rules=[{}]))
        plane.ready()
        eventually(lambda: conditions(bare, "p"), "the policy is known, and has a condition")


def test_a_token_that_is_replaced(cluster: Ground) -> None:
    """The API server no longer takes the token that the process began with; the file holds another."""
    cluster.server.make(f"/api/v1/namespaces/{NAMESPACE}/secrets", {"metadata": {"name": "binding"}})
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/ambient-controlplane/token"
    bound = {"kind": "Secret", "apiVersion": "v1", "name": "binding"}
    _, answer = cluster.server.ask("POST", path, {"spec": {"boundObjectRef": bound}})
    first, lasting = answer["status"]["token"], cluster.token("ambient-controlplane")
    cluster.token = lambda *_arguments, **_more: first  # type: ignore[method-assign]
    with cluster.plane() as plane:
        plane.ready()
        (cluster.directory / "plane-1.token").write_text(lasting)
        cluster.server.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/binding")
        # Until it asks for something with the old token, and that is refused; what the server remembered of it lasts 10 s.
        time.sleep(15)
        cluster.server.make(POLICIES, policy("p", rules=[{}]))
        eventually(lambda: conditions(cluster, "p"), "it goes on with the new token")
        assert plane.events("no_longer_leading") == []
