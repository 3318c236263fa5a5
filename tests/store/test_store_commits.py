"""What a commit keeps, replaces and refuses, and what pruning leaves."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event
from store_values import OFFERING, Opener, changes, intent, record

from slotsmith.model.decision import Decision, Launch, Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import INTENT_TRANSITIONS, IntentState
from slotsmith.model.launch_error import ErrorKind, JoinFailures, LaunchFailures
from slotsmith.model.record import Move, Phase, StatisticsSpan, TerminationRecord
from slotsmith.store.base import PoolBooks, StoreError
from slotsmith.store.sql import SqlStore

OPEN, GRANTED, CLOSED, REFUSED = IntentState
_ONE_WRITER = "SELECT pg_advisory_xact_lock"
_BEGINNINGS = {
    # The migration at the opening was durable as well, and with SQLite a connection stays as it was set.
    "sqlite": (["BEGIN IMMEDIATE"], ["PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"], ["BEGIN IMMEDIATE"]),
    "postgresql": ([_ONE_WRITER], *[[f"SET LOCAL synchronous_commit = off; {_ONE_WRITER}"]] * 2),
}
"""What transactions begin with: one that is on disk when it ends, the first that need not be, and another one."""


def test_pool_without_books_starts_with_empty_ones(store: SqlStore) -> None:
    assert store.load("gpu") == PoolBooks()
    assert store.summary("gpu") is None
    assert not store.pools()
    assert not store.moves("gpu")
    assert not store.decisions("gpu")
    assert not store.recorded_views("gpu")


def test_books_survive_a_restart(store: SqlStore, opened: Opener) -> None:
    """I11: clocks, intents, terminations and launch errors are there again after a restart."""
    ending = TerminationRecord(Reason.LONG_IDLE, 150.0, Phase.DRAINING, 1, 151.0, "not yet")
    books = PoolBooks(
        intents=(intent("a"), intent("b", GRANTED, granted=2, answered_at=120.0, created_at=110.0)),
        instances=(record("i-1", joined_at=130.0, idle_since=140.0, termination=ending), record("i-2")),
        launch_failures={OFFERING.name: LaunchFailures(3, ErrorKind.CAPACITY, "none left", 160.0, 190.0)},
        join_failures=JoinFailures(2, 300.0, "i-0"),
        owns=True,
        heartbeat=200.0,
    )
    store.commit(
        changes(
            200.0,
            intents=books.intents,
            instances=books.instances,
            launch_failures=books.launch_failures,
            join_failures=books.join_failures,
            owns=True,
        )
    )
    store.close()
    assert opened().load("gpu") == books


def test_what_a_commit_does_not_name_stays(store: SqlStore) -> None:
    failures = {"a": LaunchFailures(1), "b": LaunchFailures(2)}
    store.commit(changes(1.0, owns=True, summary={"n": 1}, launch_failures=failures, join_failures=JoinFailures(4)))
    store.commit(changes(2.0, launch_failures={"b": LaunchFailures(3)}))
    books = store.load("gpu")
    assert (books.owns, books.heartbeat, store.summary("gpu")) == (True, 2.0, {"n": 1})
    assert books.launch_failures == {"a": LaunchFailures(1), "b": LaunchFailures(3)}
    assert books.join_failures == JoinFailures(4)
    store.commit(changes(3.0, owns=False, summary={}))
    assert (store.load("gpu").owns, store.summary("gpu")) == (False, {})


def test_pools_do_not_mix(store: SqlStore) -> None:
    store.commit(changes(1.0, instances=(record("i-1"),), summary={"n": 1}))
    store.commit(changes(2.0, pool="cpu", instances=(record("i-1", joined_at=1.5),)))
    assert store.pools() == ["cpu", "gpu"]
    assert store.load("gpu").instances == (record("i-1"),)
    assert store.load("cpu").instances == (record("i-1", joined_at=1.5),)
    assert store.summary("cpu") is None


def test_closed_intents_and_gone_instances_are_not_loaded(store: SqlStore) -> None:
    store.commit(changes(intents=(intent("a"), intent("b", CLOSED), intent("c", REFUSED))))
    store.commit(changes(instances=(record("i-1"), record("i-2", gone_at=100.0))))
    books = store.load("gpu")
    assert [each.token for each in books.intents] == ["a"]
    assert [each.instance.id for each in books.instances] == ["i-1"]


@pytest.mark.parametrize("after", IntentState)
@pytest.mark.parametrize("before", IntentState)
def test_intents_move_by_the_table(store: SqlStore, before: IntentState, after: IntentState) -> None:
    """I3: a token that was refused or closed is never asked for again."""
    store.commit(changes(intents=(intent("a", before),)))
    new = changes(200.0, intents=(intent("a", after, attempts=9),), summary={"written": True})
    if after is before or after in INTENT_TRANSITIONS[before]:
        store.commit(new)
        assert [each.attempts for each in store.load("gpu").intents] == ([9] if after in (OPEN, GRANTED) else [])
    else:
        with pytest.raises(StoreError, match=f"launch intent a is {before}, and cannot become {after}"):
            store.commit(new)
        assert store.summary("gpu") is None
        assert store.load("gpu").heartbeat == 100.0


def test_intents_of_one_commit_move_by_the_table_too(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="cannot become open"):
        store.commit(changes(intents=(intent("a", CLOSED), intent("a"))))
    assert not store.load("gpu").intents


@pytest.mark.parametrize("other", [{"count": 3}, {"offering": OFFERING.__class__("other", OFFERING.capacity)}])
def test_token_keeps_its_request(store: SqlStore, other: dict[str, object]) -> None:
    store.commit(changes(intents=(intent("a"),)))
    with pytest.raises(StoreError, match="launch intent a was written for another request"):
        store.commit(changes(intents=(intent("a", **other),)))
    assert store.load("gpu").intents == (intent("a"),)


def test_many_intents_in_one_commit(store: SqlStore) -> None:
    many = tuple(intent(f"{number:05}") for number in range(1700))
    store.commit(changes(intents=many))
    store.commit(changes(intents=many[:-1]))
    assert store.load("gpu").intents == many


def test_an_intent_of_an_unknown_pool_leaves_nothing_behind(store: SqlStore) -> None:
    with pytest.raises(StoreError):
        store.commit(changes(intents=(intent("a"), intent("b", pool="other")), instances=(record("i-1"),)))
    assert store.load("gpu") == PoolBooks()


def test_launches_are_synced_to_disk_and_the_rest_is_not(store: SqlStore, kind: str) -> None:
    """I3: an intent is on disk before the provider is asked."""
    said: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("PRAGMA", "BEGIN", "SET", "SELECT pg", "INSERT INTO pools")):
            said.append(statement.split("(")[0].strip())

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        for state in (OPEN, OPEN, GRANTED, CLOSED):
            store.commit(changes(intents=(intent("a", state),)))
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    durable, first, later = ([*each, "INSERT INTO pools"] for each in _BEGINNINGS[kind])
    assert said == [*durable, *durable, *first, *later]


def test_decisions_without_effect_are_not_recorded(store: SqlStore) -> None:
    store.commit(changes(decision=Decision(100.0, desired_new=0)))
    assert not store.decisions("gpu")


def test_newest_decisions_and_moves_come_oldest_first(store: SqlStore) -> None:
    for number in range(6):
        move = Move(f"i-{number % 2}", float(number), None, InstanceState.STARTING, str(number))
        launch = Launch(OFFERING, number + 1, "needed")
        store.commit(changes(float(number), moves=(move,), decision=Decision(float(number), (launch,))))
    assert [each.at for each in store.decisions("gpu")] == [0, 1, 2, 3, 4, 5]
    assert [each.at for each in store.decisions("gpu", limit=2)] == [4, 5]
    assert [each.at for each in store.decisions("gpu", since=3.0)] == [3, 4, 5]
    assert [each.note for each in store.moves("gpu", limit=3)] == ["3", "4", "5"]
    assert [each.note for each in store.moves("gpu", instance_id="i-1", limit=2)] == ["3", "5"]


def test_a_span_written_twice_is_one(store: SqlStore) -> None:
    span = StatisticsSpan("gpu", "i-1", 4, 100.0)
    for end in (None, None, 150.0, 150.0, 160.0):
        store.commit(changes(spans=(StatisticsSpan("gpu", "i-1", 4, 100.0, end),)))
    store.commit(changes(spans=(span, span, StatisticsSpan("gpu", "i-1", 4, 200.0))))
    assert store.spans("gpu", 0.0, 1000.0) == (span, StatisticsSpan("gpu", "i-1", 4, 200.0))


def test_spans_that_overlap_a_period(store: SqlStore) -> None:
    ends: dict[str, tuple[float, float | None]] = {
        "before": (10.0, 90.0),
        "ends-at-start": (10.0, 100.0),
        "over-the-start": (20.0, 101.0),
        "open": (30.0, None),
        "within": (120.0, 130.0),
        "over-the-end": (199.0, 300.0),
        "starts-at-end": (200.0, 300.0),
        "open-later": (250.0, None),
    }
    store.commit(changes(spans=tuple(StatisticsSpan("gpu", name, 1, *each) for name, each in ends.items())))
    found = [each.instance_id for each in store.spans("gpu", 100.0, 200.0)]
    assert found == ["over-the-start", "open", "within", "over-the-end"]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (0.0, [2, 3, 4, 5, 6]),  # none so old: from the first complete one
        (2.0, [2, 3, 4, 5, 6]),
        (3.5, [2, 3, 4, 5, 6]),
        (4.0, [2, 3, 4, 5, 6]),
        (5.0, [5, 6]),
        (99.0, [5, 6]),
    ],
)
def test_views_begin_with_a_complete_one(store: SqlStore, since: float, expected: list[int]) -> None:
    for number in range(1, 7):
        view = {"complete": True, "agents": number} if number in (2, 5) else {"agents": number}
        store.commit(changes(float(number), recorded_view=view))
    views = store.recorded_views("gpu", since=since)
    assert [at for at, _ in views] == expected
    assert [view["agents"] for _, view in views] == expected
    assert views[0][1]["complete"] is True


def test_changes_of_a_view_that_is_not_known_tell_nothing(store: SqlStore) -> None:
    store.commit(changes(1.0, recorded_view={"agents": 1}))
    assert not store.recorded_views("gpu")


def test_what_no_database_holds_is_written_as_escapes(store: SqlStore) -> None:
    """An error text with undecodable bytes must not keep an intent off the record."""
    store.commit(changes(intents=(intent("a", error="bad \udcff byte, and \0"),), summary={"error": "\udcff\0"}))
    assert store.load("gpu").intents[0].error == "bad \\udcff byte, and \\x00"
    assert store.summary("gpu") == {"error": "\udcff\0"}


def test_pruning_keeps_what_is_still_needed(store: SqlStore) -> None:
    launch = Decision(10.0, (Launch(OFFERING, 1, "needed"),))
    store.commit(
        changes(
            10.0,
            intents=(intent("open"), intent("granted", GRANTED), intent("over", CLOSED), intent("no", REFUSED)),
            instances=(record("here"), record("gone", gone_at=20.0), record("just-gone", gone_at=50.0)),
            moves=(Move("here", 10.0, None, InstanceState.RUNNING), Move("here", 60.0, InstanceState.RUNNING, None)),
            decision=launch,
            spans=(StatisticsSpan("gpu", "here", 1, 10.0), StatisticsSpan("gpu", "gone", 1, 10.0, 20.0)),
            summary={"n": 1},
            launch_failures={"a": LaunchFailures(1)},
            join_failures=JoinFailures(1),
            owns=True,
        )
    )
    # Its instance is still here: should the listing show one more of this token, it must be known whose it is.
    store.commit(changes(11.0, intents=(intent("lives", CLOSED),), instances=(record("it", token="lives"),)))
    store.commit(changes(60.0, intents=(intent("late", CLOSED),), decision=Decision(60.0, launch.launches)))

    store.prune(50.0)

    assert {each.token for each in store.load("gpu").intents} == {"open", "granted"}
    assert {each.instance.id for each in store.load("gpu").instances} == {"here", "it"}
    assert [each.at for each in store.moves("gpu")] == [60.0]
    assert [each.at for each in store.decisions("gpu")] == [60.0]
    assert [each.instance_id for each in store.spans("gpu", 0.0, 100.0)] == ["gone", "here"]
    assert store.summary("gpu") == {"n": 1}
    assert store.load("gpu").launch_failures == {"a": LaunchFailures(1)}
    assert store.load("gpu").join_failures == JoinFailures(1)
    assert store.load("gpu").owns
    for token in ("lives", "late"):
        with pytest.raises(StoreError, match="cannot become open"):
            store.commit(changes(70.0, intents=(intent(token),)))


def test_pruning_keeps_the_view_that_later_ones_build_on(store: SqlStore) -> None:
    for number in range(8):
        view = {"complete": True} if number in (1, 3, 6) else {"n": number}
        store.commit(changes(float(number), recorded_view=view))
    store.prune(5.0)
    assert [at for at, _ in store.recorded_views("gpu")] == [3, 4, 5, 6, 7]
    store.prune(6.0)
    assert [at for at, _ in store.recorded_views("gpu")] == [6, 7]
    store.prune(100.0)
    assert [at for at, _ in store.recorded_views("gpu")] == [6, 7]


def test_pruning_forgets_views_without_a_beginning(store: SqlStore) -> None:
    store.commit(changes(1.0, recorded_view={"n": 1}))
    store.commit(changes(9.0, recorded_view={"complete": True}))
    store.prune(5.0)
    assert [at for at, _ in store.recorded_views("gpu")] == [9.0]


def test_ten_thousand_changed_instances_are_written_at_once(store: SqlStore) -> None:
    statements: list[bool] = []

    def sent(*arguments: Any) -> None:
        statements.append(arguments[-1])

    records = tuple(record(f"i-{number:05}") for number in range(10_000))
    event.listen(store._engine, "before_cursor_execute", sent)
    for at in (1.0, 2.0):
        statements.clear()
        store.commit(changes(at, instances=records))
        # One for all instances, and a few for a transaction: one for each would take a hundred times as long.
        assert len(statements) <= 10
    event.remove(store._engine, "before_cursor_execute", sent)
    assert store.load("gpu").instances == records
