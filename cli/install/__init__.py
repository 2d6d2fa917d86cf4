"""`ambient install`, `upgrade`, `uninstall`: the Helm chart, with what Helm does not do before and after it."""

from cli.install.command import install, uninstall, upgrade

__all__ = ["install", "uninstall", "upgrade"]
