"""Headers: found where distributions put them, of the running kernel first, of any other else."""

from pathlib import Path

from ebpf.observe.headers import Headers, find_headers

RELEASE = "6.1.0-9-cloud-amd64"


def tree(directory: Path, *, source: bool, build: bool) -> Path:
    for wanted, file in ((source, "include/linux/kconfig.h"), (build, "include/generated/autoconf.h")):
        if wanted:
            (directory / file).parent.mkdir(parents=True)
            (directory / file).touch()
    return directory


def debian(root: Path, release: str) -> Path:
    """Debian keeps what it generates for a flavour apart from what all flavours share."""
    common = tree(root / f"usr/src/linux-headers-{release}-common", source=True, build=False)
    flavour = tree(root / f"usr/src/linux-headers-{release}", source=False, build=True)
    (flavour / "arch/x86/include/generated").mkdir(parents=True)
    modules = root / f"lib/modules/{release}"
    modules.mkdir(parents=True)
    (modules / "source").symlink_to(common)
    (modules / "build").symlink_to(flavour)
    return common


def test_none(tmp_path: Path) -> None:
    assert find_headers(tmp_path, RELEASE) is None


def test_debian(tmp_path: Path) -> None:
    common = debian(tmp_path, RELEASE)
    flavour = tmp_path / f"usr/src/linux-headers-{RELEASE}"
    assert find_headers(tmp_path, RELEASE) == Headers(common, (f"-I{flavour}/include", f"-I{flavour}/arch/x86/include/generated"))


def test_the_running_kernels_win_over_others(tmp_path: Path) -> None:
    debian(tmp_path, "5.10.0-1-cloud-amd64")
    common = debian(tmp_path, RELEASE)
    found = find_headers(tmp_path, RELEASE)
    assert found is not None
    assert found.source == common


def test_another_version_serves(tmp_path: Path) -> None:
    common = debian(tmp_path, "5.10.0-1-cloud-amd64")
    found = find_headers(tmp_path, RELEASE)
    assert found is not None
    assert found.source == common


def test_one_tree_for_all(tmp_path: Path) -> None:
    whole = tree(tmp_path / "usr/src/linux-headers-6.5.0-1-generic", source=True, build=True)
    assert find_headers(tmp_path, RELEASE) == Headers(whole, ())


def test_link_to_nowhere_is_passed_over(tmp_path: Path) -> None:
    modules = tmp_path / f"lib/modules/{RELEASE}"
    modules.mkdir(parents=True)
    (modules / "build").symlink_to("/nowhere")
    assert find_headers(tmp_path, RELEASE) is None
