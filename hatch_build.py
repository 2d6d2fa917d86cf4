"""Generates what is compiled and not written: protobuf modules from mesh/wire, BPF objects from ebpf/programs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def generate_protobuf(root: Path) -> None:
    """Writes *_pb2.py, *_pb2.pyi and gRPC stubs (grpcio's and grpclib's) beside each .proto of mesh/wire."""
    protos = sorted(str(proto.relative_to(root)) for proto in (root / "mesh/wire").glob("*.proto"))
    outputs = ["--python_out=.", "--mypy_out=quiet:.", "--grpc_python_out=.", "--mypy_grpc_out=quiet:.", "--grpclib_python_out=."]
    plugins = [f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc", "grpclib_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *plugins, *outputs, *protos], cwd=root, check=True)


def compile_bpf(root: Path) -> None:
    """Compiles ebpf/programs/NAME.bpf.c to ebpf/objects/NAME.bpf.o; they need the stable BPF interface alone, no kernel headers."""
    objects = root / "ebpf/objects"
    objects.mkdir(exist_ok=True)
    # linux/types.h includes asm/types.h, which Debian keeps under the host's multiarch directory.
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    for source in sorted((root / "ebpf/programs").glob("*.bpf.c")):
        target = objects / source.name.replace(".bpf.c", ".bpf.o")
        command = ["clang", "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", f"-I/usr/include/{multiarch}", "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)


def generate(root: Path) -> None:
    generate_protobuf(root)
    compile_bpf(root)


class GenerateHook(BuildHookInterface[Any]):
    """Runs before every build of the wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate(Path(self.root))


if __name__ == "__main__":
    generate(Path(__file__).parent)
