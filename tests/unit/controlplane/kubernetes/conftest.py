"""Runs tests that are coroutines (conftest.py of the folder above does), and gives them a cluster in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.kubernetes import cluster_authority, election, leadership, status_writer
from runtime.backoff import Backoff
from runtime.kubernetes import following
from tests.unit.controlplane.kubernetes.cluster import InCluster


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InCluster]:
    """A cluster whose control planes look every few milliseconds, for the API server is in memory."""
    monkeypatch.setattr(cluster_authority, "POLL_S", 0.02)
    monkeypatch.setattr(leadership, "RETRY_S", 0.02)
    monkeypatch.setattr(election, "RENEW_WITHIN_S", 1.0)
    monkeypatch.setattr(election, "LEASE_S", 2.0)
    monkeypatch.setattr(following, "CONFIRM", Backoff(0.02, 0.02))
    monkeypatch.setattr(status_writer, "EACH_S", 0.0)
    monkeypatch.setattr(status_writer, "LOOK_S", 0.02)
    return InCluster(tmp_path)
