"""The command line. `main` is what the installed script runs."""

from slotsmith.cli.entry import main

__all__ = ["main"]
