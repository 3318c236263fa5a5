"""How near to the least cost plans of small problems come, found by trying everything."""

from __future__ import annotations

import pytest
from plan_checker import faults_of
from plan_problems import least_cost, small_problem

from slotsmith.core.planning.budget import QUICK, Budget, Meter
from slotsmith.core.planning.solve import _Planner, plan


def _compared(seeds: range, budget: Budget) -> tuple[int, float]:
    """How many plans cost more than the least, and by what share the dearest of them does."""
    dearer, most = 0, 0.0
    for seed in seeds:
        problem = small_problem(seed)
        made = plan(problem, budget)
        least = least_cost(problem)
        assert faults_of(problem, made) == []
        assert not made.unmet
        assert made.lower_bound_per_hour <= least + 1e-9, f"seed {seed}: the bound is above the least cost"
        if made.cost_per_hour > least + 1e-9:
            dearer += 1
            most = max(most, made.cost_per_hour / least - 1 if least else 1.0)
    return dearer, most


def test_small_plans_are_the_cheapest() -> None:
    dearer, _ = _compared(range(25), Budget())
    assert dearer == 0


def test_the_first_plan_is_mostly_the_cheapest() -> None:
    dearer, most = _compared(range(100, 120), QUICK)
    assert dearer <= 3
    assert most < 0.5


@pytest.mark.slow
def test_a_thousand_small_plans_are_the_cheapest() -> None:
    dearer, _ = _compared(range(1_000, 2_000), Budget())
    assert dearer <= 10


def test_the_bound_holds_by_itself() -> None:
    """A plan tells no bound above its own cost, so that with the cheapest plan no bound is seen to be wrong."""
    near = 0
    for seed in range(200, 213):
        problem = small_problem(seed)
        planner = _Planner(problem, Meter(QUICK))
        planner.plan()
        least = least_cost(problem)
        assert planner._bound <= least + 1e-9, f"seed {seed}: the bound is above the least cost"
        near += planner._bound > 0.9 * least
    assert near, "no bound is so near that a wrong one would be seen"
