"""What holds for all tests: helpers found by name (`from provisioner.world import World`), order, and Hypothesis."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import Connection, StaticPool, create_engine, inspect

from slotsmith.store import migrations, sql

sys.path.insert(0, str(Path(__file__).parent))

from postgres import NoServerError, Server

# How long an example takes says how busy the machine is; speed has its place in `benchmarks/`.
# The same examples each time: what fails has failed by the change that is tested. New ones are for `thorough`.
settings.register_profile("untimed", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, derandomize=False)  # for --hypothesis-profile
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """New stores get their tables from a copy of what the migrations make, which takes them a hundred times as long.

    The tests in `tests/store` run the migrations themselves.
    """
    made: list[str] = []

    def migrate(connection: Connection, revision: str = "head") -> None:
        if connection.dialect.name != "sqlite" or revision != "head" or inspect(connection).get_table_names():
            migrations.migrate(connection, revision)
            return
        if not made:
            made.extend(_statements())
        for statement in made:
            connection.exec_driver_sql(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql, "migrate", migrate)
        yield


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a sweep one after the other in here; processes of their own take longer to start than such runs do."""

    def one_by_one(work: Any, arguments: Sequence[Any], *, progress: Callable[[int, float], None]) -> list[Any]:
        return [work(argument, lambda _: None) for argument in arguments]

    monkeypatch.setattr("slotsmith.cli.side_by_side.side_by_side", one_by_one)


def _statements() -> list[str]:
    """What makes a store as the migrations leave it."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        migrations.migrate(connection)
    with engine.connect() as connection:
        lines = list(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    engine.dispose()
    return [line for line in lines if line not in ("BEGIN TRANSACTION;", "COMMIT;")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the tests that mostly wait for processes, the longest first, so that others fill the time beside them."""
    waiting = ("test_demo.py", "system", "schedulers")
    items.sort(
        key=lambda item: next((rank for rank, name in enumerate(waiting) if name in item.path.parts), len(waiting))
    )


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
