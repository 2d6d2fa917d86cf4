"""What is in the image: programs and libraries of Debian, the locked dependencies, and ours."""

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path
from py_compile import PycInvalidationMode

from daemonset.image.archive import Layer
from daemonset.image.tree import EPOCH_S, pack

_PROJECT = Path(__file__).parents[2]
_SUITE = "bookworm"
# What the processes run: Python with its standard library; libbpf, which loads the capture programs; both back ends of iptables, and nft,
# since a node decides which one it is; the C++ library, which gRPC is linked with. What these need, apt knows.
_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libbpf1", "iptables", "nftables", "libgcc-s1", "libstdc++6", "netbase")
# Of those packages: what only people at a terminal, package managers and other programs use.
_SUPERFLUOUS = (
    "dev", "tmp", "var", "usr/games", "usr/include", "usr/libexec", "usr/share/[!dp]*", "usr/share/p[!y]*", "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*", "usr/share/dpkg", "usr/share/debconf", "usr/share/debianutils", "usr/share/doc-base",
    "usr/lib/*-linux-*/gconv", "usr/lib/*-linux-*/perl*", "usr/lib/dpkg", "usr/lib/systemd", "usr/lib/mime", "usr/lib/terminfo",
    "usr/lib/valgrind", "usr/lib32", "usr/libx32", "usr/libo32",
    "etc/[!aegips]*", "etc/apt", "etc/alternatives", "etc/init*", "etc/perl", "etc/profile*", "etc/systemd", "etc/security", "etc/pam*",
    "usr/bin/[!p]*", "usr/bin/p[!y]*", "usr/sbin/*-apply", "usr/sbin/*tables-translate", "usr/sbin/*-restore-translate",
    "usr/sbin/arptables*",
    "usr/sbin/ebtables*", "usr/sbin/*tar*", "usr/sbin/dpkg*", "usr/sbin/start-stop-daemon", "usr/sbin/xtables-monitor", "usr/sbin/nfnl_osf",
    "usr/lib/python3.11/pydoc_data", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/__phello__",
    # Modules that bring a database, terminals and Kerberos with them, and what they bring.
    *(f"usr/lib/python3.11/lib-dynload/{name}.*" for name in ("_dbm", "readline", "_curses", "_curses_panel", "nis")),
    *(f"usr/lib/python3.11/{name}" for name in ("dbm", "curses")),
    *(
        f"usr/lib/*-linux-*/lib{name}[.-]*"
        for name in (
            "db", "readline", "history", "ncursesw", "formw", "menuw", "panelw", "tic", "gssapi_krb5", "krb5", "k5crypto",
            "krb5support", "com_err", "keyutils", "tirpc", "acl", "selinux", "pcre2-8", "mvec", "c_malloc_debug", "memusage", "pcprofile",
            "thread_db", "BrokenLocale", "zstd", "nss_hesiod", "nss_compat",
        )
    ),
    "usr/lib/*-linux-*/libnsl.so.2*", "usr/lib/*-linux-*/krb5", "etc/gss",
)  # fmt: skip
# Of the dependencies: scripts, and records of them, which name the builder's interpreter; tests; types, and what a compiler reads;
# what colours source code; Envoy's API for filters, and its version 2; of Kubernetes' client all but where the API server is: 120 MB.
_SUPERFLUOUS_MODULES = (
    "bin", "*.dist-info/RECORD", "**/tests", "**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.c", "**/*.h", "pygments", "envoy/extensions",
    "envoy/api", "kubernetes/aio", "kubernetes/client/api/[!_]*", "kubernetes/client/models/[!_]*",
)  # fmt: skip
_SITE = "usr/local/lib/python3.11/dist-packages"
_USERS = "root:x:0:0:root:/:/usr/sbin/nologin\nambient:x:65532:65532:ambient:/:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nambient:x:65532:\n"
_NAMES = "hosts: files dns\npasswd: files\ngroup: files\n"
# The same as what pip writes, without the path of somebody else's interpreter.
_SCRIPT = "#!/usr/bin/python3 -I\nimport sys\n\nfrom {module} import {attribute}\n\nsys.exit({attribute}())\n"


def fingerprint(*inputs: Path) -> str:
    """Of what a kept layer depends on: its recipe, and files."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in (Path(__file__), *inputs))).hexdigest()[:16]


def cached_layer(
    cache: Path, name: str, key: str, add: Callable[[Path], None], say: Callable[[str], None], *, refresh: bool = False
) -> Layer:
    """Returns a layer that an earlier build kept under the key, or makes it."""
    path = cache / f"{name}-{key}.tar.gz"
    if path.exists() and not refresh:
        layer = Layer.load(path)
        say(f"{name}: kept from an earlier build, {layer}")
        return layer
    for old in cache.glob(f"{name}-*.tar.gz"):
        old.unlink()
    half = path.with_suffix(".unfinished")
    layer = Layer.compress(pack(add), half)
    half.rename(path)
    say(f"{name}: {layer}")
    return layer


def add_debian(root: Path) -> None:
    """Debian's part: packages are unpacked and not installed, so that nothing depends on the order of scripts, and there is no shell."""
    base = root / "base"
    record = 'for one in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --showformat "\\${Package} \\${Version}\\n" -W "$one"; done'
    hooks = ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f'--extract-hook={record} | sort >"$1/usr/share/packages.txt"']
    _run("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", *hooks, f"--include={','.join(_PACKAGES)}", _SUITE, str(base))
    packages = (base / "usr/share/packages.txt").read_text()
    for pattern in _SUPERFLUOUS:
        for path in base.glob(pattern):
            _remove(path)
    for path in base.rglob("*"):
        if path.is_symlink() and not path.exists() and not path.readlink().is_absolute():
            path.unlink()
    _write(base / "usr/share/doc/debian-packages.txt", packages)
    for name, text in (("passwd", _USERS), ("group", _GROUPS), ("nsswitch.conf", _NAMES)):
        _write(base / "etc" / name, text)
    (base / "usr/bin/python3").symlink_to("python3.11")
    for mount_point in ("dev", "proc", "sys", "run", "tmp", "var"):
        (base / mount_point).mkdir(exist_ok=True)
    (base / "tmp").chmod(0o1777)
    (base / "var/run").symlink_to("/run")
    _compile(base, "usr/lib/python3.11")
    for path in base.iterdir():
        path.rename(root / path.name)
    base.rmdir()


def add_dependencies(root: Path) -> None:
    """The locked dependencies, without what the processes do not read."""
    _install(root, "--require-hashes", "--only-binary", ":all:", "-r", str(_PROJECT / "requirements-runtime.lock"))
    site = root / _SITE
    for pattern in _SUPERFLUOUS_MODULES:
        for path in list(site.glob(pattern)):
            _remove(path)
    _run("strip", "--strip-unneeded", *sorted(str(path) for path in site.rglob("*.so")))
    _compile(root, _SITE)


def add_project(root: Path) -> None:
    """Ours: the wheel with its compiled capture programs, the console scripts, and the CNI plugin where it has been built."""
    with tempfile.TemporaryDirectory(prefix="ambient-wheel-") as scratch:
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH_S)}
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch, cwd=_PROJECT, env=environment)
        _install(root, "--no-index", "--find-links", scratch, "ambient-mesh")
    (metadata,) = (root / _SITE).glob("ambient_mesh-*.dist-info")
    _remove(root / _SITE / "bin")
    # Where the wheel lay, and digests of scripts that are not those of the image.
    for name in ("direct_url.json", "RECORD"):
        _remove(metadata / name)
    for entry in PathDistribution(metadata).entry_points.select(group="console_scripts"):
        _write(root / "usr/local/bin" / entry.name, _SCRIPT.format(module=entry.module, attribute=entry.attr), mode=0o755)
    plugin = _PROJECT / "dist/ambient-cni"
    if plugin.exists():
        shutil.copyfile(plugin, root / "usr/local/bin/ambient-cni")
        (root / "usr/local/bin/ambient-cni").chmod(0o755)
    _compile(root, _SITE)


def _install(root: Path, *arguments: str) -> None:
    """Into the image's own directory of packages; bytecode comes later, for pip's holds times."""
    options = ("--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check", "--root-user-action=ignore")
    _run(sys.executable, "-m", "pip", "install", *options, "--target", str(root / _SITE), *arguments)


def _compile(root: Path, directory: str) -> None:
    """Bytecode that is believed without a look at its source: the file system of the image is read-only, and starting must be quick."""
    done = compileall.compile_dir(
        root / directory, quiet=1, stripdir=str(root), prependdir="/", invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, maxlevels=20
    )
    if not done:
        raise SystemExit(f"cannot compile what is in /{directory}")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    if subprocess.run(command, check=False, cwd=cwd, env=env).returncode:
        raise SystemExit(f"failed: {' '.join(command)[:200]}")
