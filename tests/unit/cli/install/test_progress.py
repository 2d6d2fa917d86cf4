"""When a rollout is done: every pod is ready, and of the new version."""

from typing import Any

import pytest

from cli.install.progress import progress_of

GENERATION = {"generation": 2}


def _daemonset(**status: int) -> dict[str, Any]:
    return {"kind": "DaemonSet", "metadata": GENERATION, "spec": {}, "status": {"observedGeneration": 2, **status}}


def _deployment(**status: int) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": GENERATION, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("workload", "done", "said"),
    [
        (None, False, "x: 0 of 1 ready, 0 of the new version"),
        (_daemonset(desiredNumberScheduled=2, numberReady=2, updatedNumberScheduled=2), True, "x: 2 of 2 ready"),
        (_daemonset(desiredNumberScheduled=2, numberReady=1, updatedNumberScheduled=2), False, "x: 1 of 2 ready"),
        (_daemonset(desiredNumberScheduled=2, numberReady=2, updatedNumberScheduled=1), False, "x: 2 of 2 ready, 1 of the new version"),
        (_daemonset(desiredNumberScheduled=2, numberReady=2, updatedNumberScheduled=2, observedGeneration=1), False, "x: 2 of 2 ready"),
        (_deployment(replicas=2, readyReplicas=2, updatedReplicas=2), True, "x: 2 of 2 ready"),
        # Those of before are still there.
        (_deployment(replicas=3, readyReplicas=3, updatedReplicas=2), False, "x: 3 of 2 ready"),
        (_deployment(), False, "x: 0 of 2 ready, 0 of the new version"),
    ],
)
def test_progress(workload: dict[str, Any] | None, done: bool, said: str) -> None:
    progress = progress_of("x", workload)
    assert (progress.done, str(progress)) == (done, said)
