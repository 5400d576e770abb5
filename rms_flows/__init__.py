"""Runtime monitoring of IoT security: one set of rules over streams, replays and notebooks."""

__version__ = "0.1.0"
