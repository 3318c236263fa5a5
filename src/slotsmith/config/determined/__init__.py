"""Reads a Determined `master.yaml`: its resource pools become pools of ours, the rest of it is left alone."""

from slotsmith.config.determined.read import Translation, is_determined, translate

__all__ = ["Translation", "is_determined", "translate"]
