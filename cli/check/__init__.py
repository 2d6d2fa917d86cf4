"""`ambient check`: whether a cluster can have the mesh, and whether the mesh that it has is well."""

from cli.check.command import check

__all__ = ["check"]
