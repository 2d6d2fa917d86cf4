"""A real Kubernetes on this machine, of namespaces.

python -m tests.cluster up [--name cluster] [--nodes 2]
python -m tests.cluster env          # eval "$(python -m tests.cluster env)": then kubectl and helm speak with it
python -m tests.cluster load FILE... # image archives (as docker save writes them), for every node
python -m tests.cluster status
python -m tests.cluster down
"""

import argparse
import os
import sys
from pathlib import Path

from tests.cluster import journal
from tests.cluster.cluster import Cluster, Unusable, down, find, up
from tests.cluster.images import ImageRefused, load
from tests.cluster.kubectl import KubectlFailed
from tests.cluster.processes import NotReady
from tests.cluster.programs import HELM, KUBERNETES, BuildFailed, programs
from tests.cluster.teardown import NotRemoved, running


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python -m tests.cluster"
    )
    parser.add_argument("command", choices=["up", "env", "load", "status", "down", "build"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--name", default="cluster")
    parser.add_argument("--nodes", type=int, default=2)
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("network namespaces need root")
    try:
        _run(arguments)
    except (BuildFailed, ImageRefused, KubectlFailed, NotReady, NotRemoved, Unusable) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _run(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "build":
            for recipe in (KUBERNETES, HELM):
                print(programs(recipe))
        case "up":
            up(arguments.name, arguments.nodes)
            print(f'eval "$(python -m tests.cluster env --name {arguments.name})"')
        case "down":
            print("gone" if down(arguments.name) else f"there is no cluster {arguments.name}")
        case "env":
            cluster = _known(arguments.name)
            print(f"export KUBECONFIG={cluster.layout.kubeconfig} PATH={programs(KUBERNETES)}:{programs(HELM)}:$PATH")
        case "load":
            load(_known(arguments.name).layout, *arguments.files)
        case "status":
            _show(arguments.name)


def _known(name: str) -> Cluster:
    cluster = find(name)
    if cluster is None:
        raise Unusable(f"there is no cluster {name}, but {', '.join(journal.names()) or 'none at all'}")
    return cluster


def _show(name: str) -> None:
    cluster = _known(name)
    for program, runs in running(cluster.layout).items():
        print(f"{program:24} {'runs' if runs else 'ENDED'}   {cluster.layout.logs / program}.log")
    print(cluster.kubectl("get", "nodes", "-o", "wide"), end="")
    print(cluster.kubectl("get", "pods", "-A", "-o", "wide"), end="")


if __name__ == "__main__":
    main()
