"""That the checker of the other tests sees what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_checker import faults_of

from slotsmith.core.planning.plan import Plan, Planned
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Group, TaskClass

OFFERING = Offering("a", Resources(4, 8.0, 16.0), price=1.0)
PROBLEM = Problem(
    (TaskClass(Resources(2, 2.0, 4.0), 6, example="x"), TaskClass(Resources(1), 2, 3)), (Choice(OFFERING),)
)
PLAN = plan(PROBLEM)


def _filled(change: int) -> Plan:
    first, *rest = PLAN.filled
    units = tuple((index, count + change) for index, count in first.units)
    return replace(PLAN, filled=(replace(first, units=units), *rest))


@pytest.mark.parametrize(
    "wrong",
    [
        _filled(1),
        _filled(-1),
        replace(PLAN, launches=(Planned(OFFERING, 1),)),
        replace(PLAN, launches=(*PLAN.launches, Planned(OFFERING, 1))),
        replace(PLAN, cost_per_hour=PLAN.cost_per_hour + 1),
        replace(PLAN, lower_bound_per_hour=PLAN.cost_per_hour + 1),
        replace(PLAN, served=tuple(replace(each, units=each.units + 1) for each in PLAN.served)),
    ],
)
def test_a_wrong_plan_is_seen(wrong: Plan) -> None:
    assert faults_of(PROBLEM, PLAN) == []
    assert faults_of(PROBLEM, wrong)


@pytest.mark.parametrize(
    "harder",
    [
        replace(PROBLEM, limits=Limits(max_instances=4)),
        replace(PROBLEM, limits=Limits(max_slots=15)),
        replace(PROBLEM, limits=Limits(max_dollars_per_hour=4.5)),
        replace(PROBLEM, choices=(Choice(OFFERING, at_most=3),)),
        replace(PROBLEM, choices=(Choice(OFFERING, barred="no"),)),
        replace(PROBLEM, choices=(Choice(replace(OFFERING, zone="b")),)),
    ],
)
def test_a_plan_for_an_easier_problem_is_seen(harder: Problem) -> None:
    assert faults_of(harder, PLAN)


def test_a_group_over_its_maximum_is_seen() -> None:
    tasks = (TaskClass(Resources(2), 3, group="g"),)
    made = plan(Problem(tasks, (Choice(OFFERING),)))
    assert faults_of(Problem(tasks, (Choice(OFFERING),), groups=(Group("g", 5),)), made)
