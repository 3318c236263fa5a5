"""What holds for all tests: helpers found by name (`from provisioner.world import World`), order, and Hypothesis."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from postgres import NoServerError, Server

# How long an example takes says how busy the machine is; speed has its place in `benchmarks/`.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the tests that mostly wait for processes, so that others fill the time beside them."""
    items.sort(key=lambda item: "system" not in item.path.parts)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, for as long as the tests run; one that cannot run here skips what needs it."""
    try:
        server = Server()
    except NoServerError as reason:
        pytest.skip(str(reason))
    try:
        server.make()
        yield server
    except NoServerError as reason:
        pytest.skip(str(reason))
    finally:
        server.remove()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--leaders", default=100, type=int, help="how many leaders the slow test of replicas ends")
