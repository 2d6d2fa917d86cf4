"""The mesh in a test cluster: installed by its chart, from an image of this checkout, and asked how it fares."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.images import load
from tests.cluster.processes import until
from tests.cluster.programs import HELM, programs

NAMESPACE = "ambient-system"
LABEL = "istio.io/dataplane-mode"
REDIRECTION = "ambient.istio.io/redirection"
_ROOT = Path(__file__).parents[2]
_CHART = _ROOT / "daemonset/chart"
# The image runs as nobody in particular, who may not listen below 1024.
_PORT = 8080
_VERSION = re.compile(r'^version = "(.+)"$', re.MULTILINE)
# A build from nothing takes a minute; installing takes ten seconds.
_TIMEOUT_S = 600


class HelmFailed(Exception):
    """With what it said."""


def _version() -> str:
    found = _VERSION.search((_ROOT / "pyproject.toml").read_text())
    assert found
    return found[1]


def image_name() -> str:
    return f"localhost/ambient-mesh:{_version()}"


def build_image() -> Path:
    """Builds the image of this checkout: an archive."""
    subprocess.run(["make", "-C", str(_ROOT), "image"], check=True, stdout=subprocess.DEVNULL, timeout=_TIMEOUT_S)
    return _ROOT / f"dist/ambient-mesh-{_version()}.tar"


@dataclass(frozen=True, slots=True)
class Mesh:
    cluster: Cluster

    def helm(self, *arguments: str) -> str:
        """Raises HelmFailed."""
        command = [str(programs(HELM) / "helm"), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.cluster.kubectl.environment, timeout=_TIMEOUT_S
        )
        if done.returncode:
            raise HelmFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def install(self, **values: str) -> None:
        """Installs the chart, and waits until all of it is ready."""
        load(self.cluster.layout, build_image())
        settings = [f"--set={key.replace('__', '.')}={value}" for key, value in values.items()]
        self.helm("install", "ambient", str(_CHART), "-n", NAMESPACE, "--create-namespace", "--wait", "--timeout=120s", *settings)

    def upgrade(self, **values: str) -> None:
        """Changes values of the chart, and waits until all is ready again."""
        settings = [f"--set={key.replace('__', '.')}={value}" for key, value in values.items()]
        self.helm("upgrade", "ambient", str(_CHART), "-n", NAMESPACE, "--reuse-values", "--wait", "--timeout=120s", *settings)

    def uninstall(self) -> None:
        self.helm("uninstall", "ambient", "-n", NAMESPACE, "--wait", "--timeout=180s")

    def label(self, namespace: str, value: str | None) -> None:
        """Lets a namespace join the mesh, or leave it."""
        word = f"{LABEL}={value}" if value is not None else f"{LABEL}-"
        self.cluster.kubectl("label", "namespace", namespace, word, "--overwrite")

    def redirected(self, namespace: str) -> dict[str, bool]:
        """Whether each running pod says that it is captured."""
        pods = self.cluster.kubectl.get("pods", "-n", namespace)["items"]
        return {
            pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(REDIRECTION) == "enabled"
            for pod in pods
            if pod["status"]["phase"] == "Running"
        }

    def pods_of(self, name: str) -> list[dict[str, Any]]:
        """The mesh's own pods: "ambient" on every node, or "ambient-controlplane"."""
        found: list[dict[str, Any]] = self.cluster.kubectl.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={name}")["items"]
        return found

    def ztunnel_lines(self, **fields: str) -> list[str]:
        """Lines of the ztunnels' logs that carry these fields; src_identity stands for src.identity, and so on."""
        wanted = [f"{name.replace('_', '.', 1)}={value}" for name, value in fields.items()]
        logs = [self.cluster.kubectl("logs", pod["metadata"]["name"], "-n", NAMESPACE, "-c", "ztunnel") for pod in self.pods_of("ambient")]
        return [line for log in logs for line in log.splitlines() if all(one in line.split() for one in wanted)]


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests that a pod sends all the time (app.py load).

    Args:
        pod: its name.
    """

    cluster: Cluster
    namespace: str
    pod: str = "load"

    def lines(self) -> list[str]:
        return self.cluster.kubectl("logs", self.pod, "-n", self.namespace).splitlines()

    def failures(self) -> list[str]:
        return [line for line in self.lines() if line.startswith("FAILED")]

    def done(self) -> int:
        """How many requests have been answered, one way or another."""
        return max((int(line.split()[2]) for line in self.lines() if line.startswith("DONE")), default=0)

    def goes_on(self, requests: int = 1000) -> None:
        """Waits until so many more have been answered."""
        enough = self.done() + requests
        until(lambda: self.done() >= enough, f"{requests} more requests are answered", self.cluster.layout)


def servers() -> str:
    """Manifests: a web server on every node, and its service."""
    script = (Path(__file__).parent / "app.py").read_text()
    probe = {"tcpSocket": {"port": _PORT}, "periodSeconds": 1}
    web = {"metadata": {"labels": {"app": "web"}}, "spec": _pod_spec("web", ["serve", str(_PORT)], readinessProbe=probe)}
    return _list(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"app.py": script}},
        *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in ("web", "load")),
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": web},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": _PORT}]},
        },
    )


def client(rate: int) -> str:
    """The manifest of a pod that sends so many requests a second to the servers."""
    labels = {"app": "load"}
    spec = _pod_spec("load", ["load", "web:80", str(rate)])
    return _list({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load", "labels": labels}, "spec": spec})


def _pod_spec(account: str, arguments: list[str], **container: object) -> dict[str, Any]:
    return {
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "app", "configMap": {"name": "app"}}],
        "containers": [
            {
                "name": account,
                "image": image_name(),
                "command": ["python3", "-u", "/app/app.py", *arguments],
                "volumeMounts": [{"name": "app", "mountPath": "/app"}],
                **container,
            }
        ],
    }


def _list(*objects: Mapping[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
