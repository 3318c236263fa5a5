"""Demand on random input, against a packer that knows single tasks and single agents only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.core import packing
from slotsmith.core.columns import classes_from_columns
from slotsmith.core.demand import Demand, FreeCapacity, demand
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Constraints, Group, Task, TaskClass, classes_of

Amounts = dict[str, Fraction]
ZERO_SLOT = "zero-slot tasks"


@pytest.fixture(params=["usual", "tiny"], autouse=True, scope="module")
def _blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of it again with blocks so small that several of them and compaction are seen with few entries."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tiny":
            patch.setattr(packing, "_BLOCK", 2)
            patch.setattr(packing, "_GROWTH", 0)
        yield


# --- The independent packer -------------------------------------------------------------------------------------------


@dataclass
class Agent:
    left: Amounts
    offering: Offering
    name: str = ""
    whole: bool = True
    new: bool = False
    used: bool = False


def exact(resources: Resources, zero_slot_tasks: int) -> Amounts:
    amounts = {name: Fraction(amount).limit_denominator(1000) for name, amount in resources.items()}
    return {**amounts, ZERO_SLOT: Fraction(zero_slot_tasks)}


def asked_by(tasks: TaskClass) -> Amounts:
    return exact(tasks.resources, 0 if tasks.resources.slots else 1)


@dataclass
class Case:
    tasks: list[TaskClass]
    groups: list[Group]
    existing: list[FreeCapacity]
    offering: Offering
    max_instances: int
    max_zero_slot_tasks: int

    def demand(self, tasks: Sequence[TaskClass] | None = None) -> Demand:
        return demand(
            self.tasks if tasks is None else tasks,
            self.groups,
            self.existing,
            self.offering,
            max_instances=self.max_instances,
            max_zero_slot_tasks=self.max_zero_slot_tasks,
        )

    def agents(self) -> list[Agent]:
        ordered = sorted(self.existing, key=lambda free: free.rank)
        return [
            Agent(
                exact(free.free, free.zero_slot_tasks),
                free.offering or self.offering,
                free.ids[number] if free.ids else "",
                free.whole,
            )
            for free in ordered
            for number in range(free.count)
        ]

    def new_agent(self) -> Agent:
        return Agent(exact(self.offering.capacity, self.max_zero_slot_tasks), self.offering, new=True)

    def spanned(self, tasks: TaskClass) -> int:
        """How many whole agents a member takes; 0 = a part of one."""
        slots, each = tasks.resources.slots, self.offering.capacity.slots
        return slots // each if tasks.spans and each and slots > each and slots % each == 0 else 0


def allows(constraints: Constraints, offering: Offering) -> bool:
    return not constraints.zones or offering.zone in constraints.zones


def put(agent: Agent, tasks: TaskClass, agents_spanned: int) -> bool:
    """Put one member, or one agent's share of it, on the agent, if it has room."""
    if not allows(tasks.constraints, agent.offering):
        return False
    need = {name: amount / max(1, agents_spanned) for name, amount in asked_by(tasks).items()}
    if any(amount > agent.left.get(name, 0) for name, amount in need.items()):
        return False
    if agents_spanned:
        if not agent.whole or agent.left["slots"] != need["slots"]:
            return False
        agent.left = dict.fromkeys(agent.left, Fraction(0))
    else:
        agent.left = {name: amount - need.get(name, 0) for name, amount in agent.left.items()}
    agent.whole, agent.used = False, True
    return True


def place_again(case: Case, result: Demand) -> list[Agent]:
    """Put each single task on the first single agent with room; there is always one, a new one if need be."""
    agents = case.agents()

    def find(tasks: TaskClass) -> Agent:
        for agent in agents:
            if put(agent, tasks, case.spanned(tasks)):
                return agent
        agents.append(case.new_agent())
        assert put(agents[-1], tasks, case.spanned(tasks)), f"{tasks} does not fit on a new instance"
        return agents[-1]

    for placed in result.placed:
        tasks, before = placed.tasks, len(agents)
        members = tasks.gang * max(1, case.spanned(tasks))
        # Every member is placed before the gang is looked at.
        on_new = [any([find(tasks).new for _ in range(members)]) for _ in range(tasks.count)]  # noqa: C419
        assert (on_new.count(False), len(agents) - before) == (placed.on_existing, placed.new_instances)
    return agents


# --- Random input -----------------------------------------------------------------------------------------------------

cpus = st.sampled_from([0.0, 0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0, 1.5, 2.0, 7.0, 9.0])
memory = st.sampled_from([0.0, 0.0, 0.7, 1.0, 2.5, 8.0, 33.0])
extras = st.sampled_from([(), (), (), (("tpu", 1.0),), (("disk", 0.3), ("tpu", 1.0))])
zones = st.sampled_from([Constraints(), Constraints(), Constraints(zones=("z1",)), Constraints(zones=("z2",))])

task_classes = st.builds(
    TaskClass,
    resources=st.builds(Resources, st.integers(0, 9), cpus, memory, extras),
    count=st.integers(1, 6),
    gang=st.sampled_from([1, 1, 1, 2, 5]),
    group=st.sampled_from([None, "a", "b", "unknown"]),
    spans=st.booleans(),
    constraints=zones,
)
plain_classes = st.builds(
    TaskClass,
    resources=st.builds(Resources, st.integers(0, 9), cpus, memory),
    count=st.integers(1, 6),
    group=st.sampled_from([None, "a", "b"]),
)
capacities = st.builds(
    Resources,
    st.sampled_from([0, 1, 2, 3, 4, 8]),
    st.sampled_from([0.0, 1.0, 4.0, 8.0]),
    st.sampled_from([0.0, 4.0, 32.0]),
    st.sampled_from([(), (("disk", 1.0), ("tpu", 2.0))]),
)
groups = st.lists(
    st.builds(
        Group, st.sampled_from(["a", "b"]), st.one_of(st.none(), st.integers(0, 40)), used_slots=st.integers(0, 10)
    ),
    unique_by=lambda group: group.id,
)


@st.composite
def cases(draw: st.DrawFn, classes: st.SearchStrategy[TaskClass] = task_classes) -> Case:
    existing = []
    for rank in range(draw(st.integers(0, 4))):
        count = draw(st.integers(0, 3))
        ids = tuple(f"i{rank}-{number}" for number in range(count)) if draw(st.booleans()) else ()
        zone = draw(st.sampled_from(["", "z1", "z2"]))
        offering = Offering("old", Resources(), zone=zone) if zone else None
        capacity = draw(capacities)
        existing.append(
            FreeCapacity(capacity, count, draw(st.integers(0, 3)), draw(st.booleans()), ids, rank, offering)
        )
    return Case(
        draw(st.lists(classes, max_size=12)),
        draw(groups),
        existing,
        Offering("box", draw(capacities), zone="z1"),
        draw(st.integers(0, 12)),
        draw(st.integers(0, 3)),
    )


def kind_of(tasks: TaskClass) -> TaskClass:
    return replace(tasks, count=1, example="")


def counted(classes: Iterable[TaskClass]) -> Counter[TaskClass]:
    counts: Counter[TaskClass] = Counter()
    for tasks in classes:
        counts[kind_of(tasks)] += tasks.count
    return counts


def all_of(result: Demand) -> Counter[TaskClass]:
    """Every task that the result speaks of."""
    unmet = [entry.tasks for entry in result.unschedulable if entry.tasks is not None]
    return counted([*(placed.tasks for placed in result.placed), *result.beyond, *unmet])


# --- What always holds ------------------------------------------------------------------------------------------------


@given(cases())
def test_single_tasks_find_the_same_places_on_single_agents(case: Case) -> None:
    result = case.demand()
    agents = place_again(case, result)
    assert sum(agent.new for agent in agents) == result.new_instances
    assert sum(agent.used and not agent.new for agent in agents) == result.used_existing
    assert {agent.name for agent in agents if agent.used and agent.name} == result.used


@given(cases(), st.integers(0, 12))
def test_within_a_limit_too(case: Case, limit: int) -> None:
    result = case.demand().within(limit)
    agents = place_again(case, result)
    assert sum(agent.new for agent in agents) == result.new_instances
    assert result.new_instances <= limit
    assert {agent.name for agent in agents if agent.used and agent.name} == result.used


@given(cases(), st.integers(0, 12))
def test_every_task_is_placed_or_has_a_reason(case: Case, limit: int) -> None:
    result = case.demand()
    assert not result.beyond
    assert all_of(result) == all_of(result.within(limit)) == counted(case.tasks)
    assert all(unmet.count >= 1 and unmet.reason for unmet in result.unschedulable)
    assert all(unmet.tasks is not None and unmet.tasks.count == unmet.count for unmet in result.unschedulable)


@given(cases())
def test_tasks_are_placed_largest_first(case: Case) -> None:
    full = exact(case.offering.capacity, case.max_zero_slot_tasks)

    def share(tasks: TaskClass) -> float:
        asked = {name: amount for name, amount in asked_by(tasks).items() if amount}
        return max(float(amount / full[name]) if full.get(name) else math.inf for name, amount in asked.items())

    shares = [share(placed.tasks) for placed in case.demand().placed]
    assert shares == sorted(shares, reverse=True)


@given(cases())
def test_no_fewer_instances_than_their_content_fills(case: Case) -> None:
    result = case.demand()
    asked: Counter[str] = Counter()
    for placed in result.placed:
        for name, amount in asked_by(placed.tasks).items():
            asked[name] += amount * placed.tasks.count * placed.tasks.gang  # type: ignore[assignment]
    had: Counter[str] = Counter()
    for agent in case.agents():
        for name, amount in agent.left.items():
            had[name] += amount  # type: ignore[assignment]
    for name, amount in exact(case.offering.capacity, case.max_zero_slot_tasks).items():
        assert asked[name] <= had[name] + amount * result.new_instances
    assert result.new_instances <= sum(
        placed.tasks.count * placed.tasks.gang * max(1, case.spanned(placed.tasks)) for placed in result.placed
    )


@given(cases())
def test_groups_stay_within_their_maximum(case: Case) -> None:
    slots: Counter[str | None] = Counter()
    for placed in case.demand().placed:
        tasks = placed.tasks
        slots[tasks.group] += tasks.count * tasks.gang * tasks.resources.slots
    for group in case.groups:
        if group.max_slots is not None:
            assert slots[group.id] <= max(0, group.max_slots - group.used_slots)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_classes_changes_nothing(case: Case, random: Random) -> None:
    shuffled = random.sample(case.tasks, len(case.tasks))
    result, again = case.demand(), case.demand(shuffled)
    assert again == result
    assert again.within(2) == result.within(2)


@given(cases(), st.randoms(use_true_random=False))
def test_neither_does_their_division(case: Case, random: Random) -> None:
    divided = []
    for tasks in case.tasks:
        part = random.randint(0, tasks.count)
        divided += [replace(tasks, count=count) for count in (part, tasks.count - part) if count]
    result, again = case.demand(), case.demand(divided)
    for left, right in ((result, again), (result.within(2), again.within(2))):
        assert left.new_instances == right.new_instances
        assert left.used == right.used
        assert counted(left.beyond) == counted(right.beyond)
        assert counted(placed.tasks for placed in left.placed) == counted(placed.tasks for placed in right.placed)


@given(cases(plain_classes))
def test_the_three_forms_of_input_agree(case: Case) -> None:
    singles = [
        Task(f"t{number}", tasks.resources, group=tasks.group)
        for number, tasks in enumerate(tasks for tasks in case.tasks for _ in range(tasks.count))
    ]
    names = ("b", "a")
    columns = classes_from_columns(
        np.array([task.resources.slots for task in singles], np.int64),
        cpus=np.array([task.resources.cpus for task in singles], np.float64),
        mem_gib=np.array([task.resources.mem_gib for task in singles], np.float64),
        group_codes=np.array([names.index(task.group) if task.group else -1 for task in singles], np.int64),
        group_names=names,
    )
    result = case.demand()
    for classes in (classes_of(singles), columns):
        again = case.demand(classes)
        assert counted(classes) == counted(case.tasks)
        assert (again.new_instances, again.used) == (result.new_instances, result.used)
        assert counted(p.tasks for p in again.placed) == counted(p.tasks for p in result.placed)


@given(cases(plain_classes), st.integers(0, 12))
def test_without_gangs_a_limit_is_used_up(case: Case, limit: int) -> None:
    result = case.demand()
    assert result.within(limit).new_instances == min(limit, result.new_instances)


@given(task_classes, capacities, st.integers(1, 20))
def test_more_of_a_class_never_needs_less(tasks: TaskClass, capacity: Resources, more: int) -> None:
    case = Case([tasks], [], [], Offering("box", capacity, zone="z1"), 100, 3)
    larger = replace(tasks, count=tasks.count + more)
    assert case.demand([larger]).new_instances >= case.demand().new_instances
    idle = FreeCapacity(capacity, 1, 3, whole=True)
    assert replace(case, existing=[idle]).demand().new_instances == max(0, case.demand().new_instances - 1)


@given(cases())
def test_classes_together_need_no_more_than_apart(case: Case) -> None:
    alone = replace(case, groups=[], existing=[])
    assert alone.demand().new_instances <= sum(alone.demand([tasks]).new_instances for tasks in case.tasks)


@pytest.mark.parametrize("seed", range(2))
def test_many_different_shapes(seed: int) -> None:
    random = Random(seed)
    tasks = [
        TaskClass(
            Resources(random.randint(0, 8), random.randint(0, 160) / 10, random.randint(0, 640) / 10),
            random.randint(1, 3),
        )
        for _ in range(120)
    ]
    existing = [
        FreeCapacity(Resources(random.randint(0, 8), random.randint(0, 16), 32.5), 1, 2, whole=False, rank=rank)
        for rank in range(20)
    ]
    case = Case(tasks, [], existing, Offering("box", Resources(8, 16.0, 64.0), zone="z1"), 1000, 10)
    for result in (case.demand(), case.demand().within(30)):
        agents = place_again(case, result)
        assert sum(agent.new for agent in agents) == result.new_instances
        assert all_of(result) == counted(tasks)
