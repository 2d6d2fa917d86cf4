"""`ambient explain`: what the mesh does with a connection between two pods, and why."""

from cli.explain.command import explain

__all__ = ["explain"]
