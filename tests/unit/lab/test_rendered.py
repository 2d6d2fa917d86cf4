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
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: again.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: again, namespace: shop}
spec: {type: ExternalName, externalName: payments.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: loop}
spec: {type: ExternalName, externalName: loop.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: www.example.org}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.example.com, "*.example.com"]
  addresses: [240.0.0.1, 240.0.1.0/24]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: metrics, namespace: shop}
spec: {hosts: [metrics.example.com], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 192.0.2.2}]}
"""


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_rules(build: Build, web: Cluster):
    compare("services.nft", nftables.render(virtual_ports(build(MORE, onto=web), "node1")))


def test_rules_of_nothing():
    compare("no-services.nft", nftables.render(()))


def test_hosts_of_a_namespace(build: Build, web: Cluster):
    compare("hosts-default", hosts.render(build(MORE, onto=web), "default"))


def test_hosts_of_another_namespace(build: Build, web: Cluster):
    compare("hosts-shop", hosts.render(build(MORE, onto=web), "shop"))
