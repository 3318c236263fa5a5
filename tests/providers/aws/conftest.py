"""Fixtures of the EC2 provider's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.aws.ec2_clients import share
from providers.aws.ec2_world import World


@pytest.fixture(autouse=True)
def _shared_clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("slow") is None:
        share(monkeypatch)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[World]:
    """A server, and no thread of its left at the end."""
    world = World(tmp_path)
    yield world
    world.close()
