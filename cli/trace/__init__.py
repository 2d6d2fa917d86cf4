"""`ambient trace`: a pod's connections as the kernel sees them."""

from cli.trace.command import trace

__all__ = ["trace"]
