"""The python engine."""

from ztunnel.engine.python.engine import PythonEngine

__all__ = ["PythonEngine"]
