"""What comes out of planning: launches, what each instance holds, and what stays unmet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from slotsmith.model.decision import Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.task import TaskClass

# Prices are added up in floating point; a plan that costs its bound may miss it by this share.
_SAME_COST = 1e-9


class StoppedBy(StrEnum):
    """Why planning ended: nothing better exists, the budget of work was used up, or the clock cut it off."""

    OPTIMAL = "optimal"
    WORK = "work"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Planned:
    """`count` instances of an offering are to be launched."""

    offering: Offering
    count: int


@dataclass(frozen=True, slots=True)
class Served:
    """Tasks that find a place and differ in nothing but group and id; their counts say how many of each class do.

    A task is placed in `units`: its members, or where it spans, the instances that its members take whole.
    """

    tasks: tuple[TaskClass, ...]
    units: int

    @property
    def count(self) -> int:
        return sum(tasks.count for tasks in self.tasks)


@dataclass(frozen=True, slots=True)
class Filled:
    """`count` instances that hold the same: so many units of each of the served, by their index in `Plan.served`.

    New ones are of `offering`; existing ones are of entry number `existing` of `Problem.existing`, in the order of its
    ids.
    """

    count: int
    units: tuple[tuple[int, int], ...]
    offering: Offering | None = None
    existing: int | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """One instance and how many tasks of each class it holds; what lies on several instances counts on each.

    `existing` and `ordinal` say which existing agent it is: its entry in `Problem.existing` and its number in there.
    """

    offering: Offering | None
    existing: int | None
    ordinal: int
    tasks: tuple[TaskClass, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Launches that hold the served tasks; costs in dollars per hour.

    `lower_bound_per_hour` is proved: no launches that hold the same tasks, beside the same existing capacity, cost
    less. With a minimum of instances, there may be launches that hold nothing.
    """

    launches: tuple[Planned, ...] = ()
    filled: tuple[Filled, ...] = ()
    served: tuple[Served, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    cost_per_hour: float = 0.0
    lower_bound_per_hour: float = 0.0
    stopped_by: StoppedBy = StoppedBy.OPTIMAL
    work: int = 0

    @property
    def placed(self) -> int:
        """How many tasks find a place (a gang is one)."""
        return sum(served.count for served in self.served)

    @property
    def gap(self) -> float:
        """By what share the cost may be above the least possible one."""
        if self.cost_per_hour <= self.lower_bound_per_hour * (1 + _SAME_COST) or not self.cost_per_hour:
            return 0.0
        if not self.lower_bound_per_hour:
            return float("inf")
        return self.cost_per_hour / self.lower_bound_per_hour - 1

    @property
    def launch_count(self) -> int:
        return sum(planned.count for planned in self.launches)

    def assignments(self) -> Iterator[Assigned]:
        """Every instance that holds something, one by one: their number is that of the instances, not of the tasks."""
        queues = [_Queue(served) for served in self.served]
        taken: dict[int, int] = {}
        for filled in self.filled:
            for _ in range(filled.count):
                tasks = tuple(part for index, units in filled.units for part in queues[index].take(units))
                ordinal = 0
                if filled.existing is not None:
                    ordinal = taken.get(filled.existing, 0)
                    taken[filled.existing] = ordinal + 1
                yield Assigned(filled.offering, filled.existing, ordinal, tasks)


class _Queue:
    """The tasks of a `Served` in their order, as they are handed out unit by unit."""

    def __init__(self, served: Served) -> None:
        self._classes: Sequence[TaskClass] = served.tasks
        self._units = served.units
        self._class = 0
        self._begun = 0

    def take(self, units: int) -> Iterator[TaskClass]:
        """So many units, as the tasks that they belong to. A task whose units lie on both sides counts on both."""
        while units:
            tasks = self._classes[self._class]
            used = min(units, tasks.count * self._units - self._begun)
            first, last = self._begun // self._units, (self._begun + used - 1) // self._units
            yield replace(tasks, count=last - first + 1)
            self._begun += used
            units -= used
            if self._begun == tasks.count * self._units:
                self._class, self._begun = self._class + 1, 0
