"""Capture of pods' TCP: plans, and the functions over them."""

from daemonset.capture.preflight import preflight

__all__ = ["preflight"]
