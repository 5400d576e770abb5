"""The registry: documents that describe a system, kept with their history, found by example."""

from rms_flows.registry.folder import FolderStore
from rms_flows.registry.kinds import ALIASES, KINDS, kind_called
from rms_flows.registry.registry import Registry
from rms_flows.registry.store import Store, Stored

__all__ = ["ALIASES", "KINDS", "FolderStore", "Registry", "Store", "Stored", "kind_called"]
