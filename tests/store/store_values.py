"""Values for the tests of the store: plain ones, and random ones of every field that a type has."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.offering import Offering
from slotsmith.model.record import InstanceRecord
from slotsmith.model.resources import Resources
from slotsmith.store.base import Changes
from slotsmith.store.sql import SqlStore

Opener = Callable[..., SqlStore]
"""Opens the test's store, with options of `open_store`."""

POOL = "gpu"
OFFERING = Offering("g4dn.xlarge", Resources(1, 4, 16.0), "us-east-1a", "spot", 0.31)


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def intent(token: str, state: IntentState = IntentState.OPEN, *, pool: str = POOL, **more: Any) -> LaunchIntent:
    fields = {"offering": OFFERING, "count": 2, "created_at": 100.0, "reason": "for 2 tasks"} | more
    return LaunchIntent(token=token, pool=pool, state=state, **fields)


def record(name: str, *, token: str = "", gone_at: float | None = None, **more: Any) -> InstanceRecord:
    instance = Instance(name, InstanceState.RUNNING, 100.0, name, token, OFFERING.name, OFFERING.capacity)
    return InstanceRecord(instance, first_seen=101.0, gone_at=gone_at, **more)


def changes(at: float = 100.0, *, pool: str = POOL, **more: Any) -> Changes:
    return Changes(pool, at, **more)


# What no database holds as it is has a test of its own: lone surrogates and NUL.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**31 - 1)
AMOUNTS = st.one_of(st.floats(0, 1e12), st.integers(0, 10**6))
RESOURCES = st.builds(
    Resources,
    COUNTS,
    AMOUNTS,
    AMOUNTS,
    st.dictionaries(TEXTS, AMOUNTS, max_size=3).map(lambda each: tuple(each.items())),
)


def any_value(kind: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a type; every field it has is filled from its type, so that a new one is covered without more."""
    simple = {str: TEXTS, float: NUMBERS, int: COUNTS, bool: st.booleans(), Resources: RESOURCES}
    if kind in simple:
        return simple[kind]
    if kind is type(None):
        return st.none()
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([any_value(each) for each in typing.get_args(kind)])
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields
    return st.builds(kind, **{name: any_value(hints[name]) for name in names if name not in fixed}, **fixed)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
JSON_OBJECTS = st.dictionaries(TEXTS, JSON, max_size=5)
