"""What is written comes back exactly, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_values import JSON_OBJECTS, NUMBERS, TEXTS, any_value

from postgres import Server
from slotsmith.model.decision import Decision, Launch, Reason, Termination, Unmet
from slotsmith.model.instance import Instance
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering
from slotsmith.model.record import InstanceRecord, Move, StatisticsSpan
from slotsmith.model.resources import Resources
from slotsmith.model.task import Constraints, TaskClass
from slotsmith.store.base import Changes
from slotsmith.store.sql import SqlStore, open_store


@pytest.fixture(scope="module", autouse=True)
def store(kind: str, request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """One for all examples of a test; each has a pool of its own in it."""
    if kind == "sqlite":
        url = "sqlite://"
    else:
        server: Server = request.getfixturevalue("postgres")
        url = server.url(request.getfixturevalue("books"))
    with open_store(url) as opened:
        yield opened


TASKS = any_value(TaskClass, count=st.integers(1, 1000), gang=st.integers(1, 8), constraints=st.just(Constraints()))

_pools = iter(range(10**9))


def fresh_pool() -> str:
    return f"pool-{next(_pools)}"


def written(store: SqlStore, pool: str, **what: Any) -> None:
    store.commit(Changes(pool, 1.0, **what))


@given(any_value(LaunchIntent, state=st.sampled_from([IntentState.OPEN, IntentState.GRANTED])))
def test_intent(store: SqlStore, intent: LaunchIntent) -> None:
    pool = fresh_pool()
    mine = replace(intent, pool=pool, token=pool)
    written(store, pool, intents=(mine,))
    assert store.load(pool).intents == (mine,)


@given(TEXTS)
def test_token_and_pool_may_be_any_text(store: SqlStore, text: str) -> None:
    pool = f"{fresh_pool()} {text}"
    mine = LaunchIntent(f"{pool}!", pool, Offering("a", Resources()), 1, 2.0, text)
    written(store, pool, intents=(mine,))
    assert store.load(pool).intents == (mine,)
    assert pool in store.pools()


# That the cloud takes it back is not kept: each listing says it again.
RECORDS = any_value(InstanceRecord, gone_at=st.none(), instance=any_value(Instance, reclaimed=st.just(False)))


@given(st.lists(RECORDS, max_size=4, unique_by=lambda each: each.instance.id))
def test_instances(store: SqlStore, records: list[InstanceRecord]) -> None:
    pool = fresh_pool()
    written(store, pool, instances=tuple(records))
    expected = sorted(records, key=lambda each: each.instance.id.encode())
    assert list(store.load(pool).instances) == expected


@given(st.lists(any_value(Move), max_size=4))
def test_moves(store: SqlStore, moves: list[Move]) -> None:
    pool = fresh_pool()
    written(store, pool, moves=tuple(moves))
    assert list(store.moves(pool)) == moves


@given(st.dictionaries(TEXTS, any_value(LaunchFailures), max_size=3), any_value(JoinFailures))
def test_failures(store: SqlStore, launch: dict[str, LaunchFailures], join: JoinFailures) -> None:
    pool = fresh_pool()
    written(store, pool, launch_failures=launch, join_failures=join)
    books = store.load(pool)
    assert books.launch_failures == launch
    assert books.join_failures == join


@given(any_value(StatisticsSpan, start=st.floats(0, 1e10), end=st.none() | st.floats(1e10, 2e10, exclude_min=True)))
def test_span(store: SqlStore, span: StatisticsSpan) -> None:
    pool = fresh_pool()
    mine = replace(span, pool=pool)
    written(store, pool, spans=(mine,))
    assert list(store.spans(pool, 0.0, 1e11)) == [mine]


@given(JSON_OBJECTS, JSON_OBJECTS, st.booleans(), NUMBERS)
def test_summary_view_and_head(
    store: SqlStore, summary: dict[str, Any], view: dict[str, Any], owns: bool, at: float
) -> None:
    pool = fresh_pool()
    view = view | {"complete": True}
    store.commit(Changes(pool, at, summary=summary, recorded_view=view, owns=owns))
    assert store.summary(pool) == summary
    assert list(store.recorded_views(pool)) == [(at, view)]
    assert (store.load(pool).owns, store.load(pool).heartbeat) == (owns, at)


@given(
    st.lists(any_value(Offering), max_size=2),
    st.lists(st.tuples(TEXTS, st.sampled_from(Reason)), max_size=2),
    st.lists(st.tuples(TASKS, TEXTS), max_size=2),
)
@settings(max_examples=50)
def test_decision(
    store: SqlStore, offerings: list[Offering], ends: list[tuple[str, Reason]], unmet: list[tuple[TaskClass, str]]
) -> None:
    pool = fresh_pool()
    decision = Decision(
        3.0,
        tuple(Launch(each, 2, "needed") for each in offerings),
        tuple(Termination(name, reason) for name, reason in ends),
        tuple(Unmet(tasks.count, reason, tasks) for tasks, reason in unmet),
    )
    written(store, pool, decision=decision)
    rows = store.decisions(pool)
    if not (offerings or ends or unmet):
        assert not rows
        return
    (row,) = rows
    assert (row.pool, row.at) == (pool, 3.0)
    assert row.body["launch"] == [{"offering": each.name, "count": 2, "reason": "needed"} for each in offerings]
    assert row.body["terminate"] == [{"id": name, "reason": reason.value} for name, reason in ends]
    assert [(each["tasks"], each["count"], each["reason"]) for each in row.body["unmet"]] == [
        (str(tasks), tasks.count, reason) for tasks, reason in unmet
    ]
