"""A real API server with etcd and nothing else, and control planes as processes on it, with the permissions that the chart gives them."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml

from mesh.wire import ca_pb2, ca_pb2_grpc
from tests.cluster.programs import KUBERNETES, OLDEST, programs

ROOT = Path(__file__).parents[3]
CHART = ROOT / "daemonset/chart"
NAMESPACE = "ambient-system"
# "oldest": the oldest API server that the mesh runs with, instead of the current one.
_VERSION = {"": KUBERNETES, "oldest": OLDEST}[os.environ.get("AMBIENT_API_SERVER", "")]
# A machine that does other things as well.
WITHIN_S = 40.0
_ADMIN = "admin-of-the-test"


def eventually(check: Callable[[], Any], what: str = "", within_s: float = WITHIN_S) -> Any:
    """Asks until the answer is true, and returns it; what cannot be asked yet counts as false."""
    end, last = time.monotonic() + within_s, None
    while time.monotonic() < end:
        try:
            if found := check():
                return found
        except (OSError, http.client.HTTPException, AssertionError, KeyError, grpc.RpcError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s: {what} {last or ''}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class ApiServer:
    """etcd and kube-apiserver.

    Args:
        directory: of their state.
    """

    directory: Path
    etcd_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    _etcd: subprocess.Popen[bytes] | None = None
    _server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        return self.directory / "certificates/apiserver.crt"

    def start(self) -> None:
        peer, etcd_url = free_port(), f"http://127.0.0.1:{self.etcd_port}"
        (self.directory / "tokens.csv").write_text(f"{_ADMIN},admin,1,system:masters\n")
        self._run("openssl", "genrsa", "-out", str(self.directory / "accounts.key"), "2048")
        self._etcd = self._spawn(
            "etcd",
            *("--data-dir", str(self.directory / "etcd"), "--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"),
        )
        self.start_server()

    def start_server(self) -> None:
        key = str(self.directory / "accounts.key")
        self._server = self._spawn(
            str(programs(_VERSION) / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.directory / 'certificates'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            # The test's first compaction is its own.
            "--etcd-compaction-interval=0",
        )
        eventually(lambda: self.ask("GET", "/readyz", raw=True)[0] == 200, "the API server is ready")

    def kill_server(self) -> None:
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def stop(self) -> None:
        for process in (self._server, self._etcd):
            if process is not None:
                process.kill()
                process.wait()

    def compact(self) -> None:
        """Has etcd forget the past. Source: etcd, gRPC gateway."""

        def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
            connection = http.client.HTTPConnection("127.0.0.1", self.etcd_port, timeout=10)
            connection.request("POST", path, json.dumps(body))
            return dict(json.load(connection.getresponse()))

        key = base64.b64encode(b"x").decode()
        revision = call("/v3/kv/range", {"key": key})["header"]["revision"]
        call("/v3/kv/compaction", {"revision": revision, "physical": True})

    def ask(
        self, method: str, path: str, body: Any = None, *, raw: bool = False, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Makes a request as the administrator."""
        context = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        headers = {"Authorization": f"Bearer {_ADMIN}", "Content-Type": content_type}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            content = response.read()
            return response.status, content if raw else json.loads(content)
        finally:
            connection.close()

    def make(self, path: str, *objects: dict[str, Any]) -> None:
        for one in objects:
            status, answer = self.ask("POST", path, one)
            assert status == 201, answer

    def get(self, path: str) -> Any:
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def kubectl(self, *arguments: str) -> str:
        command = ["kubectl", f"--server={self.url}", f"--token={_ADMIN}", f"--certificate-authority={self.authority}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


def custom_resources() -> Iterator[dict[str, Any]]:
    """The CRDs of the chart."""
    for path in sorted((CHART / "files/crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        schema = {
            "type": "object",
            "properties": {"spec": crd["spec"], "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        versions = [
            {"name": name, "served": True, "storage": position == 0, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}
            for position, name in enumerate(crd["versions"])
        ]
        yield {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{crd['names']['plural']}.{crd['group']}"},
            "spec": {"group": crd["group"], "scope": "Namespaced", "names": crd["names"], "versions": versions},
        }


def permissions() -> Iterator[tuple[str, dict[str, Any]]]:
    """The permissions that the chart gives the control plane, each with the path where it is made."""
    text = re.sub(r"\{\{ \.Release\.Namespace \}\}", NAMESPACE, (CHART / "templates/rbac.yaml").read_text())
    documents = ("\n".join(line for line in one.splitlines() if "{{" not in line) for one in text.split("\n---\n"))
    root, name = "/apis/rbac.authorization.k8s.io/v1", "ambient-controlplane"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    for one in map(yaml.safe_load, documents):
        if one["kind"] not in {"ClusterRole", "Role"} or one["metadata"]["name"] != name:
            continue
        scope = root if one["kind"] == "ClusterRole" else f"{root}/namespaces/{NAMESPACE}"
        plural = one["kind"].lower() + "s"
        yield f"{scope}/{plural}", one
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": one["kind"], "name": name}
        binding = {"apiVersion": one["apiVersion"], "kind": f"{one['kind']}Binding", "metadata": {"name": name}}
        yield f"{scope}/{plural.removesuffix('s')}bindings", {**binding, "roleRef": reference, "subjects": [subject]}


def pod(name: str, namespace: str = "shop", node: str = "n1", account: str = "default") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "annotations": {"ambient.istio.io/redirection": "enabled"}},
        "spec": {"nodeName": node, "serviceAccountName": account, "containers": [{"name": "c", "image": "none"}]},
    }


@dataclass
class Ground:
    """The API server with what a control plane needs there."""

    server: ApiServer
    directory: Path

    def prepare(self, *, crds: bool = True) -> None:
        server = self.server
        if crds:
            self.install_crds()
        for name, labels in ((NAMESPACE, {}), ("shop", {"istio.io/dataplane-mode": "ambient"})):
            server.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
            server.make(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        for name in ("ambient", "ambient-controlplane"):
            server.make(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": name}})
        for path, one in permissions():
            server.make(path, one)
        server.make("/api/v1/nodes", {"metadata": {"name": "n1"}}, {"metadata": {"name": "n2"}})

    def install_crds(self) -> None:
        self.server.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", *custom_resources())
        for one in custom_resources():
            group, plural = one["spec"]["group"], one["spec"]["names"]["plural"]
            path = f"/apis/{group}/{one['spec']['versions'][0]['name']}/{plural}"
            eventually(lambda path=path: self.server.ask("GET", path, raw=True)[0] == 200, path)

    def run_pod(self, name: str, ip: str, **more: Any) -> None:
        """Makes a pod, and plays its kubelet."""
        data = pod(name, **more)
        path = f"/api/v1/namespaces/{data['metadata']['namespace']}/pods"
        self.server.make(path, data)
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}
        code, answer = self.server.ask("PATCH", f"{path}/{name}/status", {"status": status}, content_type="application/merge-patch+json")
        assert code == 200, answer

    def token(self, account: str, *, bound_to: str = "", audience: str = "https://kubernetes.default.svc") -> str:
        """Makes a token as a kubelet would have it made for a pod."""
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": 3600}
        if bound_to:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": bound_to}
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        status, answer = self.server.ask("POST", path, {"spec": spec})
        assert status == 201, answer
        return str(answer["status"]["token"])

    def bundle(self) -> bytes:
        found = self.server.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/istio-ca-root-cert")
        return str(found["data"]["root-cert.pem"]).encode()

    @contextmanager
    def plane(self, name: str = "plane-1", **settings: str) -> Iterator["Plane"]:
        """Runs a control plane as a process."""
        token = self.directory / f"{name}.token"
        token.write_text(self.token("ambient-controlplane"))
        kubeconfig = self.directory / f"{name}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.server.url, "certificate-authority": str(self.server.authority)}}],
            "users": [{"name": "u", "user": {"tokenFile": str(token)}}],
        }
        kubeconfig.write_text(yaml.safe_dump(content))
        plane = Plane(self, name, free_port(), free_port(), self.directory / f"{name}.log")
        environment = {
            "PATH": os.environ["PATH"],
            "SOURCE": "kubernetes",
            "KUBECONFIG": str(kubeconfig),
            "POD_NAMESPACE": NAMESPACE,
            "POD_NAME": name,
            "NODE_PROXY_ACCOUNTS": f"{NAMESPACE}/ambient",
            "LISTEN_ADDR": f"127.0.0.1:{plane.grpc_port}",
            "READINESS_ADDR": f"127.0.0.1:{plane.readiness_port}",
            "LOG_FORMAT": "json",
            **settings,
        }
        command = [sys.executable, "-c", "import sys; from controlplane.main import main; sys.exit(main())"]
        with plane.log.open("ab") as log, subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log) as process:
            plane.process = process
            try:
                yield plane
            finally:
                process.kill()


@dataclass
class Plane:
    """A control plane as those see it who talk to it."""

    ground: Ground
    name: str
    grpc_port: int
    readiness_port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def page(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.readiness_port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def ready(self) -> None:
        eventually(lambda: self.page("/healthz/ready")[0] == 200, f"{self.name} is ready")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [one for one in lines if one["event"] == name]

    def kinds(self) -> dict[str, dict[str, Any]]:
        return {one["resource"]: one for one in json.loads(self.page("/kinds")[1])}

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        options = [("grpc.ssl_target_name_override", "controlplane.ambient")]
        credentials = grpc.ssl_channel_credentials(self.ground.bundle())
        with grpc.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials, options) as channel:
            yield channel

    def sign(self, csr: str, identity: str, token: str) -> list[str]:
        request = ca_pb2.IstioCertificateRequest(csr=csr)
        request.metadata["ImpersonatedIdentity"] = identity
        with self.channel() as channel:
            stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
            response = stub.CreateCertificate(request, metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            return list(response.cert_chain)

    def peak_mib(self) -> int:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) // 1024


@contextmanager
def ground(directory: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        server = ApiServer(directory)
        stack.callback(server.stop)
        server.start()
        yield Ground(server, directory)
