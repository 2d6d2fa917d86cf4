"""Golden files: what a node's nftables and a pod's /etc/hosts hold. `UPDATE_GOLDEN=1 pytest` writes them anew."""

import os
from collections.abc import Callable
from pathlib import Path

from lab import hosts, nftables
from lab.cluster import Cluster
from lab.endpoints import virtual_ports

Build = Callable[..., Cluster]
GOLDEN = Path(__file__).parents[2] / "golden" / "lab"
MORE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 53, targetPort: 5353, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{port: 443}]}
"""


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_rules(build: Build, web: Cluster):
    compare("services.nft", nftables.render(virtual_ports(build(MORE, onto=web))))


def test_rules_of_nothing():
    compare("no-services.nft", nftables.render(()))


def test_hosts_of_a_namespace(build: Build, web: Cluster):
    compare("hosts-default", hosts.render(build(MORE, onto=web), "default"))


def test_hosts_of_another_namespace(build: Build, web: Cluster):
    compare("hosts-shop", hosts.render(build(MORE, onto=web), "shop"))
