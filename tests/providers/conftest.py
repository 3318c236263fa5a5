"""Fixtures of the providers' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.local_world import LocalWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """Local providers, and no process of theirs left at the end."""
    world = LocalWorld(tmp_path / "state")
    yield world
    world.kill_all()
