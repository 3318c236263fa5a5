"""The indexed placement against a slow walk over all jobs and all agents."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated.agents import agents_for, chosen_by_draw
from slotsmith.schedulers.simulated.job import Job
from slotsmith.schedulers.simulated.placement import Placement

MOST_ZERO_SLOT = 2
CAPACITIES = (Resources(1), Resources(2), Resources(4), Resources(8, 16, 64), Resources(0, 4, 8), Resources(4, 8, 16))


@dataclass
class SlowAgent:
    name: str
    number: int
    capacity: Resources
    open: bool = True
    shares: dict[int, Resources] = field(default_factory=dict)

    @property
    def free(self) -> Resources:
        free = self.capacity
        for share in self.shares.values():
            free = free - share
        return free

    def holds(self, share: Resources) -> bool:
        zero_slot = sum(not other.slots for other in self.shares.values())
        return self.open and share.fits_in(self.free) and (share.slots > 0 or zero_slot < MOST_ZERO_SLOT)


class SlowPlacement:
    """The same rules, word by word."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self.agents: dict[str, SlowAgent] = {}
        self.jobs: list[Job] = []
        self.waiting: set[int] = set()
        self.placed: dict[int, tuple[str, ...]] = {}
        self.joined = 0

    def choose(self, job: Job, candidates: list[SlowAgent], nth: int) -> SlowAgent:
        if self.seed is None:
            return candidates[0]
        draw = zlib.crc32(f"{self.seed}/{job.id}".encode())
        return candidates[chosen_by_draw(draw, len(candidates), nth)]

    def find(self, job: Job) -> tuple[list[SlowAgent], Resources]:
        need = job.resources
        fitting = [agent for agent in self.agents.values() if agent.holds(need)]
        if fitting:
            least = min(agent.free.slots for agent in fitting)
            return [self.choose(job, [agent for agent in fitting if agent.free.slots == least], 0)], need
        if not job.spans:
            return [], need
        for slots in sorted({agent.capacity.slots for agent in self.agents.values()}, reverse=True):
            if not slots or need.slots <= slots or need.slots % slots:
                continue
            count = need.slots // slots
            share = Resources(slots, need.cpus / count, need.mem_gib / count)
            whole = [a for a in self.agents.values() if a.capacity.slots == slots and not a.shares and a.holds(share)]
            if len(whole) >= count:
                chosen = []
                for nth in range(count):
                    chosen.append(self.choose(job, whole, nth))
                    whole.remove(chosen[-1])
                return chosen, share
        return [], need

    def place(self) -> list[tuple[str, tuple[str, ...]]]:
        started = []
        for number in sorted(self.waiting):
            job = self.jobs[number]
            chosen, share = self.find(job)
            if chosen:
                for agent in chosen:
                    agent.shares[number] = share
                self.placed[number] = tuple(agent.name for agent in chosen)
                self.waiting.remove(number)
                started.append((job.id, self.placed[number]))
        return started

    def take_off(self, number: int) -> None:
        for name in self.placed.pop(number):
            del self.agents[name].shares[number]

    def leave(self, name: str) -> None:
        for number in list(self.agents[name].shares):
            self.take_off(number)
            self.waiting.add(number)
        del self.agents[name]

    def join(self, name: str, capacity: Resources) -> None:
        self.agents[name] = SlowAgent(name, self.joined, capacity)
        self.joined += 1


NEEDS = st.one_of(
    st.builds(Resources, st.sampled_from([0, 1, 1, 2, 4, 8])),
    st.builds(Resources, st.sampled_from([0, 1, 3, 4, 8, 16]), st.sampled_from([0, 0.1, 4]), st.sampled_from([0, 8])),
)
STEPS = st.one_of(
    st.tuples(st.just("submit"), NEEDS, st.booleans()),
    st.tuples(st.just("submit"), NEEDS, st.booleans()),
    st.tuples(st.just("join"), st.sampled_from(CAPACITIES), st.integers(1, 4)),
    st.tuples(st.sampled_from(["finish", "finish", "leave", "close", "reopen"]), st.integers(0, 1000), st.none()),
)


class Both:
    """Tells both of every step."""

    def __init__(self, seed: int | None) -> None:
        self.fast = Placement(seed, max_zero_slot_tasks=MOST_ZERO_SLOT)
        self.slow = SlowPlacement(seed)
        self.states = {}

    def submit(self, need: Resources, spans: bool) -> None:
        job = Job(f"job-{len(self.slow.jobs)}", 0.0, 1.0, need, spans)
        state = self.fast.submit(job, 0.0)
        self.states[state.number] = state
        self.slow.waiting.add(len(self.slow.jobs))
        self.slow.jobs.append(job)

    def join(self, capacity: Resources, count: int) -> None:
        for _ in range(count):
            name = f"agent-{self.slow.joined}"
            self.fast.join(name, capacity)
            self.slow.join(name, capacity)

    def finish(self, which: int, _: None) -> None:
        if self.slow.placed:
            number = list(self.slow.placed)[which % len(self.slow.placed)]
            self.fast.finish(self.states[number])
            self.slow.take_off(number)

    def _agent(self, which: int) -> str | None:
        return list(self.slow.agents)[which % len(self.slow.agents)] if self.slow.agents else None

    def leave(self, which: int, _: None) -> None:
        name = self._agent(which)
        if name:
            killed = self.fast.leave(name)
            assert {state.number for state in killed} == set(self.slow.agents[name].shares)
            self.slow.leave(name)

    def close(self, which: int, _: None) -> None:
        name = self._agent(which)
        if name:
            self.fast.close(name)
            self.slow.agents[name].open = False

    def reopen(self, which: int, _: None) -> None:
        name = self._agent(which)
        if name:
            self.fast.reopen(name)
            self.slow.agents[name].open = True

    def place(self, *_: None) -> None:
        assert [(state.job.id, state.agents) for state in self.fast.place()] == self.slow.place()
        view = self.fast.view()
        assert [agent.name for agent in view.agents] == list(self.slow.agents)
        for told, agent in zip(view.agents, self.slow.agents.values(), strict=True):
            assert told.idle is not bool(agent.shares)
            assert told.draining is not agent.open
            assert (told.capacity, told.used.slots) == (agent.capacity, sum(s.slots for s in agent.shares.values()))
            assert abs(told.used.cpus - sum(share.cpus for share in agent.shares.values())) < 1e-9
            assert told.zero_slot_tasks == sum(not share.slots for share in agent.shares.values())
        asked = Counter((self.slow.jobs[n].resources, self.slow.jobs[n].spans) for n in self.slow.waiting)
        assert {(kind.resources, kind.spans): kind.count for kind in view.tasks} == asked
        assert self.fast.view().agents is view.agents


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.none(), st.integers(0, 5)), st.lists(st.tuples(STEPS, st.booleans()), max_size=60))
def test_indexed_placement_is_the_walk_over_all_jobs(seed: int | None, steps: list[tuple]) -> None:
    both = Both(seed)
    for (name, *arguments), moment_is_over in steps:
        getattr(both, name)(*arguments)
        if moment_is_over:
            both.place()
    both.place()


def test_a_gang_takes_whole_agents_before_a_later_small_job_takes_one() -> None:
    placement = Placement(1)
    gang = placement.submit(Job("gang", 0, 1, Resources(4), spans=True), 0.0)
    small = placement.submit(Job("small", 0, 1, Resources(1)), 0.0)
    for name in ("a", "b"):
        placement.join(name, Resources(2))
    assert placement.place() == [gang]
    assert sorted(gang.agents) == ["a", "b"]
    assert small.agents == ()


def test_equal_agents_are_chosen_evenly_and_differently_by_each_seed() -> None:
    def chosen(seed: int) -> list[str]:
        placement = Placement(seed)
        for number in range(4):
            placement.join(f"agent-{number}", Resources(1))
        names = []
        for number in range(400):
            state = placement.submit(Job(f"job-{number}", 0, 1, Resources(1)), 0.0)
            placement.place()
            names += state.agents
            placement.finish(state)
        return names

    first, second = chosen(1), chosen(2)
    assert first == chosen(1)
    assert first != second
    assert all(70 <= first.count(f"agent-{number}") <= 130 for number in range(4))


def test_agents_for() -> None:
    four = Resources(4, 8, 16)
    assert agents_for(Resources(4), False, four) == 1
    assert agents_for(Resources(8), False, four) == 0
    assert agents_for(Resources(8), True, four) == 2
    assert agents_for(Resources(6), True, four) == 0
    assert agents_for(Resources(8, 16), True, four) == 2
    assert agents_for(Resources(8, 17), True, four) == 0
    assert agents_for(Resources(0, 1), False, four) == 1
    assert agents_for(Resources(1), False, Resources(0, 8)) == 0
