"""Which job runs where: first come first served with skipping, best fit, whole agents for what is larger than one.

What would be a walk over all waiting jobs whenever something happens is done by kinds: jobs that ask for the same fit
or do not fit together, and a kind that did not fit is tried again only when something was given back.
"""

from __future__ import annotations

import heapq
import zlib

from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.schedulers.simulated.agents import AgentIndex, AgentState, chosen_by_draw, oldest, share_of
from slotsmith.schedulers.simulated.job import Job, JobState

MOST_ZERO_SLOT_TASKS = 100
"""Tasks without slots that an agent takes, when nothing else is said."""


class Kind:
    """The waiting jobs that ask for the same. `queue` is a heap by the order of submission."""

    __slots__ = ("number", "plain", "queue", "resources", "spans", "told")

    def __init__(self, number: int, resources: Resources, spans: bool) -> None:
        self.number = number
        self.resources = resources
        self.spans = spans
        self.plain = not (resources.cpus or resources.mem_gib or resources.extras)
        self.queue: list[tuple[int, JobState]] = []
        self.told: TaskClass | None = None

    def view(self) -> TaskClass:
        """Its jobs as the scheduler tells them; the same value while nothing changes."""
        if self.told is None:
            example = self.queue[0][1].job.id
            self.told = TaskClass(self.resources, len(self.queue), spans=self.spans, example=example)
        return self.told


class Placement:
    """Jobs and agents, and which job is on which agents. It knows no time: callers say what happens when.

    What happens at one moment is told first, and then `place` walks over what waits. `seed` decides which of equal
    agents gets a job; None = the one that joined first.
    """

    def __init__(
        self, seed: int | None, *, max_zero_slot_tasks: int = MOST_ZERO_SLOT_TASKS, movable: bool = False
    ) -> None:
        self._seed = seed
        self._index = AgentIndex(oldest if seed is None else chosen_by_draw, max_zero_slot_tasks, movable=movable)
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self._waiting: dict[int, Kind] = {}
        self._submitted = 0
        # What may let a waiting job start: more free slots on an open agent, or being new.
        self._most_freed = -1
        self._fresh: dict[int, Kind] = {}

    @property
    def agents(self) -> dict[str, AgentState]:
        """Connected agents by name, in the order of joining. Not to be changed."""
        return self._index.by_name

    def view(self) -> ScalingInfo:
        """What the scheduler says of agents, in the order of joining, and of waiting jobs, by what they ask for."""
        return ScalingInfo(self._index.view(), tuple([kind.view() for kind in self._waiting.values()]))

    def submit(self, job: Job, now: float) -> JobState:
        """A new job waits."""
        draw = zlib.crc32(f"{self._seed}/{job.id}".encode())
        state = JobState(job, self._submitted, draw, now)
        self._submitted += 1
        self._queue(state)
        return state

    def finish(self, state: JobState) -> None:
        """A job has ended."""
        self._take_off(state)

    def join(self, name: str, capacity: Resources) -> None:
        """A new agent."""
        self._freed(self._index.add(name, capacity))

    def leave(self, name: str) -> list[JobState]:
        """An agent is gone; the jobs that were on it wait again, each at its old place."""
        self._index.set_open(self.agents[name], False)
        killed = self.clear(name)
        self._index.remove(self.agents[name])
        return killed

    def clear(self, name: str) -> list[JobState]:
        """The jobs that are on an agent wait again, each at its old place."""
        cut_off = list(self.agents[name].jobs.values())
        for state in cut_off:
            self._take_off(state)
            self._queue(state)
        return cut_off

    def close(self, name: str) -> None:
        """The agent gets nothing new."""
        self._index.set_open(self.agents[name], False)

    def reopen(self, name: str) -> None:
        """The agent gets new jobs again."""
        agent = self.agents[name]
        self._index.set_open(agent, True)
        self._freed(agent)

    def place(self) -> list[JobState]:
        """Go through the waiting jobs in order, and place each that fits now; which ones, in that order.

        As nothing is given back on the way, a job that does not fit speaks for all of its kind.
        """
        most, fresh = self._most_freed, self._fresh
        if most < 0 and not fresh:
            return []
        self._most_freed, self._fresh = -1, {}
        heads = [
            (kind.queue[0][0], kind)
            for kind in self._waiting.values()
            if kind.number in fresh or (most >= 0 and (kind.spans or kind.resources.slots <= most))
        ]
        heapq.heapify(heads)
        placed = []
        while heads:
            _, kind = heads[0]
            state = kind.queue[0][1]
            if not self._place(kind, state):
                heapq.heappop(heads)
                continue
            self._dequeue(kind)
            placed.append(state)
            if kind.queue:
                heapq.heapreplace(heads, (kind.queue[0][0], kind))
            else:
                heapq.heappop(heads)
        return placed

    def _freed(self, agent: AgentState) -> None:
        if agent.open:
            self._most_freed = max(self._most_freed, agent.free_slots)

    def _kind(self, job: Job) -> Kind:
        asked = job.resources
        # Plain values: hashing the frozen type itself takes many times as long.
        key = (asked.slots, asked.cpus, asked.mem_gib, asked.extras, job.spans)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(len(self._kinds), asked, job.spans)
        return kind

    def _queue(self, state: JobState) -> None:
        kind = self._kind(state.job)
        if not kind.queue:
            self._waiting[kind.number] = kind
        heapq.heappush(kind.queue, (state.number, state))
        kind.told = None
        self._fresh[kind.number] = kind

    def _dequeue(self, kind: Kind) -> None:
        heapq.heappop(kind.queue)
        kind.told = None
        if not kind.queue:
            del self._waiting[kind.number]

    def _place(self, kind: Kind, state: JobState) -> bool:
        """Give the job a place, if there is one."""
        need, index = kind.resources, self._index
        single = index.best_fit(need, state.draw, plain=kind.plain)
        if single is not None:
            index.take(single, state, need, plain=kind.plain)
            state.agents = (single.name,)
            return True
        if not kind.spans:
            return False
        several, share = index.whole(need, state.draw, plain=kind.plain)
        for agent in several:
            index.take(agent, state, share, plain=kind.plain)
        state.agents = tuple(agent.name for agent in several)
        return bool(several)

    def _take_off(self, state: JobState) -> None:
        """Take a job off its agents."""
        share = share_of(state.job.resources, len(state.agents))
        for name in state.agents:
            agent = self.agents[name]
            self._index.release(agent, state, share)
            self._freed(agent)
        state.agents = ()
