"""Parts of the mesh end under load: what may stop stops, what may not goes on, and all of it comes back."""

import pytest

from tests.cluster.mesh import NAMESPACE, Mesh, Stream
from tests.cluster.processes import until


@pytest.fixture
def meshed(mesh: Mesh, stream: Stream, namespace: str) -> Stream:
    """The stream, inside of the mesh."""
    mesh.label(namespace, "ambient")
    until(lambda: all(mesh.redirected(namespace).values()), "every pod is captured", mesh.cluster.layout)
    stream.goes_on()
    return stream


def started(mesh: Mesh, name: str, container: str) -> dict[str, int]:
    """How often that container of each of the mesh's pods was started again."""
    return {
        pod["metadata"]["name"]: status["restartCount"]
        for pod in mesh.pods_of(name)
        for status in pod["status"]["containerStatuses"]
        if status["name"] == container and status["ready"]
    }


def kill(mesh: Mesh, name: str, container: str, program: str) -> None:
    """Ends a program of every pod of that name as a crash would, and waits until each runs again."""
    before = started(mesh, name, container)
    assert before
    for node in mesh.cluster.layout.nodes:
        mesh.cluster.kill(node, program)
    again = {pod: count + 1 for pod, count in before.items()}
    until(lambda: started(mesh, name, container) == again, f"{container} of {name} runs again", mesh.cluster.layout)


def test_agents_are_killed_and_no_request_fails(mesh: Mesh, meshed: Stream) -> None:
    kill(mesh, "ambient", "agent", "ambient-agent")
    meshed.goes_on()
    assert meshed.failures() == []


def test_the_control_plane_is_killed_and_no_request_fails(mesh: Mesh, meshed: Stream) -> None:
    kill(mesh, "ambient-controlplane", "controlplane", "ambient-controlplane")
    meshed.goes_on()
    assert meshed.failures() == []


def test_ztunnels_are_killed_and_requests_go_on_in_tunnels(mesh: Mesh, meshed: Stream, namespace: str) -> None:
    """Meanwhile they fail: nothing may leave in plaintext."""
    kill(mesh, "ambient", "ztunnel", "ztunnel")
    meshed.goes_on()
    mark = len(meshed.failures())
    meshed.goes_on()
    assert len(meshed.failures()) == mark
    identity = f"spiffe://cluster.local/ns/{namespace}/sa/load"
    assert mesh.ztunnel_lines(src_identity=identity, direction="outbound"), "the new ztunnels carry it"


def test_the_mesh_is_restarted_by_and_by_and_no_request_fails(mesh: Mesh, meshed: Stream) -> None:
    mesh.cluster.kubectl("rollout", "restart", "daemonset/ambient", "-n", NAMESPACE)
    mesh.cluster.kubectl("rollout", "status", "daemonset/ambient", "-n", NAMESPACE, "--timeout=120s")
    meshed.goes_on()
    assert meshed.failures() == []
