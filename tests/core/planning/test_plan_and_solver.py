"""Plans of middling size beside those of a solver that knows nothing of the planner: an assignment model for HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from plan_checker import faults_of

from slotsmith.core.planning.budget import Budget
from slotsmith.core.planning.problem import Choice, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

# Nodes, not seconds: the solver's answer must not depend on what else the machine does.
_MOST_NODES = 400


def middling(seed: int) -> Problem:
    """Some twenty tasks of six kinds on three kinds of instances."""
    random = Random(seed)
    tasks = tuple(
        TaskClass(
            Resources(random.choice([0, 1, 1, 2]), float(random.randint(1, 8)), float(random.randint(2, 24))),
            random.randint(2, 5),
            example=f"task{index}",
        )
        for index in range(6)
    )
    sizes = ((1, 8.0, 32.0, 0.9), (4, 32.0, 128.0, 3.1), (2, 8.0, 24.0, 1.2))
    offerings = [
        Offering(f"t{index}", Resources(slots, cpus, mem), price=round(price * random.uniform(0.8, 1.2), 3))
        for index, (slots, cpus, mem, price) in enumerate(sizes)
    ]
    return Problem(tasks, tuple(map(Choice, offerings)))


def solved(problem: Problem) -> tuple[float, float]:
    """The least cost that the solver finds within its nodes, and what it proves no plan to be below.

    Whole numbers: how many tasks of each class lie on each of so many instances of each type, each used or not.
    """
    highspy = pytest.importorskip("highspy")
    highs = highspy.Highs()
    highs.silent()
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_max_nodes", _MOST_NODES)
    instances = [choice for choice in problem.choices for _ in range(_most_of(problem, choice))]
    used = [highs.addVariable(lb=0, ub=1, obj=choice.price, type=highspy.HighsVarType.kInteger) for choice in instances]
    lying = [
        [highs.addVariable(lb=0, ub=tasks.count, type=highspy.HighsVarType.kInteger) for tasks in problem.tasks]
        for _ in instances
    ]
    for number, tasks in enumerate(problem.tasks):
        highs.addConstr(sum(row[number] for row in lying) == tasks.count)
    for choice, row, taken in zip(instances, lying, used, strict=True):
        for asked, has in zip(_amounts(problem.tasks), _plain(choice.offering.capacity), strict=True):
            highs.addConstr(sum(size * count for size, count in zip(asked, row, strict=True)) <= has * taken)
    for first, second, choice, after in zip(used, used[1:], instances, instances[1:], strict=False):
        if choice is after:
            highs.addConstr(first >= second)
    highs.run()
    info = highs.getInfo()
    return float(info.objective_function_value), float(info.mip_dual_bound)


def _most_of(problem: Problem, choice: Choice) -> int:
    """So many instances of a type hold everything that fits on it, each kind of tasks by itself; but not very many."""
    needed = 0
    for tasks in problem.tasks:
        times = int(tasks.resources.times_in(choice.offering.capacity))
        needed += -(-tasks.count // times) if times else 0
    return min(needed, 14)


def _plain(resources: Resources) -> tuple[float, float, float]:
    return float(resources.slots), resources.cpus, resources.mem_gib


def _amounts(tasks: Sequence[TaskClass]) -> list[tuple[float, ...]]:
    return list(zip(*(_plain(each.resources) for each in tasks), strict=True))


def _compared(seeds: range, budget: Budget) -> None:
    for seed in seeds:
        problem = middling(seed)
        made = plan(problem, budget)
        assert faults_of(problem, made) == []
        assert not made.unmet
        theirs, proved = solved(problem)
        assert made.cost_per_hour <= theirs + 1e-6, f"seed {seed}: the solver found a cheaper plan"
        assert made.lower_bound_per_hour <= theirs + 1e-6, f"seed {seed}: the bound is above a plan that there is"
        assert made.cost_per_hour >= proved - 1e-6, f"seed {seed}: cheaper than what is possible"


def test_no_plan_is_dearer_than_the_solvers() -> None:
    _compared(range(3), Budget())


@pytest.mark.slow
def test_no_plan_of_forty_is_dearer_than_the_solvers() -> None:
    _compared(range(100, 140), Budget())
