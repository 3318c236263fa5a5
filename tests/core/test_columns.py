"""Tasks as columns: each combination is counted once, and nonsense is refused with the row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.core import columns
from slotsmith.core.columns import classes_from_columns
from slotsmith.model.resources import Resources
from slotsmith.model.task import Task, TaskClass, classes_of

NAMES = ("a", "b", "c")
rows = st.tuples(
    st.sampled_from([0, 1, 2, 8, 3_000_000]),
    st.sampled_from([0.0, 0.1, 0.125, 2.0, 1 / 3, 5e6]),
    st.sampled_from([0.0, 0.7, 7.8125, 16.0, 123456.789]),
    st.sampled_from([-1, 0, 2]),
    st.sampled_from([1, 4, 2_000_000]),
    st.booleans(),
)


def from_rows(table: list[tuple[Any, ...]]) -> tuple[TaskClass, ...]:
    slots, cpus, mem, groups, gang, spans = (
        np.array([row[index] for row in table], kind) for index, kind in enumerate(("i8", "f8", "f8", "i2", "u4", "?"))
    )
    return classes_from_columns(
        slots, cpus=cpus, mem_gib=mem, group_codes=groups, group_names=NAMES, gang=gang, spans=spans
    )


@pytest.mark.parametrize(("counters", "keys"), [(1 << 22, 1 << 62), (0, 1 << 62), (0, 20)])
@given(table=st.lists(rows, max_size=30))
def test_the_same_as_one_by_one(counters: int, keys: int, table: list[tuple[Any, ...]]) -> None:
    tasks = [
        Task("", Resources(slots, cpus, mem), gang, None if code < 0 else NAMES[code], spans)
        for slots, cpus, mem, code, gang, spans in table
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_MOST_COUNTERS", counters)
        patch.setattr(columns, "_MOST_KEYS", keys)
        classes = from_rows(table)
    assert Counter(classes) == Counter(classes_of(tasks))
    order = [
        (NAMES.index(kind.group) if kind.group else -1, kind.gang, *(amount for _, amount in kind.resources.items()))
        for kind in classes
    ]
    assert order == sorted(order)


def test_slots_alone() -> None:
    assert classes_from_columns([2, 0, 2, 1]) == (
        TaskClass(Resources(0)),
        TaskClass(Resources(1)),
        TaskClass(Resources(2), 2),
    )


def test_counts_are_plain_numbers() -> None:
    (kind,) = classes_from_columns(
        np.array([1, 1], np.uint8), group_codes=[0, 0], group_names=["g"], spans=[True, True]
    )
    assert [type(value) for value in (kind.count, kind.gang, kind.spans, kind.resources.slots)] == [int, int, bool, int]
    assert type(kind.resources.cpus) is float


def test_no_tasks() -> None:
    assert classes_from_columns([]) == ()
    assert from_rows([]) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slots": [1, -2]}, r"slots\[1\] is -2, expected at least 0"),
        ({"slots": [1, 2], "gang": [1, 0]}, r"gang\[1\] is 0, expected at least 1"),
        ({"slots": [1, 2], "cpus": [1.0, -0.5]}, r"cpus\[1\] is -0.5, expected a finite number"),
        ({"slots": [1, 2], "cpus": [1.0, float("nan")]}, r"cpus\[1\] is nan, expected a finite number"),
        ({"slots": [1, 2], "mem_gib": [float("inf"), 1.0]}, r"mem_gib\[0\] is inf, expected a finite number"),
        ({"slots": [1, 2], "cpus": [1.0]}, r"cpus has the shape \(1,\), expected one entry per task"),
        ({"slots": [[1, 2]]}, r"slots has the shape \(1, 2\), expected one entry per task"),
        ({"slots": [1.5, 2.0]}, "slots holds float64, expected whole numbers"),
        ({"slots": [1], "cpus": ["two"]}, "cpus holds <U3, expected numbers"),
        ({"slots": [1], "spans": [1]}, "spans holds int64, expected truth values"),
        ({"slots": [1, 1], "group_codes": [0, 1], "group_names": ["g"]}, r"group_codes\[1\] is 1, expected -1 to 0"),
        ({"slots": [1, 1], "group_codes": [-2, 0], "group_names": ["g"]}, r"group_codes\[0\] is -2, expected -1 to 0"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classes_from_columns(given.pop("slots"), **given)
