"""Our taint goes; whatever else a node has stays."""

import pytest

from daemonset.kubernetes.taint import NOT_READY_TAINT, untainted

OURS = {"key": NOT_READY_TAINT, "effect": "NoExecute"}
OTHER = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("node", "left"),
    [
        ({"spec": {"taints": [OURS]}}, []),
        ({"spec": {"taints": [OTHER, OURS, {**OURS, "effect": "NoSchedule"}]}}, [OTHER]),
        ({"spec": {"taints": [OTHER]}}, None),
        ({"spec": {}}, None),
        ({}, None),
    ],
)
def test_untainted(node: dict[str, object], left: list[object] | None) -> None:
    assert untainted(node) == left
