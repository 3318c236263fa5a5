"""The contract between a provisioner and its store.

Everything a pass wants kept is one `Changes` value and is written in one transaction: all of it is on record, or none.
Methods are synchronous; the provisioner runs them on one writer thread, the simulation runs them inline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from slotsmith.model.decision import Decision
from slotsmith.model.launch import LaunchIntent
from slotsmith.model.launch_error import NO_JOIN_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.record import InstanceRecord, Move, StatisticsSpan
from slotsmith.model.steering import UNSTEERED, Action, Steering

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be opened, read or written. The text names the store, what happened and what to do."""


@dataclass(frozen=True, slots=True)
class PoolBooks:
    """What is known of a pool at start.

    `intents` are those not closed or refused; `instances` those not gone; `owns` is whether what a listing shows under
    our tags is ours without asking (False until the pool has started with an empty listing or was adopted);
    `heartbeat` is when the pool was last seen alive (None = never). `foresight` is what it has learned of its demand.
    """

    intents: tuple[LaunchIntent, ...] = ()
    instances: tuple[InstanceRecord, ...] = ()
    launch_failures: Mapping[str, LaunchFailures] = field(default_factory=dict)
    join_failures: JoinFailures = NO_JOIN_FAILURES
    owns: bool = False
    heartbeat: float | None = None
    steering: Steering = UNSTEERED
    foresight: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step of a pool adds to the record. Rows replace those with the same key.

    `intents` by token; `instances` by id; `launch_failures` by offering; `spans` by instance and start. `summary` is
    what `status` and `explain` show, JSON-ready. `recorded_view` is what changed in the view since the last one
    recorded, JSON-ready (see `slotsmith.core.recording`). `heartbeat` is when the pool was last seen alive
    (None = `at`). `steering` is what is set by hand from now on, `actions` who did what. `foresight` is what was
    learned, JSON-ready.
    """

    pool: str
    at: float
    intents: tuple[LaunchIntent, ...] = ()
    instances: tuple[InstanceRecord, ...] = ()
    moves: tuple[Move, ...] = ()
    decision: Decision | None = None
    launch_failures: Mapping[str, LaunchFailures] = field(default_factory=dict)
    join_failures: JoinFailures | None = None
    spans: tuple[StatisticsSpan, ...] = ()
    owns: bool | None = None
    summary: Mapping[str, Any] | None = None
    recorded_view: Mapping[str, Any] | None = None
    heartbeat: float | None = None
    steering: Steering | None = None
    actions: tuple[Action, ...] = ()
    foresight: Mapping[str, Any] | None = None

    @property
    def alive_at(self) -> float:
        """When the pool was last seen alive, in epoch seconds."""
        return self.at if self.heartbeat is None else self.heartbeat

    @property
    def must_be_durable(self) -> bool:
        """Whether this must be on disk before the next step: a launch is about to be asked for."""
        return any(intent.answer_pending for intent in self.intents)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One recorded decision, as JSON-ready data: `launch`, `terminate`, `unmet` with their reasons.

    `number` grows with each decision on record.
    """

    pool: str
    at: float
    body: Mapping[str, Any]
    number: int = 0


class Store(Protocol):
    """Keeps the books of all pools. Every method may raise `StoreError`; nothing is half written."""

    def load(self, pool: str) -> PoolBooks:
        """The books of one pool, to start from."""
        ...

    def commit(self, changes: Changes) -> None:
        """Write all of it, or nothing; on disk for good when `changes.must_be_durable`. Also moves the heartbeat."""
        ...

    def pools(self) -> Sequence[str]:
        """The pools that have books, by name."""
        ...

    def summary(self, pool: str) -> Mapping[str, Any] | None:
        """The last summary written for a pool."""
        ...

    def moves(self, pool: str, *, instance_id: str | None = None, limit: int = 100) -> Sequence[Move]:
        """The newest lines of history, oldest first."""
        ...

    def decisions(
        self, pool: str, *, since: float = 0.0, limit: int = 100, before: int | None = None
    ) -> Sequence[DecisionRow]:
        """The newest decisions that did something or left something unmet, oldest first.

        `before`: only those with a lower number.
        """
        ...

    def spans(self, pool: str, start: float, end: float) -> Sequence[StatisticsSpan]:
        """Statistics spans that overlap [start, end), oldest first."""
        ...

    def recorded_views(self, pool: str, *, since: float = 0.0) -> Sequence[tuple[float, Mapping[str, Any]]]:
        """Recorded view changes, oldest first, from the last complete one at or before `since` on."""
        ...

    def prune(self, before: float) -> None:
        """Forget what ended before `before` (epoch seconds): decisions, history, views, gone instances, their intents.

        Statistics stay. So do the intents of instances that are not gone, and the views that later ones build on.
        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class StoreRunner(Protocol):
    """How a coroutine calls a store: in order, and without holding the event loop while the disk works.

    `slotsmith.store.writer` has one that uses a thread and one that runs inline.
    """

    async def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. `StoreError` when its deadline passes; the call may then still happen."""
        ...

    def close(self) -> None:
        """Finish what was asked for, and take no more."""
        ...
