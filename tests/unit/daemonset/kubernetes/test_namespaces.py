"""Finding pods' network namespaces, in a directory that looks like /proc: files stand for namespaces."""

import os
from pathlib import Path

import pytest

from daemonset.kubernetes.namespaces import ProcessNamespaces

UIDS = [f"46f0e7a3-750c-463d-8a6c-b2e12593706{digit}" for digit in range(3)]
A, B, C = UIDS


class Proc:
    """/proc of a node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = 0.0
        (root / "node-netns").touch()
        (root / "self").mkdir()

    def start(self, pid: int, uid: str, netns: str) -> None:
        """A process of a pod, in the namespace of that name."""
        directory = self.root / str(pid)
        (directory / "ns").mkdir(parents=True)
        (directory / "cgroup").write_text(f"0::/kubepods/pod{uid}/container\n")
        (self.root / netns).touch()
        os.link(self.root / netns, directory / "ns/net")

    def end(self, pid: int) -> None:
        (self.root / str(pid) / "cgroup").unlink()
        (self.root / str(pid) / "ns/net").unlink()

    def identity(self, netns: str) -> tuple[int, int]:
        status = (self.root / netns).stat()
        return status.st_dev, status.st_ino


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.fixture
def namespaces(proc: Proc) -> ProcessNamespaces:
    return ProcessNamespaces(proc.root, proc.root / "node-netns", lambda: proc.now_s)


def test_a_pod_has_the_namespace_of_its_processes(proc: Proc, namespaces: ProcessNamespaces) -> None:
    proc.start(10, A, "a")
    proc.start(11, B, "b")
    assert namespaces.scan(UIDS, frozenset(UIDS)) == {A: proc.identity("a"), B: proc.identity("b")}
    descriptor = namespaces.open(A)
    try:
        assert os.fstat(descriptor).st_ino == proc.identity("a")[1]
    finally:
        os.close(descriptor)


def test_a_pod_on_the_nodes_network_has_none(proc: Proc, namespaces: ProcessNamespaces) -> None:
    proc.start(10, A, "node-netns")
    assert namespaces.scan(UIDS, frozenset(UIDS)) == {}


def test_only_what_is_wanted_is_searched_for_and_what_is_known_is_told(proc: Proc, namespaces: ProcessNamespaces) -> None:
    proc.start(10, A, "a")
    assert namespaces.scan(UIDS, frozenset()) == {}
    assert set(namespaces.scan(UIDS, frozenset({A}))) == {A}
    assert set(namespaces.scan(UIDS, frozenset())) == {A}


def test_another_process_of_the_pod_takes_over_from_one_that_ended(proc: Proc, namespaces: ProcessNamespaces) -> None:
    proc.start(10, A, "a")
    namespaces.scan([A], frozenset({A}))
    proc.end(10)
    proc.start(12, A, "a")
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("a")}


def test_a_number_that_belongs_to_another_pod_now_is_not_believed(proc: Proc, namespaces: ProcessNamespaces) -> None:
    proc.start(10, A, "a")
    namespaces.scan([A], frozenset({A}))
    proc.end(10)
    (proc.root / "10/cgroup").write_text(f"0::/kubepods/pod{B}/container\n")
    os.link(proc.root / "a", proc.root / "10/ns/net")
    assert namespaces.scan([A], frozenset({A})) == {}
    with pytest.raises(OSError):
        namespaces.open(A)


def test_a_pod_that_was_never_seen_cannot_be_opened(namespaces: ProcessNamespaces) -> None:
    with pytest.raises(OSError):
        namespaces.open(C)


def test_a_node_without_a_namespace_of_its_own_is_an_error(proc: Proc) -> None:
    with pytest.raises(OSError):
        ProcessNamespaces(proc.root, proc.root / "nowhere")


def handed(proc: Proc, name: str) -> int:
    (proc.root / name).touch()
    return os.open(proc.root / name, os.O_RDONLY)


def test_a_pod_that_is_about_to_start_has_the_namespace_that_was_handed_over_until_it_has_a_process(
    proc: Proc, namespaces: ProcessNamespaces
) -> None:
    descriptor = handed(proc, "a")
    namespaces.hand_over(A, descriptor)
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("a")}
    opened = namespaces.open(A)
    assert os.fstat(opened).st_ino == proc.identity("a")[1]
    os.close(opened)
    proc.start(10, A, "a")
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("a")}
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_runtime_on_its_way_into_the_pod_changes_nothing(proc: Proc, namespaces: ProcessNamespaces) -> None:
    """It is in the pod's control group already, and in the node's network namespace still."""
    namespaces.hand_over(A, handed(proc, "a"))
    proc.start(10, A, "node-netns")
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("a")}
    proc.start(11, A, "a")
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("a")}


def test_another_attempt_to_start_brings_another_namespace(proc: Proc, namespaces: ProcessNamespaces) -> None:
    first, second = handed(proc, "a"), handed(proc, "b")
    namespaces.hand_over(A, first)
    namespaces.hand_over(A, second)
    assert namespaces.scan([A], frozenset({A})) == {A: proc.identity("b")}
    with pytest.raises(OSError):
        os.fstat(first)


def test_what_was_handed_over_for_a_pod_that_is_gone_is_let_go(proc: Proc, namespaces: ProcessNamespaces) -> None:
    descriptor = handed(proc, "a")
    namespaces.hand_over(A, descriptor)
    # Of a pod that was handed over just now, whoever asks may not know yet.
    assert namespaces.scan([B], frozenset()) == {}
    assert set(namespaces.scan([A], frozenset({A}))) == {A}
    proc.now_s = 120
    assert namespaces.scan([B], frozenset()) == {}
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.mark.parametrize("path", ["node-netns", "/proc/self/ns/net"])
def test_the_nodes_own_and_what_is_no_namespace_is_not_taken(proc: Proc, namespaces: ProcessNamespaces, path: str) -> None:
    descriptor = os.open(proc.root / path, os.O_RDONLY)
    with pytest.raises(OSError):
        namespaces.hand_over(A, descriptor)
    os.close(descriptor)
