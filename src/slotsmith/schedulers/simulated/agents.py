"""The agents of the simulated scheduler, found by what they have free."""

from __future__ import annotations

import zlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from functools import lru_cache

from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated.job import JobState

Choose = Callable[[int, int, int], int]
"""Given the number drawn for a job, a count of candidates and the how-manieth agent of the job: which candidate."""


def chosen_by_draw(draw: int, count: int, nth: int) -> int:
    """Any of them, the same one for the same draw."""
    return (zlib.crc32(nth.to_bytes(4, "big"), draw) if nth else draw) % count


def oldest(_draw: int, _count: int, _nth: int) -> int:
    """The one that joined first."""
    return 0


class AgentState:
    """One connected agent.

    `number` is its place in the order of joining. `shares` says what each job on it uses, by the job's number.
    `open`: it gets new jobs (it is not being drained). `may_move`: jobs that lie on it alone may be moved.
    """

    __slots__ = (
        *("capacity", "free_slots", "jobs", "may_move", "name", "number", "open", "shares", "started", "zero_slot"),
    )

    def __init__(self, name: str, number: int, capacity: Resources, *, may_move: bool = False) -> None:
        self.name = name
        self.may_move = may_move
        self.number = number
        self.capacity = capacity
        self.open = True
        self.free_slots = capacity.slots
        self.zero_slot = 0
        self.started = 0
        self.jobs: dict[int, JobState] = {}
        self.shares: dict[int, Resources] = {}

    def used(self) -> Resources:
        """What its jobs use together."""
        # Added up anew each time: sums that are carried on drift, and an idle agent would never be free of a rest.
        used = _slots(self.capacity.slots - self.free_slots)
        for share in self.shares.values():
            used = used + Resources(0, share.cpus, share.mem_gib, share.extras)
        return used

    def holds(self, share: Resources, most_zero_slot: int) -> bool:
        """Whether this much is free, and room for one more task without slots if it is one."""
        if share.slots > self.free_slots or (not share.slots and self.zero_slot >= most_zero_slot):
            return False
        return share.fits_in(self.capacity - self.used())

    @property
    def movable(self) -> bool:
        """Whether all its jobs may be moved."""
        return self.may_move and all(len(state.agents) == 1 for state in self.jobs.values())

    def view(self) -> Agent:
        """What the scheduler says of it."""
        idle, draining = not self.jobs, not self.open
        told = (self.capacity, self.used(), self.zero_slot, draining, self.started, self.movable)
        return Agent(self.name, idle, *told)


@lru_cache(maxsize=1024)
def _slots(count: int) -> Resources:
    return Resources(count)


class AgentIndex:
    """All agents; the open ones by free slots, and those of them that are idle by all their slots."""

    def __init__(self, choose: Choose, most_zero_slot: int, *, movable: bool = False) -> None:
        self._movable = movable
        self.by_name: dict[str, AgentState] = {}
        self._choose = choose
        self._most_zero_slot = most_zero_slot
        self._joined = 0
        self._by_number: dict[int, AgentState] = {}
        self._free = _Levels()
        self._idle = _Levels()
        # What was told last of each agent; of those in `_changed` it has to be told anew.
        self._told: dict[str, Agent] = {}
        self._told_together: tuple[Agent, ...] | None = ()
        self._changed: dict[str, AgentState] = {}

    def view(self) -> tuple[Agent, ...]:
        """What the scheduler says of all, in the order of joining; the same values for those that have not changed."""
        if self._changed or self._told_together is None:
            for name, agent in self._changed.items():
                self._told[name] = agent.view()
            self._changed.clear()
            self._told_together = tuple(self._told.values())
        return self._told_together

    def add(self, name: str, capacity: Resources) -> AgentState:
        agent = AgentState(name, self._joined, capacity, may_move=self._movable)
        self._joined += 1
        self.by_name[name] = self._by_number[agent.number] = agent
        self._file(agent)
        self._changed[name] = agent
        return agent

    def remove(self, agent: AgentState) -> None:
        self._unfile(agent)
        del self.by_name[agent.name], self._by_number[agent.number]
        self._changed.pop(agent.name, None)
        self._told.pop(agent.name, None)
        self._told_together = None

    def set_open(self, agent: AgentState, is_open: bool) -> None:
        """Let it have new jobs, or no more."""
        self._unfile(agent)
        agent.open = is_open
        self._file(agent)
        self._changed[agent.name] = agent

    def take(self, agent: AgentState, state: JobState, share: Resources, *, plain: bool) -> None:
        """Put a job, or its share, on the agent; `plain` = it asks for nothing but slots."""
        self._unfile(agent)
        agent.jobs[state.number] = state
        agent.free_slots -= share.slots
        agent.zero_slot += not share.slots
        agent.started += 1
        if not plain:
            agent.shares[state.number] = share
        self._file(agent)
        self._changed[agent.name] = agent

    def release(self, agent: AgentState, state: JobState, share: Resources) -> None:
        """Take a job, or its share, off the agent."""
        self._unfile(agent)
        del agent.jobs[state.number]
        agent.free_slots += share.slots
        agent.zero_slot -= not share.slots
        agent.shares.pop(state.number, None)
        self._file(agent)
        self._changed[agent.name] = agent

    def best_fit(self, need: Resources, draw: int, *, plain: bool) -> AgentState | None:
        """The open agent with the fewest free slots that holds all of it."""
        for numbers in self._free.from_level(need.slots):
            if plain and need.slots:
                return self._by_number[numbers[self._choose(draw, len(numbers), 0)]]
            fitting = [n for n in numbers if self._by_number[n].holds(need, self._most_zero_slot)]
            if fitting:
                return self._by_number[fitting[self._choose(draw, len(fitting), 0)]]
        return None

    def whole(self, need: Resources, draw: int, *, plain: bool) -> tuple[list[AgentState], Resources]:
        """As few idle agents as have exactly these slots together, with the share of each; none when there are not."""
        for slots, numbers in self._idle.downwards():
            if not slots or need.slots <= slots or need.slots % slots:
                continue
            count = need.slots // slots
            share = share_of(need, count)
            fitting = list(numbers) if plain else [n for n in numbers if share.fits_in(self._by_number[n].capacity)]
            if len(fitting) >= count:
                picks = [fitting.pop(self._choose(draw, len(fitting), nth)) for nth in range(count)]
                return [self._by_number[number] for number in picks], share
        return [], need

    def _file(self, agent: AgentState) -> None:
        if agent.open:
            self._free.put(agent.free_slots, agent.number)
            if not agent.jobs:
                self._idle.put(agent.capacity.slots, agent.number)

    def _unfile(self, agent: AgentState) -> None:
        if agent.open:
            self._free.drop(agent.free_slots, agent.number)
            if not agent.jobs:
                self._idle.drop(agent.capacity.slots, agent.number)


def agents_for(need: Resources, spans: bool, capacity: Resources) -> int:
    """How many empty agents of this capacity a job takes; 0 = it can never run on them."""
    if need.fits_in(capacity):
        return 1
    if not spans or not capacity.slots or need.slots <= capacity.slots or need.slots % capacity.slots:
        return 0
    count = need.slots // capacity.slots
    return count if share_of(need, count).fits_in(capacity) else 0


def share_of(need: Resources, count: int) -> Resources:
    """What each of `count` agents gives to a job."""
    if count == 1:
        return need
    extras = tuple((name, amount / count) for name, amount in need.extras)
    return Resources(need.slots // count, need.cpus / count, need.mem_gib / count, extras)


class _Levels:
    """Numbers in sorted lists, a list for each level that has any."""

    def __init__(self) -> None:
        self._levels: list[int] = []
        self._lists: dict[int, list[int]] = {}

    def put(self, level: int, number: int) -> None:
        numbers = self._lists.get(level)
        if numbers is None:
            self._lists[level] = [number]
            insort(self._levels, level)
        else:
            insort(numbers, number)

    def drop(self, level: int, number: int) -> None:
        numbers = self._lists[level]
        del numbers[bisect_left(numbers, number)]
        if not numbers:
            del self._lists[level]
            del self._levels[bisect_left(self._levels, level)]

    def from_level(self, level: int) -> Iterator[list[int]]:
        """The lists of this level and above, lowest first."""
        for index in range(bisect_left(self._levels, level), len(self._levels)):
            yield self._lists[self._levels[index]]

    def downwards(self) -> Iterator[tuple[int, list[int]]]:
        """Each level with its list, highest first."""
        return ((level, self._lists[level]) for level in reversed(self._levels))
