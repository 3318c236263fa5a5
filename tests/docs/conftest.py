"""The documentation as the tests see it, and its examples as plugins that are installed."""

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from slotsmith.config.plugins import Plugins

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

sys.path.insert(0, str(EXAMPLES))


@pytest.fixture
def plugins() -> tuple[Plugins, Plugins]:
    """What is installed, and the examples besides."""
    lab = EntryPoint("lab", "lab:plugin", "slotsmith.providers")
    jobs = EntryPoint("jobs", "jobs:plugin", "slotsmith.schedulers")
    return (
        Plugins("provider", [*entry_points(group="slotsmith.providers"), lab]),
        Plugins("scheduler", [*entry_points(group="slotsmith.schedulers"), jobs]),
    )
