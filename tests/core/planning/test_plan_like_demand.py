"""With one offering the first plan counts what `core.demand` counts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_problems import problems

from slotsmith.core.demand import demand
from slotsmith.core.planning.budget import QUICK
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources


@given(problems(), st.integers(0, 20), st.sampled_from([2, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_one_offering_counts_what_demand_counts(drawn: Problem, most: int, slots: int) -> None:
    offering = Offering("only", Resources(slots, 16.0, 32.0), price=1.0)
    existing = tuple(replace(free, offering=offering, whole=False) for free in drawn.existing)
    existing_count = sum(free.count for free in existing)
    tasks = tuple(tasks for tasks in drawn.tasks if tasks.gang == 1 and not tasks.spans and tasks.group is None)
    zero_slot_tasks = 4
    wanted = demand(
        tasks, (), existing, offering, max_instances=most + existing_count, max_zero_slot_tasks=zero_slot_tasks
    ).within(most)
    limits = Limits(max_instances=most + existing_count, instances=existing_count)
    problem = Problem(tasks, (Choice(offering),), existing, (), limits, max_zero_slot_tasks=zero_slot_tasks)
    made = plan(problem, QUICK)
    assert made.launch_count == wanted.new_instances
    assert made.placed == sum(placed.tasks.count for placed in wanted.placed)


@given(problems())
@settings(max_examples=50, deadline=None)
def test_gangs_and_groups_too_when_nothing_is_limited(drawn: Problem) -> None:
    offering = Offering("only", Resources(8, 16.0, 32.0), price=1.0)
    tasks = drawn.tasks
    wanted = demand(tasks, drawn.groups, (), offering, max_instances=10_000, max_zero_slot_tasks=3)
    made = plan(Problem(tasks, (Choice(offering),), (), drawn.groups, max_zero_slot_tasks=3), QUICK)
    assert made.launch_count == wanted.new_instances
    assert made.placed == sum(placed.tasks.count for placed in wanted.placed)
    assert sum(unmet.count for unmet in made.unmet) == sum(unmet.count for unmet in wanted.unschedulable)
