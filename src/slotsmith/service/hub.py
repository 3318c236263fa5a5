"""What has been put on record, as it happens: the newest summary of each pool, its trail, and events for listeners."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from slotsmith.model.launch import IntentState
from slotsmith.reports.narrative import decided
from slotsmith.store.base import Changes

KEPT_EVENTS: Final = 1000
"""Events that a listener who comes back can still be given."""
LONGEST_QUEUE: Final = 500
"""Events that wait for one listener; one that falls further behind is let go and comes back."""
SAMPLE_PERIOD: Final = 10.0
"""Seconds between two points of a pool's trail."""
LONGEST_TRAIL: Final = 2160
"""Points of a trail: six hours."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `body` is JSON."""

    number: int
    name: str
    pool: str
    body: str


@dataclass(frozen=True, slots=True)
class Sample:
    """How a pool stood at a moment: instances by state, and what was pending."""

    at: float
    counts: Mapping[str, int]
    pending_slots: int
    pending_tasks: int


@dataclass(slots=True)
class Trail:
    """What is known of one pool without asking it."""

    summary: Mapping[str, Any] | None = None
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=LONGEST_TRAIL))
    began: float | None = None


class Listener:
    """One stream's queue. `lost` is set when it has fallen too far behind."""

    def __init__(self, pool: str | None, missed: Iterable[Event]) -> None:
        self._pool = pool
        self._events: deque[Event] = deque(event for event in missed if self._wants(event))
        self._ready = asyncio.Event()
        self.lost = False
        if self._events:
            self._ready.set()

    def _wants(self, event: Event) -> bool:
        return self._pool in (None, event.pool)

    def put(self, event: Event) -> None:
        if not self._wants(event) or self.lost:
            return
        self.lost = len(self._events) >= LONGEST_QUEUE
        self._events.append(event)
        self._ready.set()

    def wake(self) -> None:
        """The service ends."""
        self.lost = True
        self._ready.set()

    async def take(self, seconds: float) -> Sequence[Event]:
        """What has come, waiting for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return ()
        self._ready.clear()
        taken, self._events = self._events, deque()
        return tuple(taken)


class Hub:
    """Gathers what is committed, in the event loop. `on_changes` is told of each commit after that."""

    def __init__(self, pools: Iterable[str] = ()) -> None:
        self.trails: dict[str, Trail] = {}
        self.follow(pools)
        self.on_changes: list[Callable[[Changes], None]] = []
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._listeners: set[Listener] = set()
        self._number = 0

    def follow(self, pools: Iterable[str]) -> None:
        """These are the pools from now on; what is known of those that stay is kept."""
        self.trails = {pool: self.trails.get(pool) or Trail() for pool in pools}

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def committed(self, changes: Changes) -> None:
        """These are on record."""
        trail = self.trails.get(changes.pool)
        if trail is None:
            return
        trail.began = changes.at if trail.began is None else trail.began
        for move in changes.moves:
            after = move.after.value if move.after else "gone"
            self._tell("move", changes.pool, {"at": move.at, "id": move.instance_id, "after": after, "note": move.note})
        for intent in changes.intents:
            if intent.state in (IntentState.REFUSED, IntentState.GRANTED):
                told = {"count": intent.granted or 0, "asked": intent.count, "error": intent.error or None}
                self._tell("launch", changes.pool, {"at": changes.at, "offering": intent.offering.name, **told})
        for action in changes.actions:
            told = {"who": action.who, "what": action.what, "why": action.why}
            self._tell("action", changes.pool, {"at": action.at, **told})
        if changes.decision is not None:
            self._decided(changes)
        if changes.summary is not None:
            self._summed_up(changes.pool, trail, changes.summary)
        for tell in self.on_changes:
            tell(changes)

    def seen(self, pool: str, summary: Mapping[str, Any]) -> None:
        """Another replica has put this on record."""
        if pool in self.trails:
            self._summed_up(pool, self.trails[pool], summary)

    def _decided(self, changes: Changes) -> None:
        decision = changes.decision
        assert decision is not None
        body: dict[str, Any] = {
            "launch": [
                {"offering": each.offering.name, "count": each.count, "reason": each.reason}
                for each in decision.launches
            ],
            "terminate": [{"id": each.id, "reason": each.reason.value} for each in decision.terminations],
            "unmet": [
                {"tasks": str(each.tasks) if each.tasks else None, "count": each.count, "reason": each.reason}
                for each in decision.unmet
            ],
        }
        self._tell("decision", changes.pool, {"at": decision.at, "sentence": decided(body)})

    def _summed_up(self, pool: str, trail: Trail, summary: Mapping[str, Any]) -> None:
        trail.summary = summary
        sample = Sample(summary["at"], summary["counts"], summary["pending_slots"], summary["pending_tasks"])
        last = trail.samples[-1] if trail.samples else None
        if last is None or sample.at >= last.at + SAMPLE_PERIOD:
            trail.samples.append(sample)
        told = ("at", "counts", "in_flight", "pending_tasks", "pending_slots", "launch_error", "dollars_per_hour")
        self._tell("summary", pool, {key: summary.get(key) for key in told} | {"unmet": len(summary["unmet"])})

    def _tell(self, name: str, pool: str, body: Mapping[str, Any]) -> None:
        self._number += 1
        event = Event(self._number, name, pool, json.dumps({"pool": pool, **body}))
        self._kept.append(event)
        for listener in self._listeners:
            listener.put(event)

    def listen(self, pool: str | None, after: int | None) -> Listener:
        """A new stream: of one pool or of all; `after` = the number of the last event that was seen before."""
        missed = [] if after is None else [event for event in self._kept if event.number > after]
        listener = Listener(pool, missed)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """A stream has ended."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams."""
        for listener in self._listeners:
            listener.wake()
