"""Which tasks are to be served: the groups' maxima before planning, whole instances first, and the count of what is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slotsmith.core import unmet
from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.filling import Filling, Pattern, Row, merged
from slotsmith.core.planning.firstfit import Ceiling
from slotsmith.core.planning.shapes import Lot, Model, Whole, counted_by
from slotsmith.model.decision import Unmet
from slotsmith.model.task import TaskClass


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many tasks of each class of each lot (as in `Model.lots`) the groups leave room for, and what they do not."""

    counts: tuple[tuple[int, ...], ...]
    refused: tuple[Unmet, ...]

    @property
    def tasks(self) -> Ints:
        """Tasks of each lot."""
        return np.array([sum(counts) for counts in self.counts], np.int64)


def admitted(model: Model) -> Wanted:
    """Largest first, as long as a task's group is below its maximum."""
    limited = {group.id: group for group in model.problem.groups if group.max_slots is not None}
    if not limited:
        return Wanted(tuple(tuple([tasks.count for tasks in lot.classes]) for lot in model.lots), ())
    promised: Counter[str] = Counter()
    counts: list[tuple[int, ...]] = []
    refused: list[Unmet] = []
    for lot in model.lots:
        allowed = []
        for tasks in lot.classes:
            group, slots = limited.get(tasks.group or ""), tasks.resources.slots * tasks.gang
            count = tasks.count
            if group is not None and slots:
                left = (group.max_slots or 0) - group.used_slots - promised[group.id]
                count = min(count, max(0, left) // slots)
                promised[group.id] += count * slots
                if count < tasks.count:
                    reason = unmet.group_full(tasks, group, promised[group.id])
                    refused.append(Unmet(tasks.count - count, reason, replace(tasks, count=tasks.count - count)))
            allowed.append(count)
        counts.append(tuple(allowed))
    return Wanted(tuple(counts), tuple(refused))


def item_counts(model: Model, tasks: Ints) -> Ints:
    """How many of each item so many tasks of each lot are."""
    return counted_by(model.lot_items, tasks * model.lot_units, model.items)


@dataclass(frozen=True, slots=True)
class WholePlaces:
    """Where tasks that span lie: (lot, owner, instances), and how many tasks of each lot that serves."""

    places: tuple[tuple[int, int, int], ...]
    tasks: Ints
    agents: Ints

    def units(self, model: Model) -> Ints:
        """Instances for each of `Model.wholes`."""
        units = np.zeros(len(model.wholes), np.int64)
        for lot, _, count in self.places:
            units[model.lots[lot].whole] += count
        return units


def place_wholes(model: Model, tasks: Ints, ceiling: Ceiling) -> WholePlaces:
    """Whole instances for the tasks that span, largest first: existing ones, then new ones of one kind each."""
    agents = model.agents.copy()
    if not model.wholes:
        return WholePlaces((), np.zeros(len(model.lots), np.int64), agents)
    filling = Filling.of_existing(model)
    places: list[tuple[int, int, int]] = []
    served = np.zeros(len(model.lots), np.int64)
    for index, lot in enumerate(model.lots):
        if lot.whole < 0 or not tasks[index]:
            continue
        whole = model.wholes[lot.whole]
        new = ceiling.allows(whole.kind, int(tasks[index]) * lot.units) if whole.kind >= 0 else 0
        count = min(int(tasks[index]), (_free(model, whole, agents) + new) // lot.units)
        left = count * lot.units
        for pile in _piles(model, whole):
            taken = filling.place_whole(pile, whole.amounts, whole.slots, left)
            if taken:
                agents[pile] -= taken
                left -= taken
                places.append((index, pile, taken))
        if left:
            ceiling.use(whole.kind, left)
            places.append((index, len(model.piles) + whole.kind, left))
        served[index] = count
    return WholePlaces(tuple(places), served, agents)


def _piles(model: Model, whole: Whole) -> list[int]:
    return [index for index, pile in enumerate(model.piles) if _may_take(model, whole, index, pile.whole, pile.slots)]


def _may_take(model: Model, whole: Whole, index: int, is_whole: bool, slots: int) -> bool:
    return (
        is_whole and slots == whole.slots and bool((whole.amounts <= model.free[index]).all()) and whole.accepts[index]
    )


def _free(model: Model, whole: Whole, agents: Ints) -> int:
    return int(agents[_piles(model, whole)].sum())


def counted(model: Model, tasks: Ints, placed: Ints) -> Ints:
    """How many tasks of each lot the placed items make, in the order of the lots, gangs whole or not at all."""
    left = placed.copy()
    served = tasks.copy()
    for index, lot in enumerate(model.lots):
        if lot.item >= 0:
            served[index] = min(int(tasks[index]), int(left[lot.item]) // lot.units)
            left[lot.item] -= served[index] * lot.units
    return served


def trimmed(rows: Sequence[Row], excess: Ints) -> list[Row]:
    """The rows without so many of each item; `excess` is left at zero."""
    result: list[Row] = []
    for row in sorted(rows, key=lambda row: -row.owner):
        result += _trim(row, excess)
    return merged(result)


def _trim(row: Row, excess: Ints) -> list[Row]:
    parts: list[Row] = []
    while row.bins and any(excess[item] > 0 for item, _ in row.pattern):
        dropped = [(item, min(times, int(excess[item]))) for item, times in row.pattern if excess[item] > 0]
        count = min(row.bins, *(int(excess[item]) // times for item, times in dropped))
        less = dict(dropped)
        pattern: Pattern = tuple(
            (item, times - less.get(item, 0)) for item, times in row.pattern if times > less.get(item, 0)
        )
        parts.append(Row(row.owner, pattern, count))
        for item, times in dropped:
            excess[item] -= times * count
        row = Row(row.owner, row.pattern, row.bins - count)
    return [*parts, row]


def left_out(lot: Lot, counts: Sequence[int], served: int) -> tuple[tuple[TaskClass, ...], tuple[TaskClass, ...]]:
    """The classes of a lot that are served and those that are not, when so many of its tasks are."""
    if served == lot.total:
        return lot.classes, ()
    inside: list[TaskClass] = []
    outside: list[TaskClass] = []
    for tasks, count in zip(lot.classes, counts, strict=True):
        taken = min(count, served)
        served -= taken
        if taken:
            inside.append(_counted(tasks, taken))
        if count > taken:
            outside.append(_counted(tasks, count - taken))
    return tuple(inside), tuple(outside)


def _counted(tasks: TaskClass, count: int) -> TaskClass:
    return tasks if count == tasks.count else replace(tasks, count=count)
