"""A scheduler that pushes its view: in the same process, or through the service.

It is asked to give agents up through a callback, or finds them in `drains` and acknowledges.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import (
    DrainAnswer,
    DrainOutcome,
    DrainRequest,
    SchedulerContext,
    SchedulerPlugin,
    SchedulerSettings,
    as_seen,
)
from slotsmith.settings import PositiveDuration

Drain = Callable[[Sequence[str], bool], Awaitable[Mapping[str, DrainAnswer]]]
"""Called with agent names and `when_done`, see `Scheduler.drain`."""


class PushSettings(SchedulerSettings):
    """`scheduler: {type: push}`.

    `drain`: what gives an agent up. `view` = the last view, which says that it is idle; `acknowledge` = the scheduler,
    by name. `after_drain_deadline`: what becomes of an agent of which it says nothing for `drain_deadline`.
    """

    type: Literal["push"] = "push"
    drain: Literal["view", "acknowledge"] = "view"
    drain_deadline: PositiveDuration = 300.0
    after_drain_deadline: Literal["keep", "terminate"] = "keep"


class PushScheduler:
    """The connector for what pushes.

    Without a `drain` callback and without acknowledgements an agent is released when the last pushed view says that it
    is idle or gone, waits when the view says that it is busy, and refuses when it is busy and was to go at once.
    """

    poll_period = 3600.0  # a push wakes the pool by itself

    def __init__(
        self, context: SchedulerContext, drain: Drain | None = None, settings: PushSettings | None = None
    ) -> None:
        self._context = context
        self._drain = drain
        self._settings = settings or PushSettings()
        self._info: ScalingInfo | None = None
        self._asked: dict[str, DrainRequest] = {}
        self._answers: dict[str, DrainAnswer] = {}

    def push(self, info: ScalingInfo) -> bool:
        """Hand over a new view; False when it equals the last one."""
        if info == self._info:
            return False
        self._info = info
        present = {agent.name for agent in info.agents}
        self._asked = {name: request for name, request in self._asked.items() if name in present}
        self._answers = {name: answer for name, answer in self._answers.items() if name in present}
        self._context.wake()
        return True

    def drains(self) -> Sequence[DrainRequest]:
        """The agents that the scheduler is asked to give up, and has not answered for, in the order of asking."""
        return [request for name, request in self._asked.items() if name not in self._answers]

    def acknowledge(self, answers: Mapping[str, DrainAnswer]) -> Sequence[str]:
        """What the scheduler says of agents; the names of those that it was not asked for."""
        known = {name: answer for name, answer in answers.items() if name in self._asked}
        self._answers.update(known)
        return sorted(answers.keys() - known.keys())

    async def setup(self) -> None:
        """Nothing to connect to."""

    async def scaling_info(self) -> ScalingInfo | None:
        return self._info

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        if self._drain is not None:
            return await self._drain(agents, when_done)
        seen = {agent.name: agent for agent in self._info.agents} if self._info else {}
        now = self._context.clock.now()
        answers = {}
        for name in agents:
            agent = seen.get(name)
            if agent is None:
                answers[name] = DrainAnswer(DrainOutcome.RELEASED)
                continue
            request = self._asked.setdefault(name, DrainRequest(name, now, when_done))
            if self._settings.drain == "acknowledge":
                answers[name] = self._acknowledged(request, agent.idle, agent.draining, now)
            else:
                answers[name] = as_seen(agent.idle, when_done)
            if answers[name].outcome is DrainOutcome.REFUSED:
                self._forget(name)
        return answers

    def _acknowledged(self, request: DrainRequest, idle: bool, draining: bool, now: float) -> DrainAnswer:
        name = request.agent
        if idle and draining:
            # It gets no new task and has none: the view says as much as an acknowledgement would.
            return DrainAnswer(DrainOutcome.RELEASED)
        if name in self._answers:
            answer = self._answers[name]
            if answer.outcome is not DrainOutcome.WAITING:
                return answer
        if not idle and not request.when_done and name not in self._answers:
            return DrainAnswer(DrainOutcome.REFUSED, "busy in the last view")
        if now < request.since + self._settings.drain_deadline or name in self._answers:
            return self._answers.get(name) or DrainAnswer(DrainOutcome.WAITING, "the scheduler has not answered yet")
        late = f"the scheduler has not answered for {self._settings.drain_deadline:g} s"
        if self._settings.after_drain_deadline == "terminate":
            return DrainAnswer(DrainOutcome.RELEASED, late)
        return DrainAnswer(DrainOutcome.REFUSED, late)

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """They are no longer in the list of drains, which is how the scheduler knows."""
        for name in agents:
            self._forget(name)

    def called_off(self, agents: Sequence[str]) -> None:
        """Only these are still to be given up."""
        for name in self._asked.keys() - set(agents):
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._asked.pop(name, None)
        self._answers.pop(name, None)

    async def close(self) -> None:
        """Nothing to let go of."""


def _create(settings: PushSettings, context: SchedulerContext) -> PushScheduler:
    return PushScheduler(context, settings=settings)


plugin = SchedulerPlugin(PushSettings, _create, takes_views=True)
