"""The registry: documents that describe a system, their history, search by example; what runs of it."""

from rms_flows.registry.flows import flow
from rms_flows.registry.folder import FolderStore
from rms_flows.registry.kinds import ALIASES, KINDS, kind_called
from rms_flows.registry.registry import Registry
from rms_flows.registry.running import Running, Shown, Sign, instance, instances, wish_to_stop
from rms_flows.registry.store import Store, Stored

__all__ = [
    "ALIASES",
    "KINDS",
    "FolderStore",
    "Registry",
    "Running",
    "Shown",
    "Sign",
    "Store",
    "Stored",
    "flow",
    "instance",
    "instances",
    "kind_called",
    "wish_to_stop",
]
