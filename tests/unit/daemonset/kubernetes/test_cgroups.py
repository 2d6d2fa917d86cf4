"""Whose a process is, in every spelling that kubelets use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemonset.kubernetes.cgroups import pod_uid

UID, OTHER = "46f0e7a3-750c-463d-8a6c-b2e125937063", "ea2a766c-4ac9-46d6-a45b-826758a89388"
CONTAINER = "8a" * 32


@pytest.mark.parametrize(
    ("cgroups", "uid"),
    [
        pytest.param(f"12:pids:/kubepods/besteffort/pod{UID}/{CONTAINER}\n1:name=systemd:/x\n", UID, id="version 1, cgroupfs"),
        pytest.param(f"0::/node1/kubepods/pod{UID}/{CONTAINER}\n", UID, id="version 2, cgroupfs, guaranteed, below another group"),
        pytest.param(
            f"0::/kubepods.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope\n",
            UID,
            id="systemd",
        ),
        pytest.param(f"0::/kubepods/pod{OTHER}/{CONTAINER}/kubelet/kubepods/pod{UID}/{CONTAINER}", UID, id="a node inside of a pod"),
        pytest.param(f"0::/kubepods/pod{UID}", UID, id="the pod's own group"),
        pytest.param("0::/system.slice/containerd.service\n", None, id="no pod"),
        pytest.param(f"0::/kubepods/pod{UID}x/{CONTAINER}\n", None, id="longer than a uid"),
        pytest.param("0::/kubepods/pod0123456789abcdef0123456789abcdef/x\n", None, id="a static pod's hash"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_pod_of_a_process(cgroups: str, uid: str | None) -> None:
    assert pod_uid(cgroups) == uid


@given(st.text())
def test_whatever_a_group_is_called(cgroups: str) -> None:
    assert pod_uid(cgroups) is None or len(pod_uid(cgroups) or "") == len(UID)
