"""Which instances of a plan hold which tasks, with instances that hold the same told once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slotsmith.core.planning.plan import Plan, Served
    from slotsmith.model.offering import Offering
    from slotsmith.model.task import TaskClass


class Part(NamedTuple):
    """So many members of the tasks of one line of the file; without a gang, each task is its only member."""

    task_id: str
    members: int


@dataclass(frozen=True, slots=True)
class Run:
    """`count` instances that hold the same: new ones of `offering`, or that of `Problem.existing` with this index."""

    count: int
    offering: Offering | None
    existing: int | None
    parts: tuple[Part, ...]


def runs(plan: Plan) -> Iterator[Run]:
    """All instances that hold something, in an order that is always the same.

    There are about as many runs as kinds of instances and lines of tasks, however many tasks these stand for.
    """
    queues = [_Queue(served) for served in plan.served]
    for filled in plan.filled:
        left = filled.count
        while left:
            count = max(1, min([left, *(queues[index].times(units) for index, units in filled.units)]))
            parts = tuple(part for index, units in filled.units for part in queues[index].take(units, count))
            yield Run(count, filled.offering, filled.existing, parts)
            left -= count


class _Queue:
    """Tasks that differ in nothing but their id, in their order, as their members are handed out."""

    def __init__(self, served: Served) -> None:
        self._classes: Sequence[TaskClass] = served.tasks
        self._units = served.units
        self._class = 0
        self._begun = 0

    def _left(self) -> int:
        if self._class == len(self._classes):
            return 0
        return self._classes[self._class].count * self._units - self._begun

    def times(self, units: int) -> int:
        """How often so many can be taken in a row, all of one line."""
        return self._left() // units

    def take(self, units: int, times: int) -> Iterator[Part]:
        """So many for each of `times` instances: all of one line, unless it is for one instance only."""
        if times > 1:
            yield Part(self._classes[self._class].example, units)
            self._advance(units * times)
            return
        while units:
            used = min(units, self._left())
            yield Part(self._classes[self._class].example, used)
            self._advance(used)
            units -= used

    def _advance(self, units: int) -> None:
        self._begun += units
        if not self._left():
            self._class, self._begun = self._class + 1, 0
