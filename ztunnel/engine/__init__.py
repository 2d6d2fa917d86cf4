"""Engines: what executes actions. One runs in a process."""

from collections.abc import Callable

from mesh.errors import ConfigError
from ztunnel.engine.interface import Engine
from ztunnel.engine.python import PythonEngine


def make_engine(name: str, wake: Callable[[], None]) -> Engine:
    """Makes an engine on the running event loop.

    Args:
        name: "python", or "auto": the fastest that is installed.
        wake: called, on the loop's thread, when notices are there to be taken.
    Raises:
        ConfigError: there is no such engine here.
    """
    if name == "native":
        raise ConfigError("ENGINE", name, "auto or python: the native engine is not installed")
    if name not in ("auto", "python"):
        raise ConfigError("ENGINE", name, "auto, python or native")
    return PythonEngine(wake)
