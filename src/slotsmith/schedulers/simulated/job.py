"""Work of a trace, and what has become of it."""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from slotsmith.model.resources import Resources


class Job(NamedTuple):
    """One task of a trace: it runs for `duration_s` once it is placed, whenever that is.

    `submit_s` counts from the start of the world. A job that `spans` may lie on several whole agents.
    """

    id: str
    submit_s: float
    duration_s: float
    resources: Resources
    spans: bool = False


class JobState:
    """A submitted job. All times are in seconds from the start of the world, None = not yet.

    `number` is its place in the order of submission, which it keeps when it is killed and queued again. `waited_s`
    is how long it has been queued in all, without what it waits now; `queued_at` is None while it does not wait.
    `lost` are the runs that were cut off, as (start, end).
    """

    __slots__ = ("agents", "draw", "ended_at", "job", "lost", "number", "queued_at", "started_at", "timer", "waited_s")

    def __init__(self, job: Job, number: int, draw: int, now: float) -> None:
        self.job = job
        self.number = number
        self.draw = draw
        self.queued_at: float | None = now
        self.waited_s = 0.0
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.lost: tuple[tuple[float, float], ...] = ()
        self.agents: tuple[str, ...] = ()
        self.timer: asyncio.TimerHandle | None = None

    def start(self, now: float) -> None:
        """From waiting to running."""
        assert self.queued_at is not None, "only a waiting job starts"
        self.waited_s += now - self.queued_at
        self.queued_at, self.started_at = None, now

    def lose(self, now: float) -> None:
        """From running to waiting: an agent is gone, and the work with it."""
        assert self.started_at is not None, "only a running job is killed"
        self.lost += ((self.started_at, now),)
        self.queued_at, self.started_at = now, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def end(self, now: float) -> None:
        """From running to done."""
        self.ended_at, self.timer = now, None

    def waited(self, now: float) -> float:
        """Seconds for which it has been queued until `now`."""
        return self.waited_s + (0.0 if self.queued_at is None else max(0.0, now - self.queued_at))

    def runs(self) -> tuple[tuple[float, float], ...]:
        """All its runs as (start, end), those that were cut off first; the end of one that still runs is infinite."""
        if self.started_at is None:
            return self.lost
        return (*self.lost, (self.started_at, math.inf if self.ended_at is None else self.ended_at))
