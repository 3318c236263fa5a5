"""Plans for many of each of many kinds of tasks, made of the fillings of several quick plans."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_checker import faults_of
from test_plan_search import drawn

from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.planning.budget import QUICK, Budget
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.resources import Resources

BUDGET = Budget(200_000)


def many(seed: int) -> Problem:
    """Some 1,500 tasks of 120 kinds; one offering is scarce, and some agents have room."""
    problem = drawn(1_500, 120, seed)
    free = FreeCapacity(Resources(2, 8.0, 16.0), 5, 9, False, offering=problem.choices[1].offering)
    choices = tuple(Choice(choice.offering, 20 if index == 3 else None) for index, choice in enumerate(problem.choices))
    return replace(problem, choices=choices, existing=(free,))


def test_it_is_cheaper_than_the_first_plan_and_the_same_in_any_order() -> None:
    pytest.importorskip("highspy")
    problem = many(1)
    made, first = plan(problem, BUDGET), plan(problem, QUICK)
    assert faults_of(problem, made) == []
    assert made.cost_per_hour < first.cost_per_hour
    assert made.gap < 0.02
    turned = replace(problem, tasks=problem.tasks[::-1], choices=problem.choices[::-1])
    again = plan(turned, BUDGET)
    assert (again.launches, again.cost_per_hour, again.work) == (made.launches, made.cost_per_hour, made.work)


@pytest.mark.parametrize("limits", [Limits(max_dollars_per_hour=200.0), Limits(max_instances=60)])
def test_it_stays_within_the_limits(limits: Limits) -> None:
    problem = replace(many(2), limits=limits)
    made = plan(problem, BUDGET)
    assert faults_of(problem, made) == []
    assert made.unmet


def test_a_solver_that_comes_to_nothing_costs_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("highspy")
    from slotsmith.core.planning.highs import Program

    def nothing(_: Program) -> None:
        return None

    monkeypatch.setattr(Program, "solve_inside", nothing)
    problem = many(3)
    made = plan(problem, BUDGET)
    assert faults_of(problem, made) == []
    assert made.cost_per_hour <= plan(problem, QUICK).cost_per_hour
