"""Which tasks are served when not all can be, and what is said of the others."""

from __future__ import annotations

import pytest
from plan_checker import faults_of

from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.planning.plan import Plan
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Constraints, Group, TaskClass

SMALL = Offering("small", Resources(1, 4.0, 16.0), price=1.0)
LARGE = Offering("large", Resources(4, 16.0, 64.0), price=3.5)
FAR = Offering("large", Resources(4, 16.0, 64.0), zone="far", price=3.0)
BOTH = (Choice(SMALL), Choice(LARGE))


def one(slots: int = 1, count: int = 1, **more: object) -> TaskClass:
    return TaskClass(Resources(slots, 2.0, 4.0), count, example=f"task{slots}", **more)  # type: ignore[arg-type]


def planned(problem: Problem) -> Plan:
    made = plan(problem)
    assert faults_of(problem, made) == []
    return made


def launched(made: Plan) -> dict[str, int]:
    return {launch.offering.name.removesuffix("/on-demand"): launch.count for launch in made.launches}


def reasons(made: Plan) -> list[str]:
    return [f"{unmet.count}: {unmet.reason}" for unmet in made.unmet]


def test_the_cheapest_offerings_are_launched() -> None:
    assert launched(planned(Problem((one(1, 3),), BOTH))) == {"small": 3}
    assert launched(planned(Problem((one(1, 4),), BOTH))) == {"large": 1}
    assert launched(planned(Problem((one(1, 5),), BOTH))) == {"large": 1, "small": 1}


def test_the_cheapest_zone_first_and_the_next_one_when_it_has_no_more() -> None:
    problem = Problem((one(4, 3),), (Choice(LARGE), Choice(FAR, at_most=2)))
    assert launched(planned(problem)) == {"large/far": 2, "large": 1}


def test_a_barred_offering_is_replaced_by_another() -> None:
    problem = Problem((one(1, 8),), (Choice(SMALL), Choice(LARGE, barred="capacity errors until 12:30")))
    assert launched(planned(problem)) == {"small": 8}


def test_a_barred_offering_is_the_reason_when_there_is_no_other() -> None:
    problem = Problem((one(4, 2),), (Choice(SMALL), Choice(LARGE, barred="capacity errors until 12:30")))
    assert reasons(planned(problem)) == ["2: large/on-demand: capacity errors until 12:30"]


def test_no_more_to_be_had() -> None:
    problem = Problem((one(4, 5),), (Choice(SMALL), Choice(LARGE, at_most=2)))
    made = planned(problem)
    assert launched(made) == {"large": 2}
    assert reasons(made) == ["3: no more than 2 of large/on-demand may be had"]


def test_fewer_and_larger_instances_when_instances_are_limited() -> None:
    problem = Problem((one(1, 3),), BOTH, limits=Limits(max_instances=1))
    made = planned(problem)
    assert launched(made) == {"large": 1}
    assert made.unmet == ()


def test_the_largest_tasks_are_served_within_the_money() -> None:
    problem = Problem((one(1, 9), one(4, 1)), BOTH, limits=Limits(max_dollars_per_hour=6.0, dollars_per_hour=0.5))
    made = planned(problem)
    assert launched(made) == {"large": 1, "small": 2}
    assert reasons(made) == ["7: over the pool's maximum of $6.00 per hour ($6.00 of it is spent)"]


def test_the_maximum_of_slots() -> None:
    made = planned(Problem((one(1, 6),), BOTH, limits=Limits(max_slots=5, slots=2)))
    assert launched(made) == {"small": 3}
    assert reasons(made) == ["3: over the pool's maximum of 5 slots"]


def test_gangs_are_served_whole_or_not_at_all() -> None:
    problem = Problem((one(4, 2, gang=3),), BOTH, limits=Limits(max_instances=5))
    made = planned(problem)
    assert launched(made) == {"large": 3}
    assert reasons(made) == ["1: 3 members must start together; over the pool's maximum of 5 instances"]


def test_a_gang_may_use_what_exists_and_what_is_launched() -> None:
    free = FreeCapacity(LARGE.capacity, 2, 0, True, ("i-1", "i-2"), offering=LARGE)
    made = planned(Problem((one(4, 1, gang=3),), BOTH, (free,)))
    assert launched(made) == {"large": 1}
    assert sorted(
        (assigned.existing, assigned.ordinal) for assigned in made.assignments() if assigned.existing == 0
    ) == [
        (0, 0),
        (0, 1),
    ]


def test_a_task_that_spans_takes_whole_instances_of_one_offering() -> None:
    made = planned(Problem((one(8, 2, spans=True),), BOTH))
    assert launched(made) == {"large": 4}
    assert made.served[0].units == 2


def test_a_task_that_spans_leaves_instances_at_work_alone() -> None:
    busy = FreeCapacity(LARGE.capacity, 5, 0, False, offering=LARGE)
    whole = FreeCapacity(LARGE.capacity, 1, 0, True, offering=LARGE)
    made = planned(Problem((one(8, 1, spans=True),), BOTH, (busy, whole)))
    assert launched(made) == {"large": 1}


def test_existing_capacity_costs_nothing_and_comes_first() -> None:
    free = FreeCapacity(Resources(2, 8.0, 32.0), 3, 0, False, offering=LARGE)
    made = planned(Problem((one(1, 7),), BOTH, (free,)))
    assert launched(made) == {"small": 1}
    assert made.cost_per_hour == made.lower_bound_per_hour == pytest.approx(1.0)


def test_a_group_at_its_maximum() -> None:
    problem = Problem((one(1, 5, group="g"),), BOTH, groups=(Group("g", 4, 1),))
    made = planned(problem)
    assert made.placed == 3
    assert reasons(made) == ["2: group g is at its maximum of 4 slots (1 used, 3 for tasks before these)"]


def test_tasks_that_want_another_place() -> None:
    problem = Problem((one(1, 1, constraints=Constraints(zones=("far",))),), (Choice(SMALL), Choice(FAR)))
    assert launched(planned(problem)) == {"large/far": 1}
    problem = Problem((one(1, 1, constraints=Constraints(zones=("moon",))),), (Choice(SMALL), Choice(FAR)))
    assert reasons(planned(problem)) == ["1: wants zone moon; no offering of this pool is that"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Resources(8, 2.0, 4.0), "asks for 8 slots; the largest offering of this pool has 4 slots"),
        (Resources(1, 2.0, 99.0), "asks for 99 GiB of memory; the largest offering of this pool has 64 GiB of memory"),
        (Resources(1, 1.0, 1.0, (("licence", 1.0),)), "asks for 1 licence; the largest offering of this pool has none"),
    ],
)
def test_tasks_that_no_offering_is_large_enough_for(asked: Resources, reason: str) -> None:
    made = planned(Problem((TaskClass(asked, 3),), BOTH))
    assert reasons(made) == [f"3: {reason}"]


def test_tasks_that_no_single_offering_has_all_for() -> None:
    cpus = Offering("cpus", Resources(0, 64.0, 32.0), price=1.0)
    made = planned(Problem((TaskClass(Resources(1, 32.0, 16.0)),), (Choice(SMALL), Choice(cpus))))
    assert "no single offering of this pool has all of that" in reasons(made)[0]


def test_nothing_may_be_launched() -> None:
    assert reasons(planned(Problem((one(),)))) == ["1: no offering may be launched"]


def test_the_minimum_is_filled_up_with_the_cheapest() -> None:
    made = planned(Problem((one(4),), BOTH, limits=Limits(min_instances=4, instances=1)))
    assert launched(made) == {"large": 1, "small": 2}
    assert made.cost_per_hour == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice(Offering("a", Resources(1))), "offering a/on-demand has no price"),
        (lambda: Choice(Offering("a", Resources(1), price=0.0)), "has the price 0.0, expected more than 0"),
        (lambda: Choice(Offering("a", Resources(1), price=float("nan"))), "has the price nan"),
        (lambda: Choice(SMALL, at_most=-1), "may be had -1 times"),
        (lambda: Limits(max_dollars_per_hour=-1.0), "max_dollars_per_hour is -1.0"),
        (lambda: Problem((), (Choice(SMALL), Choice(SMALL))), "offering small/on-demand is given twice"),
        (lambda: Problem((), groups=(Group("g"), Group("g"))), "group g is given twice"),
        (lambda: Problem((one(1, 10**13),), BOTH), "are too many to plan"),
    ],
)
def test_bad_input_is_told_clearly(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
