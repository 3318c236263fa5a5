"""Stores for the tests, closed when the test is over: a file of SQLite, and a database of a PostgreSQL server.

Every test that takes a store runs on both; one that takes `path` is about the file, and runs on SQLite alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from store_values import Opener, url_of

from postgres import Server
from slotsmith.store import migrations, sql
from slotsmith.store.schema import metadata
from slotsmith.store.sql import SqlStore, open_store

KINDS = ("sqlite", "postgresql")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS[:1] if "path" in metafunc.fixturenames else KINDS, scope="module")


@pytest.fixture(autouse=True)
def _migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ones, which the other tests do without."""
    monkeypatch.setattr(sql, "migrate", migrations.migrate)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the test's store, not made yet."""
    return tmp_path / "books.db"


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The test's store: a file that is not made yet, or a database whose tables are empty."""
    if kind == "sqlite":
        yield url_of(tmp_path / "books.db")
        return
    yield request.getfixturevalue("server_url")


@pytest.fixture
def server_url(postgres: Server, books: str) -> Iterator[str]:
    """A store on a server, with empty tables."""
    yield postgres.url(books)
    # Making a database for each test would take longer than most tests.
    postgres.sql("; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)), books)


@pytest.fixture
def empty(postgres: Server) -> Iterator[str]:
    """The name of a database without tables."""
    with postgres.database() as name:
        yield name


@pytest.fixture(scope="session")
def books(postgres: Server) -> str:
    """The name of the database that tests share, one after the other."""
    postgres.sql("CREATE DATABASE books")
    open_store(postgres.url("books")).close()
    return "books"


@pytest.fixture
def opened(url: str) -> Iterator[Opener]:
    """Opens the test's store, as often as it is called."""
    with ExitStack() as stack:

        def opener(**options: Any) -> SqlStore:
            return stack.enter_context(open_store(url, **options))

        yield opener


@pytest.fixture
def store(opened: Opener) -> SqlStore:
    return opened()
