"""How long it takes to tell how many instances a million pending tasks call for, and how many too many that is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Table, figure, median_ms
from slotsmith.core.columns import classes_from_columns
from slotsmith.core.demand import Demand, demand
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Group, Task, TaskClass, classes_of

TASKS = 1_000_000
GROUPS = tuple(Group(f"group{number}", max_slots=10_000 + number, used_slots=number) for number in range(100))
OFFERING = Offering("large", Resources(8, 64.0, 256.0))
# Measured for the reference: a list of so many tasks in 100 groups, 0 to 8 slots each.
GO_MS = 900.0


def tables() -> list[Table]:
    """The figures, with the reference's and the targets beside them."""
    return [
        Table("Demand: the number of new instances for 1,000,000 pending tasks (CPU time, median)", _million()),
        Table("Demand: tasks of which no two are alike (CPU time, median)", _shapes()),
        Table("Demand: instances above what the tasks would fill if they could be poured", _quality()),
    ]


def _wanted(classes: Sequence[TaskClass], groups: Sequence[Group] = ()) -> Demand:
    return demand(classes, groups, (), OFFERING, max_instances=1000, max_zero_slot_tasks=100)


def _million() -> list[Row]:
    rng = np.random.default_rng(1)
    slots = rng.choice([0, 1, 2, 4, 8], TASKS)
    codes = rng.integers(0, len(GROUPS), TASKS)
    cpus = rng.choice([0.5, 1.0, 2.0, 4.0, 8.0], TASKS)
    mem_gib = rng.choice([0.5, 1.0, 4.0, 16.0, 32.0], TASKS)
    names = [group.id for group in GROUPS]

    def columns() -> tuple[TaskClass, ...]:
        return classes_from_columns(slots, group_codes=codes, group_names=names)

    classes = columns()
    wanted = _wanted(classes, GROUPS)
    rows = [
        figure(
            "columns of slots and groups (100 groups)",
            median_ms(lambda: _wanted(columns(), GROUPS)),
            reference=GO_MS,
            target=20,
        ),
        figure(
            f"the same as {len(classes)} classes",
            median_ms(lambda: _wanted(classes, GROUPS)),
            reference=GO_MS,
            target=20,
        ),
        figure("the same again under a limit of 1,000 instances", median_ms(lambda: wanted.within(1000))),
        figure(
            "columns of slots, cpus and memory (125 shapes)",
            median_ms(lambda: _wanted(classes_from_columns(slots, cpus=cpus, mem_gib=mem_gib))),
        ),
    ]
    return [*rows, figure("one by one (100 groups)", _one_by_one(slots, codes), reference=GO_MS)]


def _one_by_one(slots: NDArray[np.int64], codes: NDArray[np.int64]) -> float:
    tasks = [
        Task(f"task{number}", Resources(size), group=GROUPS[code].id)
        for number, (size, code) in enumerate(zip(slots.tolist(), codes.tolist(), strict=True))
    ]
    return median_ms(lambda: _wanted(classes_of(tasks), GROUPS), runs=3)


def _random_shapes(count: int) -> list[TaskClass]:
    rng = np.random.default_rng(2)
    return [
        TaskClass(Resources(slots, cpus, mem_gib))
        for slots, cpus, mem_gib in zip(
            rng.choice([0, 1, 2, 4, 8], count).tolist(),
            rng.uniform(0, 64, count).tolist(),
            rng.uniform(0, 256, count).tolist(),
            strict=True,
        )
    ]


def _shapes() -> list[Row]:
    return [
        figure(f"{count:,} tasks", median_ms(lambda: _wanted(shapes), runs=3))
        for count in (10, 100, 1_000, 10_000)
        if (shapes := _random_shapes(count))
    ]


def _quality() -> list[Row]:
    rng = np.random.default_rng(3)
    slots = rng.choice([1, 2, 3, 4, 5, 6, 7, 8], 1000)
    shapes = _random_shapes(1000)
    return [
        figure("1,000 tasks of 1 to 8 slots", _above(classes_from_columns(slots)), "%"),
        figure("1,000 tasks, no two of them alike", _above(shapes), "%"),
    ]


def _above(classes: Sequence[TaskClass]) -> float:
    total = [0.0, 0.0, 0.0]
    for kind in classes:
        for index, (_, amount) in enumerate(kind.resources.items()):
            total[index] += amount * kind.count
    bound = max(amount / each for amount, (_, each) in zip(total, OFFERING.capacity.items(), strict=True))
    return 100 * (_wanted(classes).new_instances / bound - 1)
