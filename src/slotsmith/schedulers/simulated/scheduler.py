"""A scheduler that runs the jobs of a trace on whatever agents connect, in the time of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from slotsmith.clock import Clock, Random
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, SchedulerError
from slotsmith.schedulers.simulated.agents import AgentState
from slotsmith.schedulers.simulated.faults import NO_SCHEDULER_FAULTS, SchedulerFaults, Span
from slotsmith.schedulers.simulated.job import Job, JobState
from slotsmith.schedulers.simulated.placement import MOST_ZERO_SLOT_TASKS, Placement

Tell = Callable[..., None]
"""Told of every event: `tell(what, /, **fields)`."""

_DAY: Final = 86400.0
_RELEASED: Final = DrainAnswer(DrainOutcome.RELEASED)
_WAITING: Final = DrainAnswer(DrainOutcome.WAITING, "it finishes its tasks")
_BUSY: Final = DrainAnswer(DrainOutcome.REFUSED, "it is at work")
_KEPT: Final = DrainAnswer(DrainOutcome.REFUSED, "the scheduler wants to keep it")


def _silent(_what: str, /, **_fields: str | float | None) -> None:
    """For those who do not listen."""


class SimulatedScheduler:
    """Runs jobs on agents, and says what waits; to be created and used within a running event loop.

    The world tells it what happens (`submit` or `replay`, `agent_joined`, `agent_left`), the provisioner uses it as its
    `Scheduler`. Times are the loop's, in seconds. `seed` decides which of equal agents gets a job (None = the one that
    joined first), `random` what the faults do (by default it is seeded alike). With `on_view` each new view is handed
    over; without it `wake` is called, and the view is read. What happens at one moment is taken in together: then
    jobs are placed, and there is one new view. So the agents of a gang that join together are seen together, and no
    smaller job takes one of them because it joined first.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int | None,
        random: Random | None = None,
        faults: SchedulerFaults = NO_SCHEDULER_FAULTS,
        tell: Tell = _silent,
        on_view: Callable[[ScalingInfo], None] | None = None,
        wake: Callable[[], None] = lambda: None,
        poll_period: float = 30.0,
        max_zero_slot_tasks: int = MOST_ZERO_SLOT_TASKS,
        movable: bool = False,
    ) -> None:
        """`movable`: jobs that lie on one agent are moved when it is asked for, and begin anew elsewhere."""
        self.poll_period = poll_period
        self.on_view = on_view
        self.wake = wake
        self.jobs: list[JobState] = []
        """All that were submitted, in that order."""
        self.pending: dict[int, JobState] = {}
        """Those that wait, by number."""
        self.running: dict[int, JobState] = {}
        """Those that run, by number."""
        self.finished: list[JobState] = []
        """Those that are done, in the order in which they ended."""
        self.killed = 0
        """Runs that were cut off because an agent was lost."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._random = random or Random(seed or 0)
        self._faults = faults
        self._tell = tell
        self._placement = Placement(seed, max_zero_slot_tasks=max_zero_slot_tasks, movable=movable)
        self._present: dict[str, Resources] = {}
        self._coming: Iterator[Job] = iter(())
        self._to_come = 0
        self._down = False
        self._publishing = False
        self._told: ScalingInfo | None = None
        self._version = self._delivered = 0
        self._forgetting: asyncio.TimerHandle | None = None
        self._forget_later()

    # What the world tells

    def replay(self, jobs: Sequence[Job]) -> None:
        """Submit each of these, which are in order of submission, when its time has come."""
        self._coming, self._to_come = iter(jobs), len(jobs)
        self._next_to_come()

    def submit(self, job: Job) -> JobState:
        """A job that wants to run from now on."""
        state = self._placement.submit(job, self._loop.time())
        self.jobs.append(state)
        self.pending[state.number] = state
        self._tell("scheduler submitted", job=job.id)
        self._changed()
        return state

    def agent_joined(self, name: str, capacity: Resources) -> None:
        """An agent connects; one of this name that is still there has lost its connection, and its work."""
        if name in self._present:
            self.agent_left(name)
        self._present[name] = capacity
        if not self._down:
            self._connect(name)

    def agent_left(self, name: str) -> None:
        """An agent is gone; what ran on it is queued again. Unknown names are left alone."""
        if self._present.pop(name, None) is not None and name in self._placement.agents:
            self._disconnect(name)
            self._changed()

    def stop_faults(self) -> None:
        """No new fault begins; what is under way ends within `settles` of the faults."""
        self._faults = NO_SCHEDULER_FAULTS
        if self._forgetting is not None:
            self._forgetting.cancel()
        # Views that are on their way never arrive, and the true one does at once.
        self._version = self._delivered = self._version + 1
        self._changed()

    # What the world may know

    @property
    def agents(self) -> Mapping[str, AgentState]:
        """The agents that are connected, by name, in the order of joining."""
        return self._placement.agents

    @property
    def down(self) -> bool:
        """Whether it restarts just now."""
        return self._down

    @property
    def done(self) -> bool:
        """Whether all jobs have ended, and none is to come."""
        return not (self.pending or self.running or self._to_come)

    def busy(self, name: str) -> bool:
        """Whether something runs on the agent."""
        agent = self._placement.agents.get(name)
        return agent is not None and bool(agent.jobs)

    def view(self) -> ScalingInfo:
        """What is true now."""
        self._place()
        return self._placement.view()

    # The protocol `Scheduler`

    async def setup(self) -> None:
        """Connect."""
        await self._trouble(self._faults.read_error, "read_error", "cannot be reached")

    async def scaling_info(self) -> ScalingInfo | None:
        """The view that arrived last."""
        await self._trouble(self._faults.read_error, "read_error", "cannot be read")
        if self._told is None:
            self._told = self.view()
        return self._told

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        """Give agents up: an idle one from now on, a busy one (with `when_done`) when its jobs have ended."""
        fails_after = await self._drain_trouble()
        self._place()
        answers = {name: self._drain(name, when_done) for name in agents}
        for name, answer in answers.items():
            self._tell("scheduler drain", agent=name, outcome=answer.outcome.value)
        self._changed()
        if fails_after:
            raise SchedulerError("the connection to the scheduler broke")
        if self._chance(self._faults.slow_drain, "slow_drain"):
            await self._clock.sleep(self._drawn(self._faults.slow_drain_s))
        return answers

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """Let drained agents have new jobs again."""
        fails_after = await self._drain_trouble()
        for name in agents:
            agent = self._placement.agents.get(name)
            if agent is not None and not agent.open:
                self._tell("scheduler drain cancelled", agent=name)
                self._placement.reopen(name)
        self._changed()
        if fails_after:
            raise SchedulerError("the connection to the scheduler broke")

    async def close(self) -> None:
        """The provisioner lets go; jobs and agents go on."""

    # Jobs

    def _next_to_come(self) -> None:
        """Wait for the next job of the replay; those of one moment are submitted together."""
        now = self._loop.time()
        for job in self._coming:
            if job.submit_s > now:
                self._loop.call_at(job.submit_s, self._has_come, job)
                return
            self._to_come -= 1
            self.submit(job)

    def _has_come(self, job: Job) -> None:
        self._to_come -= 1
        self.submit(job)
        self._next_to_come()

    def _place(self) -> None:
        """Start what fits, now that all is known that happens at this moment."""
        now = self._loop.time()
        for state in self._placement.place():
            state.start(now)
            del self.pending[state.number]
            self.running[state.number] = state
            state.timer = self._loop.call_at(now + state.job.duration_s, self._finish, state)
            self._tell("scheduler started", job=state.job.id, agents=",".join(state.agents))

    def _finish(self, state: JobState) -> None:
        state.end(self._loop.time())
        del self.running[state.number]
        self.finished.append(state)
        self._tell("scheduler finished", job=state.job.id)
        self._placement.finish(state)
        self._changed()

    def _connect(self, name: str) -> None:
        self._tell("scheduler joined", agent=name)
        self._placement.join(name, self._present[name])
        self._changed()

    def _disconnect(self, name: str) -> None:
        self._tell("scheduler left", agent=name)
        for state in self._placement.leave(name):
            self._cut_off(state)
            self.killed += 1
            self._tell("scheduler killed", job=state.job.id, agent=name)

    def _drain(self, name: str, when_done: bool) -> DrainAnswer:
        agent = self._placement.agents.get(name)
        if agent is None:
            return _RELEASED
        if agent.jobs and not when_done:
            return _BUSY
        if agent.open:
            if self._chance(self._faults.refuses_drain, "refuses_drain"):
                return _KEPT
            self._placement.close(name)
        if agent.movable:
            self._move(name)
        return _WAITING if agent.jobs else _RELEASED

    def _move(self, name: str) -> None:
        """What runs on an agent is queued again, at its old place."""
        for state in self._placement.clear(name):
            self._cut_off(state)
            self._tell("scheduler moved", job=state.job.id, agent=name)

    def _cut_off(self, state: JobState) -> None:
        state.lose(self._loop.time())
        del self.running[state.number]
        self.pending[state.number] = state

    # Views

    def _changed(self) -> None:
        if self.on_view is None and self._faults is NO_SCHEDULER_FAULTS:
            self._told = None  # Whoever reads at this very moment gets what is true.
        if not self._publishing:
            self._publishing = True
            self._loop.call_soon(self._publish)

    def _publish(self) -> None:
        self._publishing = False
        if self._down:
            return
        self._place()
        self._version += 1
        if self._faults is NO_SCHEDULER_FAULTS:
            self._deliver(None if self.on_view is None else self.view())
            return
        last, info = self._told, self.view()
        if self._chance(self._faults.late_view, "late_view"):
            self._loop.call_later(self._drawn(self._faults.late_view_s), self._deliver_late, info, self._version)
            return
        self._deliver(info)
        if self._chance(self._faults.repeated_view, "repeated_view"):
            self._deliver(info)
        if last is not None and self._random.random() < self._faults.stale_view:
            self._loop.call_later(self._drawn(self._faults.stale_view_s), self._deliver_stale, last)

    def _deliver(self, info: ScalingInfo | None) -> None:
        """Hand a view over; None = whoever wants it reads the true one."""
        self._told, self._delivered = info, self._version
        if self.on_view is not None and info is not None:
            self.on_view(info)
        else:
            self.wake()

    def _deliver_late(self, info: ScalingInfo, version: int) -> None:
        """A view that was under way for a while, unless a newer one was faster."""
        if version > self._delivered and not self._down:
            self._deliver(info)

    def _deliver_stale(self, info: ScalingInfo) -> None:
        """An old view once more; the true one follows."""
        if self._faults is not NO_SCHEDULER_FAULTS and not self._down:
            self._tell("fault stale_view")
            self._deliver(info)
            self._loop.call_later(self._drawn(self._faults.stale_view_s), self._changed)

    # Faults

    def _chance(self, chance: float, fault: str) -> bool:
        """Whether a fault comes now; it is told when it does."""
        if not chance or self._random.random() >= chance:
            return False
        self._tell(f"fault {fault}")
        return True

    def _drawn(self, span: Span) -> float:
        return round(self._random.uniform(*span), 3)

    async def _trouble(self, chance: float, fault: str, text: str) -> None:
        """What may keep a call from being heard at all."""
        if self._down:
            raise SchedulerError("the scheduler restarts")
        if self._chance(self._faults.scheduler_hang, "scheduler_hang"):
            await self._loop.create_future()
        if self._chance(chance, fault):
            raise SchedulerError(f"the scheduler {text}")

    async def _drain_trouble(self) -> bool:
        """The same for drains; whether the call fails after it took effect."""
        await self._trouble(0.0, "", "")
        if not self._chance(self._faults.drain_error, "drain_error"):
            return False
        if self._random.random() < 0.5:
            raise SchedulerError("the scheduler cannot be reached")
        return True

    def _forget_later(self) -> None:
        if self._faults.forgets:
            wait = round(self._random.expovariate(self._faults.forgets / _DAY), 3)
            self._forgetting = self._loop.call_later(wait, self._forget)

    def _forget(self) -> None:
        """The process ends: no agent is connected any more, no run is known, no drain is remembered."""
        self._tell("fault forgets")
        self._down = True
        for name in self._placement.agents:
            self._placement.close(name)
        for name in tuple(self._placement.agents):
            self._disconnect(name)
        self._loop.call_later(self._drawn(self._faults.forgets_s), self._come_back, self._faults)

    def _come_back(self, faults: SchedulerFaults) -> None:
        self._tell("scheduler restarted")
        self._down = False
        for name in self._present:
            self._loop.call_later(self._drawn(faults.reconnects_s), self._reconnect, name)
        self._changed()
        self._forget_later()

    def _reconnect(self, name: str) -> None:
        if name in self._present and name not in self._placement.agents and not self._down:
            self._connect(name)
