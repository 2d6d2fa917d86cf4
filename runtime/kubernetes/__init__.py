"""The API of Kubernetes as the control plane and the agent use it: objects as JSON, followed by list and watch."""

from runtime.kubernetes.access import load_access
from runtime.kubernetes.api import Api
from runtime.kubernetes.following import Batch, Change, Following, Selection
from runtime.kubernetes.reflector import Reflector
from runtime.kubernetes.resources import Resource

__all__ = ["Api", "Batch", "Change", "Following", "Reflector", "Resource", "Selection", "load_access"]
