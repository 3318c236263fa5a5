"""What holds for every plan, whatever is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_checker import faults_of
from plan_problems import choices, problems

from slotsmith.core.planning.budget import QUICK, Budget
from slotsmith.core.planning.plan import Plan
from slotsmith.core.planning.problem import Choice, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

SHORT = Budget(40_000)
BUDGETS = st.sampled_from([QUICK, SHORT])


def told(made: Plan) -> object:
    """What of a plan may not depend on how the problem was told."""
    launches = [(planned.offering.name, planned.count) for planned in made.launches]
    return launches, made.placed, round(made.cost_per_hour, 9), round(made.lower_bound_per_hour, 7), made.work


@given(problems(), BUDGETS)
@settings(max_examples=60, deadline=None)
def test_every_plan_is_feasible(problem: Problem, budget: Budget) -> None:
    assert faults_of(problem, plan(problem, budget)) == []


@given(problems(), BUDGETS, st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_input_changes_nothing(problem: Problem, budget: Budget, seed: int) -> None:
    shuffled = Random(seed)
    other = replace(
        problem,
        tasks=tuple(shuffled.sample(problem.tasks, len(problem.tasks))),
        choices=tuple(shuffled.sample(problem.choices, len(problem.choices))),
        existing=tuple(shuffled.sample(problem.existing, len(problem.existing))),
    )
    assert told(plan(other, budget)) == told(plan(problem, budget))


@given(problems(), st.sampled_from([1024.0, 1 / 1024, 1000.0, 0.1, 3.0]))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_memory_changes_nothing(problem: Problem, factor: float) -> None:
    def scaled(resources: Resources) -> Resources:
        return replace(resources, mem_gib=resources.mem_gib * factor)

    def offered(offering: Offering) -> Offering:
        return replace(offering, capacity=scaled(offering.capacity))

    other = replace(
        problem,
        tasks=tuple(replace(tasks, resources=scaled(tasks.resources)) for tasks in problem.tasks),
        choices=tuple(replace(choice, offering=offered(choice.offering)) for choice in problem.choices),
        existing=tuple(
            replace(free, free=scaled(free.free), offering=free.offering and offered(free.offering))
            for free in problem.existing
        ),
    )
    assert told(plan(other, SHORT)) == told(plan(problem, SHORT))


@given(problems(plain=True), BUDGETS)
@settings(max_examples=40, deadline=None)
def test_a_plan_is_never_dearer_than_first_fit(problem: Problem, budget: Budget) -> None:
    made = plan(problem, budget)
    unmet = {(unmet.tasks.example if unmet.tasks else "") for unmet in made.unmet}
    tasks = [tasks.resources for tasks in problem.tasks if tasks.example not in unmet for _ in range(tasks.count)]
    assert made.cost_per_hour <= _first_fit(tasks, [choice.offering for choice in problem.choices]) + 1e-9


def _first_fit(tasks: Sequence[Resources], offerings: Sequence[Offering]) -> float:
    """First fit, largest first; what fits nowhere gets an instance of the cheapest offering that holds it."""
    largest = [max(getattr(each.capacity, name) for each in offerings) for name in ("slots", "cpus", "mem_gib")]

    def share(asked: Resources) -> float:
        amounts = (asked.slots, asked.cpus, asked.mem_gib)
        return max(amount / most for amount, most in zip(amounts, largest, strict=True) if most)

    rooms: list[Resources] = []
    cost = 0.0
    for asked in sorted(tasks, key=lambda asked: (-share(asked), str(asked))):
        place = next((index for index, room in enumerate(rooms) if asked.fits_in(room)), None)
        if place is None:
            opened = min((each for each in offerings if asked.fits_in(each.capacity)), key=lambda each: each.price or 0)
            cost += opened.price or 0.0
            rooms.append(opened.capacity)
            place = len(rooms) - 1
        rooms[place] -= asked
    return cost


@given(problems(plain=True), choices(most=2), BUDGETS)
@settings(max_examples=40, deadline=None)
def test_more_offerings_never_cost_more_than_the_gap(
    problem: Problem, more: tuple[Choice, ...], budget: Budget
) -> None:
    before = plan(problem, budget)
    added = tuple(Choice(replace(choice.offering, instance_type=f"more{n}")) for n, choice in enumerate(more))
    after = plan(replace(problem, choices=problem.choices + added), budget)
    if after.placed == before.placed:
        assert after.lower_bound_per_hour <= before.cost_per_hour + 1e-9
        assert after.cost_per_hour <= before.cost_per_hour * (1 + after.gap) + 1e-9


def test_nothing_to_do_costs_nothing() -> None:
    made = plan(Problem((), (Choice(Offering("a", Resources(1), price=1.0)),)))
    assert (made.launches, made.cost_per_hour, made.gap, made.stopped_by) == ((), 0.0, 0.0, "optimal")
    assert plan(Problem(())).launches == ()


@pytest.mark.parametrize("count", [10**6, 10**9])
def test_a_billion_tasks_of_a_class_take_no_longer_than_ten(count: int) -> None:
    offered = [Offering("a", Resources(4, 8.0, 16.0), price=1.0), Offering("b", Resources(8, 8.0, 64.0), price=1.5)]
    problem = Problem((TaskClass(Resources(1, 1.0, 4.0), count),), tuple(map(Choice, offered)))
    made = plan(problem)
    assert faults_of(problem, made) == []
    assert made.placed == count
    assert made.gap < 1e-6
