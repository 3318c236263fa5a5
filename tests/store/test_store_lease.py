"""The lease on a real PostgreSQL: one has it, and nobody else writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_values import Opener, changes, intent

from slotsmith.model.lease import Claim, Lease
from slotsmith.store import postgresql
from slotsmith.store.base import StoreError
from slotsmith.store.lease import SqlLeases
from slotsmith.store.sql import SqlStore, open_store

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
