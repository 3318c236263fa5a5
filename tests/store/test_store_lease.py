"""The lease on a real PostgreSQL: one has it, and nobody else writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psycopg
import pytest
from store_values import Opener, changes, intent

from postgres import Server
from slotsmith.model.lease import Claim, Lease
from slotsmith.store import postgresql, sql
from slotsmith.store.base import StoreError
from slotsmith.store.lease import SqlLeases
from slotsmith.store.migrations import REVISIONS
from slotsmith.store.sql import SqlStore, open_store
from waiting import wait_until

PATIENCE = 60.0
A, B = Claim("a", "http://a", "secret-a"), Claim("b", "http://b", "secret-b")


@pytest.fixture
def url(server_url: str) -> str:
    return server_url


@pytest.fixture
def leases(store: SqlStore) -> SqlLeases:
    return SqlLeases(store)


def taken(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


def test_a_lease_and_its_life(leases: SqlLeases) -> None:
    assert leases.read() is None
    mine = taken(leases.take(None, A, 5.0))
    assert mine == leases.read() == Lease(1, 0, "a", "http://a", "secret-a", 5.0)
    assert leases.take(None, B, 6.0) is None
    assert leases.renew(mine)
    # It has shown a sign of life since it was seen.
    assert leases.take(mine, B, 6.0) is None
    seen = taken(leases.read())
    theirs = taken(leases.take(seen, B, 7.0))
    assert (theirs.fence, theirs.holder) == (2, "b")
    assert not leases.renew(mine)
    leases.release(mine)
    assert leases.read() == theirs
    leases.release(theirs)
    assert taken(leases.read()).free
    assert "secret" not in repr(theirs)


def test_i3_only_one_of_many_gets_it(opened: Opener, leases: SqlLeases) -> None:
    together = threading.Barrier(6)

    def take(number: int) -> Lease | None:
        store = opened()
        together.wait()
        return SqlLeases(store).take(seen, Claim(str(number)), 1.0)

    for seen in (None, Lease(0, 0, "")):
        if seen is not None:
            seen = leases.read()
        with ThreadPoolExecutor(6) as threads:
            assert len([lease for lease in threads.map(take, range(6)) if lease is not None]) == 1


def test_i3_who_does_not_lead_writes_nothing(opened: Opener, leases: SqlLeases, store: SqlStore) -> None:
    held: list[Lease | None] = [None]
    store.guard = leases.guard(lambda: held[0])

    def refused(write: Callable[[], None]) -> None:
        with pytest.raises(StoreError, match="takes no writes of a replica that does not lead"):
            write()

    refused(lambda: store.commit(changes(intents=(intent("a"),))))
    held[0] = taken(leases.take(None, A, 1.0))
    store.commit(changes(intents=(intent("a"),)))
    leases.take(held[0], B, 2.0)
    refused(lambda: store.commit(changes(intents=(intent("b"),), summary={"n": 1})))
    refused(lambda: store.prune(1e9))
    assert [each.token for each in store.load("gpu").intents] == ["a"]
    assert store.summary("gpu") is None


def test_i3_a_takeover_waits_for_the_write_under_way_and_no_later_one_happens(
    opened: Opener, leases: SqlLeases, store: SqlStore
) -> None:
    mine = taken(leases.take(None, A, 1.0))
    check, began, go_on = leases.guard(lambda: mine), threading.Event(), threading.Event()

    def slow(connection: object) -> None:
        check(connection)  # type: ignore[arg-type]
        began.set()
        assert go_on.wait(PATIENCE)

    store.guard = slow
    other = SqlLeases(opened())
    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(store.commit, changes(intents=(intent("a"),)))
        assert began.wait(PATIENCE)
        # A sign of life does not wait for it.
        assert leases.renew(mine)
        taking = threads.submit(lambda: other.take(other.read(), B, 2.0))
        with pytest.raises(TimeoutError):
            taking.result(0.2)
        go_on.set()
        writing.result(PATIENCE)
        assert taken(taking.result(PATIENCE)).fence == 2
    store.guard = check
    with pytest.raises(StoreError, match="does not lead"):
        store.commit(changes(intents=(intent("b"),)))
    assert [each.token for each in store.load("gpu").intents] == ["a"]


def test_i3_one_that_is_stopped_in_the_middle_of_a_write_does_not_keep_the_lease(
    url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "IDLE_DEADLINE", 1)
    with open_store(url) as stopped:
        leases = SqlLeases(stopped)
        mine = taken(leases.take(None, A, 1.0))
        check, began, go_on = leases.guard(lambda: mine), threading.Event(), threading.Event()

        def stop(connection: object) -> None:
            check(connection)  # type: ignore[arg-type]
            began.set()
            assert go_on.wait(PATIENCE)

        stopped.guard = stop
        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(stopped.commit, changes(intents=(intent("a"),)))
            assert began.wait(PATIENCE)
            other = opened(patience=PATIENCE)
            assert taken(SqlLeases(other).take(mine, B, 2.0)).fence == 2
            other.commit(changes(intents=(intent("b"),)))
            go_on.set()
            with pytest.raises(StoreError, match="cut off this process, which stood still"):
                writing.result(PATIENCE)
        assert [each.token for each in other.load("gpu").intents] == ["b"]


def test_i3_nor_does_one_that_is_stopped_while_it_sends_several_statements_at_once(
    postgres: Server, books: str, leases: SqlLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server waits for the rest of them without end, and counts that as work."""
    monkeypatch.setattr(postgresql, "STANDS_STILL", 0.2)
    mine = taken(leases.take(None, A, 1.0))
    options = f"-c idle_in_transaction_session_timeout={1000 * postgresql.IDLE_DEADLINE}"
    stopped = psycopg.connect(
        dbname=books, user="slotsmith", host=str(postgres.directory), port=postgres.port, options=options
    )
    with ExitStack() as stack:
        stack.callback(stopped.close)
        stack.enter_context(suppress(psycopg.Error))
        stack.enter_context(stopped.pipeline())
        stopped.execute("SELECT fence FROM lease FOR KEY SHARE")
        stopped.pgconn.send_flush_request()
        stopped.pgconn.flush()
        held = "SELECT 1 FROM pg_locks WHERE relation = 'lease'::regclass AND granted AND mode = 'RowShareLock'"
        wait_until(lambda: postgres.sql(held, books), timeout=PATIENCE, what="its lock")
        postgres.sql("SELECT pg_sleep(0.3)", books)
        assert taken(leases.take(mine, B, 2.0)).fence == 2


def test_an_older_database_that_a_replica_works_on_is_not_migrated(
    postgres: Server, books: str, url: str, leases: SqlLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_SIGN_OF_LIFE", 0.5)
    mine, ended = taken(leases.take(None, A, 1.0)), threading.Event()
    migrated: list[object] = []
    monkeypatch.setattr(sql, "migrate", migrated.append)

    def beat() -> None:
        while not ended.wait(0.05):
            leases.renew(mine)

    postgres.sql("UPDATE slotsmith_version SET version_num = '0004'", books)
    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(StoreError, match="is of an older version, and a works on it: stop all its replicas first"):
            open_store(url)
        assert not migrated
    finally:
        ended.set()
        beating.join()
    # One that has crashed keeps nobody from it.
    open_store(url).close()
    assert migrated
    postgres.sql(f"UPDATE slotsmith_version SET version_num = '{REVISIONS[-1]}'", books)
