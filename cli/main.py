"""The `ambient` command. Subcommands are imported when they are called, so that each starts quickly and needs only what it uses."""

import importlib
import importlib.util
from collections.abc import Mapping
from types import MappingProxyType

import click

from mesh.errors import MeshError

# name: (module, attribute, one line for the list; "": not for people, and not listed)
_COMMANDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "check": ("cli.check", "check", "Whether a Kubernetes cluster can have the mesh, and whether its mesh is well."),
        "demo": ("cli.demo", "demo", "Show on this machine what the mesh does, and check it."),
        "explain": ("cli.explain", "explain", "What becomes of a connection between two pods, and why."),
        "free-nodes": ("cli.free_nodes", "free_nodes", ""),
        "install": ("cli.install", "install", "Install the mesh into a Kubernetes cluster."),
        "lab": ("cli.lab", "lab", "Nodes and pods as network namespaces of this machine."),
        "trace": ("cli.trace", "trace", "A pod's connections as the kernel sees them."),
        "uninstall": ("cli.install", "uninstall", "Take the mesh off every node, and out of the cluster."),
        "upgrade": ("cli.install", "upgrade", "Bring the mesh of a cluster to this version, or to other values."),
    }
)


class LazyGroup(click.Group):
    """A group of `_COMMANDS`; what goes wrong in them in a way that we know is one message, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (module, _, _) in _COMMANDS.items() if importlib.util.find_spec(module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name in self.list_commands(ctx) if (line := _COMMANDS[name][2])])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MeshError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ambient-mesh")
def main() -> None:
    """A service mesh for Linux and Kubernetes without sidecars."""


if __name__ == "__main__":
    main()
