"""Generates what is compiled and not written: protobuf modules from mesh/wire, BPF objects from ebpf/programs."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOC_PLUGINS = ("mypy", "mypy_grpc", "grpclib_python")


def find_tool(name: str) -> str:
    """The path of a program: beside the running interpreter (a virtual environment that is not activated), or on PATH (an isolated build).

    Raises:
        SystemExit: it is in neither place; says which program it is.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    tool = shutil.which(name, path=path)
    if tool is None:
        raise SystemExit(f"building ambient-mesh needs the program {name}, which is not installed")
    return tool


def generate_protobuf(root: Path) -> None:
    """Writes *_pb2.py, *_pb2.pyi and gRPC stubs (grpcio's and grpclib's) beside each .proto of mesh/wire."""
    protos = sorted(str(proto.relative_to(root)) for proto in (root / "mesh/wire").glob("*.proto"))
    outputs = ["--python_out=.", "--mypy_out=quiet:.", "--grpc_python_out=.", "--mypy_grpc_out=quiet:.", "--grpclib_python_out=."]
    plugins = [f"--plugin=protoc-gen-{name}={find_tool(f'protoc-gen-{name}')}" for name in PROTOC_PLUGINS]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *plugins, *outputs, *protos], cwd=root, check=True)


def compile_bpf(root: Path) -> None:
    """Compiles ebpf/programs/NAME.bpf.c to ebpf/objects/NAME.bpf.o; they need the stable BPF interface alone, no kernel headers."""
    objects = root / "ebpf/objects"
    objects.mkdir(parents=True, exist_ok=True)
    # linux/types.h includes asm/types.h, which Debian keeps under the host's multiarch directory.
    # The map of prefixes: an object says where its source lies, and must not depend on it.
    where = f"-ffile-prefix-map={root}=."
    flags = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", where, f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"]
    for source in sorted((root / "ebpf/programs").glob("*.bpf.c")):
        target = objects / source.name.replace(".bpf.c", ".bpf.o")
        subprocess.run([find_tool("clang"), *flags, "-c", str(source), "-o", str(target)], check=True)


def generate(root: Path) -> None:
    """Generates everything; what was there is overwritten."""
    generate_protobuf(root)
    compile_bpf(root)


class GenerateHook(BuildHookInterface[Any]):
    """Runs before every build of the wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates into the source tree; pyproject.toml lists the results as artifacts."""
        generate(Path(self.root))


if __name__ == "__main__":
    generate(Path(__file__).resolve().parent)
