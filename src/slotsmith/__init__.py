"""Slotsmith keeps a fleet of agents exactly as large as a scheduler's pending tasks need."""

__version__ = "0.1.0"
