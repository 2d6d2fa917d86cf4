"""Measures no mesh, a pair of Envoys and ours in one run, by turns, in the lab; and ours in a large cluster that is only manifests.

    python -m bench [--rows GLOB] [--repeat 3] [--seconds 3] [--modes none,envoy,ours] [--out bench/results]
        [--capture ebpf|iptables]

Writes latest.json and latest.png into the --out directory and prints a table; see docs/performance.md.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

from bench import in_lab, plot
from bench.alternate import Mode, Samples, measure
from bench.load import LoadFailed
from bench.process import NotReady, resident_mb
from bench.rows import Load, Row, select, select_scale
from bench.scale.measure import measure_scale
from bench.summary import summarise, table, to_json
from lab.errors import LabError
from lab.options import CAPTURE_MODES

MODES = ["none", "envoy", "ours"]
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    # Being told to end is no reason to leave namespaces and processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="*", help="shell pattern of row names")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one load")
    parser.add_argument("--modes", default=",".join(MODES), help="which of them; without ours the mesh is not even started")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--capture", choices=CAPTURE_MODES, default="ebpf")
    arguments = parser.parse_args()
    loads, scale = select(arguments.rows), select_scale(arguments.rows)
    if not (loads or scale):
        parser.error(f"--rows {arguments.rows}: no row has such a name")
    try:
        run(loads, scale, arguments)
    except (LabError, LoadFailed, NotReady) as error:
        sys.exit(str(error))


def run(loads: tuple[Load, ...], scale: tuple[Row, ...], arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    modes = arguments.modes.split(",")
    samples, memory = in_the_lab(loads, modes, arguments) if loads else ({}, [])
    large = scale if "ours" in modes else ()
    samples = {**samples, **measure_scale(large, arguments.repeat)}
    report([*(row for load in loads for row in load.rows), *large], samples, modes if loads else ["ours"], arguments.out)
    print(*memory, conditions(arguments, time.monotonic() - started), sep="\n")


def in_the_lab(loads: tuple[Load, ...], names: list[str], arguments: argparse.Namespace) -> tuple[Samples, list[str]]:
    """Returns the samples of all modes, and what memory the proxies have at the end."""
    with in_lab.modes(names, arguments.capture) as modes:
        samples = measure(loads, modes, arguments.repeat, arguments.seconds)
        if "ours" in names:
            in_lab.expect_tunnelled()
        return samples, [resident(mode) for mode in modes if mode.proxies]


def report(rows: list[Row], samples: Samples, modes: list[str], directory: Path) -> None:
    """Prints the table; writes the JSON and the picture."""
    results = summarise(rows, samples)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.json").write_text(json.dumps(to_json(results), indent=2) + "\n")
    plot.write(results, directory / "latest.png")
    print(table(results, modes))


def resident(mode: Mode) -> str:
    client, server = map(resident_mb, mode.proxies)
    return f"resident memory of {mode.name}: {client:.1f} MB beside the client, {server:.1f} MB beside the server"


def conditions(arguments: argparse.Namespace, duration_s: float) -> str:
    """What the figures hold for."""
    return (
        f"{os.cpu_count()} cores, kernel {platform.release()}, capture {arguments.capture}, Envoy with its default of a worker per core; "
        f"medians of {arguments.repeat}, {arguments.seconds} s each, {duration_s:.0f} s in all"
    )


if __name__ == "__main__":
    main()
