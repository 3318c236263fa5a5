"""Problems to plan, drawn by Hypothesis or from a seed, and the least cost of small ones by trying everything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from hypothesis import strategies as st

from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Constraints, Group, TaskClass

ZONES = ("a", "b")


@st.composite
def resources(draw: st.DrawFn, most: int = 8) -> Resources:
    slots = draw(st.sampled_from([0, 0, 1, 1, 2, 4, 8]))
    return Resources(min(slots, most), draw(st.integers(1, 2 * most)) / 2, float(draw(st.integers(1, 4 * most))))


@st.composite
def choices(draw: st.DrawFn, most: int = 5) -> tuple[Choice, ...]:
    result = []
    for index in range(draw(st.integers(1, most))):
        slots = draw(st.sampled_from([0, 1, 2, 4, 8]))
        capacity = Resources(slots, float(draw(st.integers(2, 24))), float(draw(st.integers(4, 64))))
        price = draw(st.integers(10, 600)) / 100
        zone = draw(st.sampled_from(["", *ZONES]))
        at_most = draw(st.sampled_from([None, None, None, 0, 1, 2, 5]))
        barred = draw(st.sampled_from(["", "", "", "", "capacity errors until 12:30"]))
        result.append(Choice(Offering(f"t{index}", capacity, zone, price=price), at_most, barred))
    return tuple(result)


def limits() -> st.SearchStrategy[Limits]:
    return st.builds(
        Limits,
        max_instances=st.sampled_from([None, None, None, 0, 1, 3, 6, 20]),
        max_slots=st.sampled_from([None, None, None, 4, 16]),
        max_dollars_per_hour=st.sampled_from([None, None, None, 0.0, 2.5, 10.0]),
        min_instances=st.sampled_from([0, 0, 0, 1, 3]),
        instances=st.sampled_from([0, 0, 2]),
        slots=st.sampled_from([0, 0, 3]),
        dollars_per_hour=st.sampled_from([0.0, 0.0, 1.0]),
    )


@st.composite
def task_classes(draw: st.DrawFn, plain: bool) -> tuple[TaskClass, ...]:
    result = []
    for index in range(draw(st.integers(1, 7))):
        where = ANYWHERE
        if not plain and draw(st.integers(0, 5)) == 0:
            where = Constraints(
                instance_types=draw(st.sampled_from([(), ("t0",), ("t0", "t1")])),
                zones=draw(st.sampled_from([(), ("a",), ("a", "b")])),
            )
        spans = not plain and draw(st.integers(0, 5)) == 0
        asked = draw(resources())
        if spans:
            asked = Resources(draw(st.sampled_from([2, 4, 8, 16])), asked.cpus, asked.mem_gib)
        gang = 1 if plain else draw(st.sampled_from([1, 1, 1, 2, 3]))
        group = None if plain else draw(st.sampled_from([None, None, "g"]))
        result.append(TaskClass(asked, draw(st.integers(1, 9)), gang, group, spans, where, f"task{index}"))
    return tuple(result)


@st.composite
def free_capacity(draw: st.DrawFn, offerings: Sequence[Offering]) -> FreeCapacity:
    offering = draw(st.sampled_from([None, *offerings]))
    whole = draw(st.booleans())
    free = offering.capacity if whole and offering is not None else draw(resources())
    return FreeCapacity(free, draw(st.integers(0, 3)), draw(st.integers(0, 4)), whole, offering=offering)


@st.composite
def problems(draw: st.DrawFn, plain: bool = False) -> Problem:
    """Anything that may be asked; `plain` = tasks and offerings without limits, groups, gangs and constraints."""
    tasks = draw(task_classes(plain))
    offered = draw(choices())
    if plain:
        offered = tuple(Choice(choice.offering) for choice in offered)
        return Problem(tasks, offered)
    existing = tuple(draw(st.lists(free_capacity([choice.offering for choice in offered]), max_size=4)))
    groups = draw(st.sampled_from([(), (Group("g", 6, 1),)]))
    return Problem(
        tasks, offered, existing, groups, draw(limits()), max_zero_slot_tasks=draw(st.sampled_from([None, None, 0, 2]))
    )


def small_problem(seed: int) -> Problem:
    """Up to nine tasks on up to four offerings, now and then with existing agents and offerings that are scarce."""
    random = Random(seed)
    tasks = []
    left = random.randint(1, 9)
    while left:
        count = random.randint(1, min(left, 4))
        left -= count
        asked = Resources(random.choice([0, 0, 1, 1, 2, 4]), random.randint(1, 12), random.randint(1, 24))
        tasks.append(TaskClass(asked, count, example=f"task{len(tasks)}"))
    offered = []
    for index in range(random.randint(1, 4)):
        slots = random.choice([0, 1, 2, 4, 8])
        capacity = Resources(slots, random.randint(4, 32), random.randint(8, 64))
        price = round((slots * random.uniform(0.3, 1.0) + capacity.cpus * 0.05 + 0.02), 3)
        at_most = random.choice([None, None, None, 1, 2])
        offered.append(Choice(Offering(f"t{index}", capacity, price=price), at_most))
    # Something must hold everything, whatever else is scarce.
    offered.append(Choice(Offering("large", Resources(8, 32.0, 64.0), price=round(random.uniform(2, 8), 3))))
    existing = tuple(
        FreeCapacity(Resources(random.randint(0, 2), random.randint(0, 8), random.randint(0, 16)), 1, 9, False)
        for _ in range(random.choice([0, 0, 1, 2]))
    )
    return Problem(tuple(tasks), tuple(offered), existing)


def least_cost(problem: Problem) -> float:
    """The least cost of holding all tasks of a small problem, by trying every place for every task."""
    tasks = [tasks.resources for tasks in problem.tasks for _ in range(tasks.count)]
    tasks.sort(key=lambda asked: (-asked.slots, -asked.cpus, -asked.mem_gib))
    kinds = [(_plain(choice.offering.capacity), choice.price, choice.at_most) for choice in problem.open_choices]
    free = tuple(sorted(_plain(free.free) for free in problem.existing for _ in range(free.count)))
    asked = [_plain(each) for each in tasks]
    most = tuple(-1 if at_most is None else at_most for _, _, at_most in kinds)

    @cache
    def cost(index: int, rooms: tuple[tuple[float, float, float], ...], left: tuple[int, ...]) -> float:
        if index == len(asked):
            return 0.0
        best = float("inf")
        size = asked[index]
        for room in dict.fromkeys(rooms):
            if all(need <= have for need, have in zip(size, room, strict=True)):
                rest = list(rooms)
                rest.remove(room)
                best = min(best, cost(index + 1, tuple(sorted([*rest, _less(room, size)])), left))
        for number, (room, price, _) in enumerate(kinds):
            if left[number] and all(need <= have for need, have in zip(size, room, strict=True)):
                fewer = tuple(each - (index == number and each > 0) for index, each in enumerate(left))
                best = min(best, price + cost(index + 1, tuple(sorted([*rooms, _less(room, size)])), fewer))
        return best

    return cost(0, free, most)


def _plain(resources: Resources) -> tuple[float, float, float]:
    return float(resources.slots), resources.cpus, resources.mem_gib


def _less(room: tuple[float, float, float], size: tuple[float, float, float]) -> tuple[float, float, float]:
    return room[0] - size[0], room[1] - size[1], room[2] - size[2]
