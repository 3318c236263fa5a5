"""The examples of the documentation, as modules and as plugins that are installed."""

import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from docs.pages import EXAMPLES
from slotsmith.config.plugins import Plugins

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
