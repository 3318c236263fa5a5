"""The contract between a provisioner and a scheduler connector.

A connector says what is waiting and which agents are connected, and gives agents up when asked. It decides nothing.
`docs/schedulers.md` is the guide for writing one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from slotsmith.clock import Clock
from slotsmith.model.scaling_info import ScalingInfo


class SchedulerError(Exception):
    """The scheduler cannot be reached, or answered what cannot be read. The text is for people."""


class DrainOutcome(StrEnum):
    """What became of a request to give an agent up."""

    RELEASED = "released"
    """It has no task, gets none, and what it held is safe elsewhere: the instance may go. Also: no such agent."""
    WAITING = "waiting"
    """It gets no new task and still works on what it has: ask again."""
    REFUSED = "refused"
    """It stays as it was, and at work."""


@dataclass(frozen=True, slots=True)
class DrainAnswer:
    """The outcome for one agent; `detail` says why, for people."""

    outcome: DrainOutcome
    detail: str = ""


def as_seen(idle: bool, when_done: bool) -> DrainAnswer:
    """The answer for an agent of which no more is known than whether it was idle in the last view."""
    if idle:
        return DrainAnswer(DrainOutcome.RELEASED)
    return DrainAnswer(DrainOutcome.WAITING if when_done else DrainOutcome.REFUSED, "busy in the last view")


class SchedulerSettings(BaseModel):
    """The `scheduler:` block of a pool; each connector adds its keys. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str


@dataclass(frozen=True, slots=True)
class SchedulerContext:
    """What the assembly hands to a connector. `wake` may be called, from the event loop, when its view has changed."""

    pool: str
    clock: Clock
    wake: Callable[[], None]


class Scheduler(Protocol):
    """One pool's view of a scheduler. Any method may raise `SchedulerError`; the caller retries and sets deadlines."""

    poll_period: float
    """Seconds between reads of the view when nothing else asks for one."""

    async def setup(self) -> None:
        """Connect. Raises `SchedulerError` when that fails; the caller tries again later."""
        ...

    async def scaling_info(self) -> ScalingInfo | None:
        """The view now; None = nothing has been said yet."""
        ...

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        """Ask the scheduler to give up these agents, by name; every one gets an answer.

        Checking and taking it out of service are one step of the scheduler, so that no task can slip in between. A
        busy agent refuses, unless `when_done`: then it gets nothing new and is released when its tasks are finished.
        """
        ...

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """Give agents that are being drained new tasks again. Unknown names and others are left alone."""
        ...

    async def close(self) -> None:
        """Let go of connections and tasks. Agents stay."""
        ...


@runtime_checkable
class TakesViews(Protocol):
    """A connector whose views come from `Provisioner.update_scaling_info` and are not read."""

    def push(self, info: ScalingInfo) -> bool:
        """Hand over a new view; False when it equals the last one."""
        ...


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """An agent that a scheduler is asked to give up, since when (epoch seconds), and whether its tasks may finish."""

    agent: str
    since: float
    when_done: bool


@runtime_checkable
class ListsDrains(Protocol):
    """A connector whose scheduler looks for what it is asked to give up, and says what became of it."""

    def drains(self) -> Sequence[DrainRequest]:
        """The agents that it is asked for, and has not answered for."""
        ...

    def acknowledge(self, answers: Mapping[str, DrainAnswer]) -> Sequence[str]:
        """What the scheduler says of agents; the names of those that it was not asked for."""
        ...

    def called_off(self, agents: Sequence[str]) -> None:
        """Of all that it was asked for, only these are still to be given up."""
        ...


@dataclass(frozen=True, slots=True)
class SchedulerPlugin:
    """What an entry point of the group `slotsmith.schedulers` names.

    `takes_views`: what `create` makes is a `TakesViews`.
    """

    settings: type[SchedulerSettings]
    create: Callable[[Any, SchedulerContext], Scheduler]
    takes_views: bool = False
