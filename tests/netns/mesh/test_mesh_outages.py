"""Certificates that are revoked, and a control plane that is away: what ends, what goes on, and how all is well again."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.netns.engine.certificates import Authority
from tests.netns.mesh.ground import ADMIN_PORT, Mesh, Place, mesh_of, until
from tests.netns.mesh.manifests import CLIENT, FAR, GUEST, MESH, NEAR, manifests, pod
from tests.netns.mesh.rules import Rules, Way, authorization
from tests.netns.mesh.test_mesh_policies import ends, source

LATE = "late"


@pytest.fixture(scope="module")
def lasting() -> Iterator[Mesh]:
    with mesh_of(f"lasting{os.getpid()}", manifests(MESH, GUEST)) as mesh:
        yield mesh


def restart(mesh: Mesh, node: str) -> None:
    killed = mesh.kill(node, "ztunnel")
    until(lambda: mesh.process(node, "ztunnel") not in (0, killed), f"the ztunnel of {node} runs again")
    until(lambda: not mesh.lab.status()["pending"], "all is settled again")


def spared(mesh: Mesh) -> tuple[Way, Way]:
    """Connections that a revoked certificate of pods of `mesh` does not concern: on one node there is no tunnel; others are others."""
    guests = Way(mesh.pod(GUEST, CLIENT), mesh.pod(GUEST, FAR))
    return Way(mesh.pod(MESH, CLIENT), mesh.pod(MESH, NEAR)), guests


@pytest.mark.parametrize("whose", [CLIENT, FAR], ids=["client", "server"])
def test_revoked_certificate_ends_its_connections_and_is_replaced(lasting: Mesh, whose: str):
    way = Way(lasting.pod(MESH, CLIENT), lasting.pod(MESH, FAR))
    serial = lasting.lab.serial_of(f"{MESH}/{whose}")
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(way.open())
        others = [stack.enter_context(one.open()) for one in spared(lasting)]
        lasting.lab.revoke(serial)
        assert ends(live.connection)
        assert [talk.ask(b"and you?") for talk in others] == [b"and you?"] * len(others)
    until(way.allowed, "it may talk again")
    assert lasting.lab.serial_of(f"{MESH}/{whose}") != serial


@pytest.fixture
def without_control_plane(lasting: Mesh) -> Iterator[Mesh]:
    lasting.lab.stop_program("controlplane")
    yield lasting
    lasting.lab.start_program("controlplane")
    lasting.lab.wait()
    until(Way(lasting.pod(MESH, CLIENT), lasting.pod(MESH, FAR)).allowed, "with new certificates all is well again")


def publish_revoked(mesh: Mesh, serial: str) -> None:
    """As the control plane would, or another replica of it: it says the same when it is back."""
    mesh.lab.revoke(serial)
    directory = mesh.lab.layout.controlplane
    authority = Authority.of((directory / "root-key.pem").read_bytes(), (directory / "root-cert.pem").read_bytes())
    serials = (int(line, 16) for line in (directory / "revoked").read_text().split())
    fresh = directory / "ca-crl.pem"
    fresh.write_bytes(authority.revoke(*serials))
    fresh.rename(mesh.lab.layout.bundle / fresh.name)


@pytest.mark.parametrize(("whose", "who_refuses"), [(CLIENT, FAR), (FAR, CLIENT)], ids=["client", "server"])
def test_revoked_certificate_is_refused_by_the_other_side(without_control_plane: Mesh, whose: str, who_refuses: str):
    """Nobody signs another one now. The other side's log says why."""
    mesh = without_control_plane
    way = Way(mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR))
    log = mesh.log(mesh.pod(MESH, who_refuses).node)
    with way.open() as live:
        publish_revoked(mesh, mesh.lab.serial_of(f"{MESH}/{whose}"))
        assert ends(live.connection)
    assert not way.allowed()
    until(lambda: [line for line in log.records() if "revoked" in str(line.get("error", ""))], "the log says why")
    assert all(one.allowed() for one in spared(mesh))


def held(mesh: Mesh, node: str) -> dict[str, Any]:
    """What a ztunnel decides from, by name."""
    dump = json.loads(mesh.get(node, ADMIN_PORT, "/config_dump"))
    workloads = {one["uid"]: one for one in dump["workloads"]}
    services = {one["name"]: one for one in dump["services"]}
    policies = {f"{one['namespace']}/{one['name']}": one for one in dump["policies"]}
    return {**workloads, **services, **policies}


@pytest.fixture
def rules(lasting: Mesh) -> Iterator[Rules]:
    rules = Rules(lasting)
    yield rules
    rules.delete(MESH, GUEST)


def talk_all_around(mesh: Mesh) -> None:
    """Everything that these tests talk to is asked for once."""
    for namespace in (MESH, GUEST):
        for name in (NEAR, FAR):
            until(Way(mesh.pod(namespace, CLIENT), mesh.pod(MESH, name)).allowed, "it is known")
        with mesh.talk_to_service(mesh.pod(namespace, CLIENT), MESH) as talk:
            talk.ask(b"?")


def test_control_plane_down_and_back(lasting: Mesh, rules: Rules):
    """What is known goes on; who is new waits for a certificate; and then all is as if it had never been away."""
    client, far = lasting.pod(MESH, CLIENT), lasting.pod(MESH, FAR)
    guest = Way(lasting.pod(GUEST, CLIENT), far)
    talk_all_around(lasting)
    with Way(client, far).open() as old, guest.open() as denied_later:
        lasting.lab.stop_program("controlplane")
        lasting.lab.apply({"late.yaml": yaml.safe_dump(pod(MESH, LATE, "node1", "late"), sort_keys=False) + "---\n" + _LATE_ACCOUNT})
        rules.apply(authorization("no-guests", source(namespaces=[GUEST])))
        late = captured(lasting)
        assert old.ask(b"still there?") == b"still there?"
        assert all(Way(client, lasting.pod(MESH, name)).allowed() for name in (NEAR, FAR))
        with lasting.talk_to_service(client, MESH) as talk:
            assert talk.ask(b"new flow") == b"new flow"
        assert guest.allowed()
        with pytest.raises(OSError):
            Way(late, far).open()
        lasting.lab.start_program("controlplane")
        lasting.lab.wait()
        assert ends(denied_later.connection)
        assert old.ask(b"still there?") == b"still there?"
    until(Way(late, far).allowed, "the new pod has its certificate")
    until(Way(client, late).allowed, "and is known")
    rules.settled(refused=[guest], allowed=[Way(client, far)])
    rules.delete(MESH, GUEST)
    as_after_a_fresh_start(lasting)


_LATE_ACCOUNT = f"{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: late, namespace: {MESH}}}}}"


def captured(mesh: Mesh) -> Place:
    """The pod that came late, once it is in the mesh."""

    def state() -> str:
        return next((one["mesh"] for one in mesh.lab.status()["pods"] if one["name"] == LATE), "")

    until(lambda: state() == "captured", "the new pod is captured")
    return Mesh(mesh.lab, mesh.capture).pod(MESH, LATE)


def as_after_a_fresh_start(mesh: Mesh) -> None:
    """A ztunnel that went through it holds the same as one that starts now, of what both were asked for."""
    talk_all_around(mesh)
    before = held(mesh, "node1")
    restart(mesh, "node1")
    talk_all_around(mesh)
    after = held(mesh, "node1")
    assert after
    assert after == {name: before.get(name) for name in after}
