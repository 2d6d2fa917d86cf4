"""What is missing on a machine is told all at once, each with what to do."""

import os
from pathlib import Path

import pytest

from ebpf.observe import requirements
from ebpf.observe.requirements import ObservationUnavailable, prepare


def problems_of(root: Path, python: str) -> tuple[str, ...]:
    with pytest.raises(ObservationUnavailable) as unavailable:
        prepare(root, python)
    return unavailable.value.problems


def test_everything_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    root, bcc, headers, btf = problems_of(tmp_path, "/nowhere/python3")
    assert root == "loading a program into the kernel needs root: run this as root"
    assert bcc == "bcc is missing for /nowhere/python3: apt-get install python3-bpfcc"
    assert headers.startswith("kernel headers are missing (any version serves): apt-get install linux-headers-")
    assert "sys/kernel/btf/vmlinux" in btf
    assert "CONFIG_DEBUG_INFO_BTF" in btf


def test_interpreter_without_bcc(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    assert f"bcc is missing for {tmp_path}/python3: apt-get install python3-bpfcc" in problems_of(tmp_path, f"{tmp_path}/python3")


def test_broken_btf(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/btf").mkdir(parents=True)
    (tmp_path / "sys/kernel/btf/vmlinux").write_bytes(b"nothing of the kind")
    assert "this kernel cannot be observed (broken BTF" in problems_of(tmp_path, "/nowhere")[-1]


@pytest.mark.parametrize(
    ("release", "package"),
    [("6.1.0-9-cloud-amd64", "linux-headers-6.1.0-9-cloud-amd64"), ("6.18.44-custom", "linux-headers-cloud-amd64")],
)
def test_package_of_headers(release: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements.os, "uname", lambda: os.uname_result(("Linux", "node", release, "#1", "x86_64")))
    assert any(problem.endswith(f"apt-get install {package}") for problem in problems_of(tmp_path, "/nowhere"))
