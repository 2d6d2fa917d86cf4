"""Every kind of service, as a pod in the mesh and one outside of it reach it: three nodes, of which two share a zone."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab.addresses import node_addresses
from tests.netns.mesh.ground import FAMILIES, Mesh, Place, Talk, mesh_of, until
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, NEAR, OTHER_PORT, PLAIN, SERVICE_PORT, manifest, manifests, pod

# On node3, alone in its zone; the client and `near` are on node1, `far` is on node2, in the zone of node1.
REMOTE = "remote"
ZONES = {"node1": "here", "node2": "here", "node3": "there"}
ZONE_LABEL = "topology.kubernetes.io/zone"
NETWORKING, DISCOVERY = "networking.istio.io/v1", "discovery.k8s.io/v1"
# Of so many fair choices among three, one is never made with a chance of 1e-5.
REQUESTS = 30
VIRTUAL_IP = "240.0.0.1"
# Nobody owns that address before its manifest is known: a connection to it gets no answer at all.
ATTEMPT_S, SILENCE = 1.0, "silence"


@pytest.fixture(scope="module")
def wide() -> Iterator[Mesh]:
    nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {ZONE_LABEL: zone}}} for name, zone in ZONES.items()]
    more = {"more.yaml": yaml.safe_dump_all([*nodes, pod(MESH, REMOTE, "node3", "web")])}
    with mesh_of(f"wide{os.getpid()}", manifests(MESH, PLAIN) | more, nodes=3) as mesh:
        yield mesh


class Objects:
    """Manifests of one test, gone afterwards."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._texts: list[str] = []

    def apply(self, *bodies: dict[str, Any], wait: bool = True) -> None:
        text = yaml.safe_dump_all(bodies)
        self._texts.append(text)
        self.mesh.lab.apply({"objects.yaml": text})
        if wait:
            self.mesh.lab.wait()

    def delete(self) -> None:
        for text in reversed(self._texts):
            self.mesh.lab.delete({"objects.yaml": text})

    def carried(self, client: Place, name: str, address: str) -> None:
        """Waits until a client of the mesh is carried to a service as such; without this the nodes' rules might answer for the mesh."""
        if client.name.startswith(f"{MESH}/"):
            log = self.mesh.log(client.node)
            service = f"{name}.{MESH}.svc.cluster.local"
            until(
                lambda: answer(client, address) not in ("", SILENCE) and log.find(direction="outbound", dst_service=service),
                f"ztunnel knows {service}",
            )

    def virtual_ip(self, name: str, family: socket.AddressFamily = socket.AF_INET) -> str:
        service = next(one for one in self.mesh.lab.status()["services"] if one["name"] == name)
        return str(service["ips"][family == socket.AF_INET6])


@pytest.fixture
def objects(wide: Mesh) -> Iterator[Objects]:
    objects = Objects(wide)
    yield objects
    objects.delete()


@pytest.fixture(params=[MESH, PLAIN], ids=["inside", "outside"])
def client(wide: Mesh, request: pytest.FixtureRequest) -> Place:
    """In the mesh, and not: services are the same to both."""
    return wide.pod(request.param, CLIENT)


def service(name: str, selector: dict[str, str] | None = None, ports: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    chosen = {"selector": {"app": "web"} if selector is None else selector} if selector != {} else {}
    return manifest("Service", MESH, name, spec={**chosen, "ports": ports or [{"port": SERVICE_PORT, "targetPort": APP_PORT}], **spec})


def answer(client: Place, address: str, port: int = SERVICE_PORT) -> str:
    """Which server answers; "" when it is refused, SILENCE when nobody says anything."""
    connection = client.open(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(ATTEMPT_S)
    try:
        connection.connect((address, port))
        with Talk(connection) as talk:
            assert talk.ask(b"?") == b"?"
            return talk.server
    except TimeoutError:
        return SILENCE
    except ConnectionError:
        return ""
    finally:
        connection.close()


def answers(client: Place, address: str, port: int = SERVICE_PORT, times: int = REQUESTS) -> Counter[str]:
    return Counter(answer(client, address, port) for _ in range(times))


def addresses_of(mesh: Mesh, client: Place, name: str) -> set[str]:
    """What a pod's resolver says."""
    code = f"import socket; print(*sorted({{one[4][0] for one in socket.getaddrinfo('{name}', 80)}}))"
    done = mesh.lab.run(client.name, ["python3", "-c", code])
    return set(done.stdout.split())


def test_headless_service_is_its_pods(wide: Mesh, objects: Objects, client: Place):
    objects.apply(service("headless", clusterIP="None"))
    pods = {name: wide.pod(MESH, name) for name in (NEAR, FAR, REMOTE)}
    until(
        lambda: addresses_of(wide, client, f"headless.{MESH}") == {ip for one in pods.values() for ip in one.addresses}, "the name is known"
    )
    for name, place in pods.items():
        assert {answer(client, ip, APP_PORT) for ip in place.addresses} == {name}


def test_target_ports_by_name(objects: Objects, client: Place, family: socket.AddressFamily):
    """Each pod numbers the port itself."""
    odd = pod(MESH, "odd", "node2", "web", numbered="yes")
    odd["spec"]["containers"][0]["ports"] = [{"name": "talk", "containerPort": OTHER_PORT}]  # type: ignore[index]
    odd["spec"]["containers"][0]["command"] = [*odd["spec"]["containers"][0]["command"][:2], str(OTHER_PORT)]  # type: ignore[index]
    even = pod(MESH, "even", "node3", "web", numbered="yes")
    objects.apply(odd, even, service("named", {"numbered": "yes"}, [{"port": SERVICE_PORT, "targetPort": "talk"}]))
    address = objects.virtual_ip("named", family)
    objects.carried(client, "named", address)
    until(lambda: set(answers(client, address)) == {"odd", "even"}, "both pods answer")


def test_pods_that_are_not_ready_are_published_where_that_is_asked_for(wide: Mesh, objects: Objects, client: Place):
    """It never listens on one of the ports that it declares."""
    unready = pod(MESH, "unready", "node2", "web", unready="yes")
    unready["spec"]["containers"][0]["ports"].append({"containerPort": 9})  # type: ignore[index]
    objects.apply(
        unready,
        service("ready-only", {"unready": "yes"}),
        service("published", {"unready": "yes"}, publishNotReadyAddresses=True),
        wait=False,
    )
    until(lambda: answer(client, objects.virtual_ip("published")) == "unready", "the pod is reached")
    objects.carried(client, "published", objects.virtual_ip("published"))
    with pytest.raises(OSError):
        Talk(client.connect(objects.virtual_ip("ready-only"), SERVICE_PORT))


def test_session_affinity_keeps_a_client_at_one_pod(objects: Objects, client: Place, family: socket.AddressFamily):
    objects.apply(service("sticky", sessionAffinity="ClientIP"), service("loose"))
    for name in ("loose", "sticky"):
        objects.carried(client, name, objects.virtual_ip(name, family))
    until(lambda: len(answers(client, objects.virtual_ip("loose", family))) == 3, "others are balanced")
    assert len(answers(client, objects.virtual_ip("sticky", family))) == 1


@pytest.mark.parametrize(
    ("spec", "servers", "without_near"),
    [
        ({"trafficDistribution": "PreferSameNode"}, {NEAR}, {FAR}),
        ({"trafficDistribution": "PreferSameZone"}, {NEAR, FAR}, {FAR}),
        ({"trafficDistribution": "PreferClose"}, {NEAR, FAR}, {FAR}),
        ({"internalTrafficPolicy": "Local"}, {NEAR}, {""}),
        ({}, {NEAR, FAR, REMOTE}, {FAR, REMOTE}),
    ],
)
def test_endpoints_close_by_are_taken_first(
    wide: Mesh, objects: Objects, client: Place, spec: dict[str, str], servers: set[str], without_near: set[str]
):
    objects.apply(service("spread", **spec))
    address = objects.virtual_ip("spread")
    objects.carried(client, "spread", address)
    until(lambda: set(answers(client, address)) == servers, f"{servers} answer")
    wide.lab.label("pod", f"{MESH}/{NEAR}", {"app": "resting"})
    try:
        until(lambda: set(answers(client, address)) == without_near, f"{without_near} answer")
    finally:
        wide.lab.label("pod", f"{MESH}/{NEAR}", {"app": "web"})


@pytest.fixture
def outsider(wide: Mesh) -> Iterator[tuple[str, int]]:
    """A listener on a node's own address, no pod and of no mesh: it greets as the app does."""
    place = Place("outsider", "node3", wide.node_netns("node3"), node_addresses("node3"))
    with place.listen() as listener:
        listener.settimeout(None)
        thread = threading.Thread(target=_serve, args=(listener,))
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, address = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"outsider {address[0]}\n".encode())
            while data := connection.recv(4096):
                connection.sendall(data)


def test_service_without_a_selector_has_the_endpoints_of_its_slices(wide: Mesh, objects: Objects, client: Place, outsider: tuple[str, int]):
    def slice_of(name: str, address: str, port: int) -> dict[str, Any]:
        body = manifest("EndpointSlice", MESH, name, labels={"kubernetes.io/service-name": "listed"}, api=DISCOVERY)
        return {**body, "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "talk", "port": port}]}

    ports = [{"name": "talk", "port": SERVICE_PORT}]
    remote = wide.pod(MESH, REMOTE).addresses[0]
    objects.apply(service("listed", {}, ports), slice_of("out", *outsider), slice_of("in", remote, APP_PORT))
    address = objects.virtual_ip("listed")
    objects.carried(client, "listed", address)
    until(lambda: set(answers(client, address)) == {"outsider", REMOTE}, "both endpoints answer")


def test_external_name_of_another_service(wide: Mesh, objects: Objects, client: Place):
    objects.apply(service("alias", {}, type="ExternalName", externalName=f"web.{MESH}.svc.cluster.local"))
    addresses = {wide.service_address(MESH, one) for one in FAMILIES}
    until(lambda: addresses_of(wide, client, f"alias.{MESH}") == addresses, "the name has the addresses of its target")


def entry(host: str, address: str = VIRTUAL_IP, target_port: int = APP_PORT, **spec: Any) -> dict[str, Any]:
    ports = [{"number": SERVICE_PORT, "name": "talk", "protocol": "TCP", "targetPort": target_port}]
    spec = {"hosts": [host], "addresses": [address], "ports": ports, "resolution": "STATIC", **spec}
    return manifest("ServiceEntry", MESH, host.partition(".")[0], api=NETWORKING, spec=spec)


def test_service_entry_outside_the_mesh(wide: Mesh, objects: Objects, outsider: tuple[str, int]):
    client = wide.pod(MESH, CLIENT)
    log = wide.log(client.node)
    ip, port = outsider
    objects.apply(entry("shop.example.com", target_port=port, location="MESH_EXTERNAL", endpoints=[{"address": ip}]))
    until(lambda: answer(client, VIRTUAL_IP) == "outsider", "the endpoint answers")
    assert addresses_of(wide, client, "shop.example.com") == {VIRTUAL_IP}
    log.expect(message="connection opened", direction="outbound", src_identity=client.identity, dst_service="shop.example.com")


def test_service_entry_over_pods_of_the_mesh(wide: Mesh, objects: Objects):
    """Its connections are tunnelled: the servers know who asks."""
    client = wide.pod(MESH, CLIENT)
    logs = {name: wide.log(wide.pod(MESH, name).node) for name in (NEAR, FAR, REMOTE)}
    objects.apply(entry("inside.example.com", location="MESH_INTERNAL", workloadSelector={"labels": {"app": "web"}}))
    until(lambda: set(answers(client, VIRTUAL_IP)) == {NEAR, FAR, REMOTE}, "all pods that it selects answer")
    for name, log in logs.items():
        log.expect(message="connection opened", direction="inbound", src_identity=client.identity, dst_workload=name)


def test_workload_entry_backs_what_selects_it(wide: Mesh, objects: Objects, outsider: tuple[str, int]):
    client = wide.pod(MESH, CLIENT)
    ip, port = outsider
    machine = manifest("WorkloadEntry", MESH, "machine", api=NETWORKING, spec={"address": ip, "labels": {"app": "legacy"}})
    objects.apply(
        machine, entry("legacy.example.com", target_port=port, location="MESH_INTERNAL", workloadSelector={"labels": {"app": "legacy"}})
    )
    until(lambda: answer(client, VIRTUAL_IP) == "outsider", "the machine answers")
