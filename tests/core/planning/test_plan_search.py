"""The parts of the search by themselves: what fills one instance best, and the program over all fillings."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_checker import faults_of
from plan_problems import least_cost, small_problem

from slotsmith.core.planning import solve
from slotsmith.core.planning.budget import Budget
from slotsmith.core.planning.knapsack import relaxed, search
from slotsmith.core.planning.plan import StoppedBy
from slotsmith.core.planning.problem import Choice, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

SIZES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


@st.composite
def knapsacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    sizes = np.array(draw(SIZES), float)
    worth = np.array([draw(st.integers(1, 40)) / 10 for _ in sizes])
    copies = np.array([draw(st.integers(1, 3)) for _ in sizes])
    room = np.array([draw(st.integers(1, 4)), draw(st.integers(4, 20)), draw(st.integers(4, 20))], float)
    fits = (sizes <= room).all(axis=1)
    return worth[fits], sizes[fits], copies[fits], room


def _most(worth: np.ndarray, sizes: np.ndarray, copies: np.ndarray, room: np.ndarray) -> float:
    best = 0.0
    for times in product(*(range(count + 1) for count in copies.tolist())):
        if (np.array(times) @ sizes <= room).all() if len(times) else True:
            best = max(best, float(np.array(times) @ worth))
    return best


@given(knapsacks(), st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_best_filling_is_found(
    knapsack: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], share: float, best_only: bool
) -> None:
    worth, sizes, copies, room = knapsack
    most = _most(worth, sizes, copies, room)
    found = search(worth, sizes, copies, room, most * share, labels=10_000, most=5, best_only=best_only)
    assert found.bound >= most - 1e-9
    if share < 1 and most:
        assert found.values[0] == pytest.approx(most)
    for value, times in zip(found.values, found.patterns, strict=True):
        assert (times <= copies).all()
        assert (times @ sizes <= room).all()
        assert value == pytest.approx(float(times @ worth))


@given(knapsacks(), st.sampled_from([1, 2, 5]))
@settings(max_examples=150, deadline=None)
def test_the_bound_holds_when_few_fillings_are_kept(
    knapsack: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], labels: int
) -> None:
    worth, sizes, copies, room = knapsack
    found = search(worth, sizes, copies, room, 0.0, labels=labels, most=5, best_only=True)
    assert found.bound >= _most(worth, sizes, copies, room) - 1e-9


@given(knapsacks())
@settings(max_examples=150, deadline=None)
def test_the_relaxation_is_a_bound_at_safe_prices(
    knapsack: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    worth, sizes, copies, room = knapsack
    bound = relaxed(worth, sizes, room)
    assert bound.value >= _most(worth, sizes, copies, room) - 1e-9
    assert (sizes @ bound.prices >= worth - 1e-9).all()


def _nothing(*_: object) -> None:
    return None


def test_the_program_finds_the_least_cost_mostly_and_bounds_it_always(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("highspy")
    monkeypatch.setattr(solve, "least_cost_rows", _nothing)
    dearer = _dearer(range(300, 315), Budget(300_000))
    assert dearer <= 1


def test_without_a_solver_plans_are_feasible_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "least_cost_rows", _nothing)
    monkeypatch.setattr(solve, "find_spec", _nothing)
    assert _dearer(range(300, 312), Budget(100_000)) <= 2


def _dearer(seeds: range, budget: Budget) -> int:
    dearer = 0
    for seed in seeds:
        problem = small_problem(seed)
        made, least = plan(problem, budget), least_cost(problem)
        assert faults_of(problem, made) == []
        assert made.lower_bound_per_hour <= least + 1e-9
        dearer += made.cost_per_hour > least + 1e-9
    return dearer


def test_small_problems_need_no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "find_spec", _nothing)
    assert plan(small_problem(1)).stopped_by is StoppedBy.OPTIMAL


def drawn(tasks: int, kinds: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    slots, cpus, mem_gib = rng.integers(0, 5, kinds), rng.integers(1, 17, kinds), rng.integers(1, 65, kinds)
    shapes = zip(
        slots.tolist(), cpus.tolist(), mem_gib.tolist(), rng.multinomial(tasks, [1 / kinds] * kinds), strict=True
    )
    classes = tuple(TaskClass(Resources(s, float(c), float(m)), int(n)) for s, c, m, n in shapes if n)
    sizes = {
        "a": (1, 8, 32, 0.9),
        "b": (4, 32, 128, 3.1),
        "c": (8, 64, 512, 7.0),
        "d": (0, 32, 64, 0.7),
        "e": (4, 64, 256, 4.4),
    }
    offerings = [Offering(name, Resources(s, c, m), price=price) for name, (s, c, m, price) in sizes.items()]
    return Problem(classes, tuple(map(Choice, offerings)))


def test_more_work_gives_no_dearer_plan_and_the_same_answer_again() -> None:
    problem = drawn(400, 40, 1)
    made = [plan(problem, Budget(work)) for work in (0, 50_000, 400_000, 400_000)]
    assert made[0].cost_per_hour >= made[1].cost_per_hour >= made[2].cost_per_hour
    assert made[2] == made[3]
    assert all(faults_of(problem, each) == [] for each in made)


def test_the_program_comes_within_one_percent() -> None:
    pytest.importorskip("highspy")
    for seed in range(3):
        assert plan(drawn(600, 40, seed), Budget(600_000)).gap < 0.01


def test_the_clock_cuts_off_and_says_so() -> None:
    ticks = iter(range(10**6))
    made = plan(drawn(400, 40, 1), Budget(10**9, seconds=20.0), clock=lambda: float(next(ticks)))
    assert made.stopped_by is StoppedBy.CLOCK
    assert faults_of(drawn(400, 40, 1), made) == []


def test_what_is_exact_is_left_to_small_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.core.planning.solve.least_cost_rows", lambda *_: None)
    assert plan(small_problem(2)).gap < 0.5
