"""What is special about a store on a server: how it is opened, and what becomes of it when the server fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import TEXT, Column, Connection, create_engine
from store_values import changes, intent

from postgres import Cutting, NoServerError, Server
from slotsmith.store import migrations
from slotsmith.store.base import StoreError
from slotsmith.store.people import People
from slotsmith.store.schema import Words, metadata
from slotsmith.store.sql import SqlStore, open_store

_DOWN = r"cannot be reached|is being shut down|has crashed"


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that the test may break."""
    server = Server()
    try:
        server.make()
        server.sql("CREATE DATABASE books")
        yield server
    finally:
        server.remove()


def refusal(url: str, **options: bool) -> str:
    with pytest.raises(StoreError) as error:
        open_store(url, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def _other_type(_context: Any, _found: Any, column: Column[Any], found: Any, wanted: Any) -> bool | None:
    """Whether a column of the database has another type; None = as Alembic sees it, which knows no collation."""
    if not isinstance(found, TEXT):
        return None
    return bool(found.collation != ("C" if isinstance(wanted, Words) else None))


def test_several_may_make_the_same_store(postgres: Server, empty: str) -> None:
    url, together = postgres.url(empty), threading.Barrier(4)

    def make(number: int) -> None:
        together.wait()
        with open_store(url, patience=60.0) as store:
            store.commit(changes(pool=f"pool-{number}"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make, range(4)))
    with open_store(url, read_only=True) as store:
        assert len(store.pools()) == 4
        with pytest.raises(StoreError, match="was opened for reading only"):
            store.commit(changes())
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": _other_type}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_what_cannot_be_opened(postgres: Server, empty: str) -> None:
    url = postgres.address(empty)
    assert "is empty or of an older version: start slotsmith run, which sets it up" in refusal(url, read_only=True)
    postgres.sql("CREATE TABLE bookmarks (url text)", empty)
    assert "is the database of another program" in refusal(url)
    missing = refusal(postgres.address("nowhere"))
    assert "cannot be reached" in missing
    assert 'database "nowhere" does not exist' in missing
    postgres.sql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    assert "is a database in SQL_ASCII: make it with" in refusal(postgres.url("bytes"))
    postgres.sql("DROP DATABASE bytes")
    nobody = refusal("postgresql://me:secret@127.0.0.1:1/books")
    assert nobody.startswith("store postgresql://me:***@127.0.0.1:1/books cannot be reached (")
    assert "secret" not in nobody
    assert "secret" not in refusal("postgresql://me@127.0.0.1:1/books?password=secret&sslpassword=secret")


def test_a_schema_of_its_own_in_the_database_of_others(postgres: Server, empty: str) -> None:
    postgres.sql("CREATE TABLE bookmarks (url text); CREATE SCHEMA slotsmith", empty)
    with open_store(f"{postgres.url(empty)}&options=-csearch_path=slotsmith") as store:
        store.commit(changes(summary={"n": 1}))
        assert store.summary("gpu") == {"n": 1}


def test_a_server_that_restarts_and_crashes(own: Server) -> None:
    """I3: what was on record is, what was not is told to be not, and the next write works."""
    with open_store(own.address("books")) as store:
        store.commit(changes(intents=(intent("a"),)))
        for token, how in (("b", None), ("c", "crash")):
            own.stop() if how is None else own.crash()
            with pytest.raises(StoreError, match=_DOWN):
                store.commit(changes(intents=(intent(token),)))
            with pytest.raises(StoreError, match=_DOWN):
                store.load("gpu")
            own.start()
            store.commit(changes(intents=(intent(f"{token}-again"),)))
        assert [each.token for each in store.load("gpu").intents] == ["a", "b-again", "c-again"]


def test_a_connection_that_is_cut_in_the_middle(postgres: Server, store_on_server: SqlStore) -> None:
    store = store_on_server

    def cut(connection: Connection) -> None:
        number = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        postgres.sql(f"SELECT pg_terminate_backend({number})")

    store.guard = cut
    with pytest.raises(StoreError):
        store.commit(changes(intents=(intent("a"),), summary={"n": 1}))
    store.guard = lambda _: None
    assert not store.load("gpu").intents
    store.commit(changes(intents=(intent("b"),)))
    assert [each.token for each in store.load("gpu").intents] == ["b"]


@pytest.mark.parametrize("arrives", [True, False])
def test_i3_a_commit_whose_answer_is_lost_is_whole_or_not_at_all(
    postgres: Server, books: str, store_on_server: SqlStore, arrives: bool
) -> None:
    with Cutting(postgres.port) as way, open_store(way.url(books)) as store:
        store.commit(changes(intents=(intent("a"),)))
        way.cut_next_commit(arrives=arrives)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.commit(changes(2.0, intents=(intent("b"), intent("c")), summary={"n": 2}))
        kept = [each.token for each in store.load("gpu").intents]
        assert kept == (["a", "b", "c"] if arrives else ["a"])
        assert store.summary("gpu") == ({"n": 2} if arrives else None)
        # Whoever was not told says the same again, and nothing is twice.
        store.commit(changes(3.0, intents=(intent("b"), intent("c")), summary={"n": 3}))
        assert [each.token for each in store.load("gpu").intents] == ["a", "b", "c"]


def _fill(store: SqlStore) -> int:
    """Commit until that fails; how many times it worked."""
    for number in range(2000):
        # Text that does not compress.
        body = intent(f"{number:05}", reason=os.urandom(20_000).hex())
        try:
            store.commit(changes(float(number), intents=(body,)))
        except StoreError as error:
            full = str(error)
            break
    assert full.endswith("has no room: its disk is full; free some space, then try again")
    return number


def test_a_disk_that_fills_up() -> None:
    try:
        server = Server(small_disk=True)
    except NoServerError as reason:
        pytest.skip(str(reason))
    try:
        server.make()
        server.sql(f"CREATE TABLESPACE small LOCATION '{server.small_disk}'")
        server.sql("CREATE DATABASE books TABLESPACE small")
        with open_store(server.address("books")) as store:
            done = _fill(store)
            assert done > 10
            server.make_room()
            assert len(store.load("gpu").intents) == done
            assert store.load("gpu").heartbeat == done - 1
            store.commit(changes(99999.0, intents=(intent("after"),)))
            assert len(store.load("gpu").intents) == done + 1
            assert not People(store).tokens()
    finally:
        server.remove()


@pytest.fixture
def store_on_server(server_url: str) -> Iterator[SqlStore]:
    with open_store(server_url) as store:
        yield store
