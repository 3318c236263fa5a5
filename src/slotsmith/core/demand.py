"""How many new instances the pending tasks call for, and which tasks no number of instances would serve.

The tasks are packed, largest first: on what existing agents have free, and then on as many new instances as are
needed. Tasks come counted by what they ask for (`model.task.classes_of`, `core.columns.classes_from_columns`), so that
a million of them cost no more than their few classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from slotsmith.core import unmet
from slotsmith.core.fitting import Fitting, FreeCapacity, Lot, lots_of
from slotsmith.core.packing import Packing
from slotsmith.model.decision import Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.task import Group, TaskClass

__all__ = ["NO_DEMAND", "Demand", "FreeCapacity", "Placed", "demand", "unmet_beyond"]


@dataclass(frozen=True, slots=True)
class Placed:
    """Tasks of one class that find a place; `tasks.count` says how many.

    `on_existing` of them need no new instance. `new_instances` were added to the demand for the others, some of which
    may also lie on new instances that an earlier class called for.
    """

    tasks: TaskClass
    on_existing: int
    new_instances: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What pending tasks call for.

    `new_instances` is not limited by the pool's maximum. `unschedulable` are tasks that launches cannot help, each
    class with its reason. `used` are the ids of existing agents that pending tasks would use, and `used_existing` is
    the number of all such agents, with and without id. `beyond` are tasks left out by the limit of `within`. Each task
    is in one of `placed`, `beyond` and `unschedulable`.
    """

    new_instances: int
    unschedulable: tuple[Unmet, ...] = ()
    used: frozenset[str] = frozenset()
    used_existing: int = 0
    placed: tuple[Placed, ...] = ()
    beyond: tuple[TaskClass, ...] = ()
    plan: _Plan | None = field(default=None, repr=False, compare=False)

    def within(self, new_instances: int) -> Demand:
        """What is served when at most this many new instances may be launched.

        It may ask for fewer than that: a gang is begun whole or not at all, for instances that hold a part of one
        would be paid for while they wait for the rest.
        """
        if self.plan is None or new_instances >= self.new_instances:
            return self
        return _serve(self.plan, max(0, new_instances))


NO_PRIORITIES: Final[Mapping[str, int]] = MappingProxyType({})
"""No group comes before another."""
NO_DEMAND: Final = Demand(0)
"""Nothing is pending."""


def demand(
    tasks: Sequence[TaskClass],
    groups: Sequence[Group],
    existing: Sequence[FreeCapacity],
    offering: Offering,
    *,
    max_instances: int,
    max_zero_slot_tasks: int,
    priorities: Mapping[str, int] = NO_PRIORITIES,
) -> Demand:
    """What the tasks call for beyond `existing`, when instances of `offering` are launched.

    Neither the order of the tasks nor how they are divided into classes changes the numbers. A group's maximum limits
    the slots of its running and pending tasks together; a group that is not in `groups` has none. An agent takes
    `max_zero_slot_tasks` tasks without slots (0 = none; they then call for no instances). `max_instances` serves to
    tell gangs that could never start from those that wait. `priorities` say, by group, whose tasks are served first
    within a limit: the higher number, 0 for all others.
    """
    lots = lots_of(tasks)
    if not lots:
        return NO_DEMAND
    asked = [lot[0].resources for lot in lots]
    fitting = Fitting(asked, existing, offering, max_instances, max_zero_slot_tasks)
    admission = _Admission(fitting, groups, priorities)
    for lot in fitting.in_order(lots):
        admission.admit(lot)
    return admission.demand()


def unmet_beyond(wanted: Demand, new_instances: int, reason: str) -> tuple[Unmet, ...]:
    """The tasks that stay unmet when at most this many new instances may be launched, each class with `reason`."""
    return tuple(Unmet(tasks.count, reason, tasks) for tasks in wanted.within(new_instances).beyond)


class _Admitted(NamedTuple):
    """A lot, with how many tasks of each of its classes can be served at all."""

    lot: Lot
    counts: tuple[int, ...]


class _Plan(NamedTuple):
    """What has to be packed again when the number of new instances is limited."""

    fitting: Fitting
    admitted: tuple[_Admitted, ...]
    unschedulable: tuple[Unmet, ...]
    priorities: Mapping[str, int]

    def in_stages(self) -> Iterator[_Admitted]:
        """What was admitted, in the order in which it is served: highest priority first, then the largest."""
        of_class = [[self.priorities.get(c.group or "", 0) for c in each.lot.classes] for each in self.admitted]
        for stage in sorted({priority for each in of_class for priority in each}, reverse=True):
            for (lot, counts), each in zip(self.admitted, of_class, strict=True):
                now = tuple(count if priority == stage else 0 for count, priority in zip(counts, each, strict=True))
                if any(now):
                    yield _Admitted(lot, now)


class _Admission:
    """One walk over the lots, largest first: what can be served at all, and how many new instances that takes."""

    def __init__(self, fitting: Fitting, groups: Sequence[Group], priorities: Mapping[str, int]) -> None:
        self._fitting = fitting
        self._priorities = priorities
        self._packing = fitting.packing()
        self._limited = {group.id: group for group in groups if group.max_slots is not None}
        self._promised: Counter[str] = Counter()
        self._admitted: list[_Admitted] = []
        self._placed: list[Placed] = []
        self._unmet: list[Unmet] = []

    def admit(self, lot: Lot) -> None:
        """Give places to the tasks of a lot, and note why some get none."""
        never = "" if self._fitting.can_start(lot, self._packing) else self._fitting.never(lot)
        lot = lot._replace(on_new=not never)
        limits = [self._promise(tasks) for tasks in lot.classes]
        places = _place(self._packing, lot, limits)
        counts = tuple(place.tasks.count if place else 0 for place in places)
        self._placed += filter(None, places)
        if any(counts):
            self._admitted.append(_Admitted(lot, counts))
        for tasks, limit, count in zip(lot.classes, limits, counts, strict=True):
            if count < limit:
                self._take_back(tasks, limit - count)
            if count < tasks.count:
                self._leave(tasks, tasks.count - count, never)

    def demand(self) -> Demand:
        """What the walk has found."""
        plan = _Plan(self._fitting, tuple(self._admitted), tuple(self._unmet), self._priorities)
        return _result(plan, self._packing, self._placed, ())

    def _promise(self, tasks: TaskClass) -> int:
        """How many tasks their group has room for; they take that room."""
        group, slots = self._limited.get(tasks.group or ""), tasks.resources.slots * tasks.gang
        if group is None or tasks.group is None or not slots:
            return tasks.count
        left = (group.max_slots or 0) - group.used_slots - self._promised[group.id]
        count = min(tasks.count, max(0, left) // slots)
        self._promised[group.id] += count * slots
        return count

    def _take_back(self, tasks: TaskClass, count: int) -> None:
        if tasks.group in self._limited:
            self._promised[tasks.group] -= count * tasks.resources.slots * tasks.gang

    def _leave(self, tasks: TaskClass, count: int, never: str) -> None:
        reason = never
        if not never:
            assert tasks.group is not None, "only a group limits tasks that launches can help"
            reason = unmet.group_full(tasks, self._limited[tasks.group], self._promised[tasks.group])
        self._unmet.append(Unmet(count, reason, _counted(tasks, count)))


def _serve(plan: _Plan, allowance: int) -> Demand:
    """The same tasks again, with at most `allowance` new instances."""
    packing = plan.fitting.packing(allowance)
    served: list[Placed] = []
    beyond: list[TaskClass] = []
    for lot, counts in plan.in_stages() if plan.priorities else plan.admitted:
        places = _place(packing, lot, counts)
        served += filter(None, places)
        for tasks, count, place in zip(lot.classes, counts, places, strict=True):
            left = count - (place.tasks.count if place else 0)
            if left:
                beyond.append(_counted(tasks, left))
    return _result(plan, packing, served, beyond)


def _place(packing: Packing, lot: Lot, counts: Sequence[int]) -> list[Placed | None]:
    """Place up to so many tasks of each class, gangs whole or not at all; None for a class that gets no place."""
    need, members, kinds, on_new = lot.need, lot.members, lot.kinds, lot.on_new
    total = sum(counts)
    if members > 1:
        total = packing.holds(need, total * members, kinds, on_new=on_new) // members
    placement = packing.place(need, total * members, kinds, on_new=on_new)
    placed, on_existing = placement.placed // members, placement.on_existing // members
    result: list[Placed | None] = []
    begin = 0
    for tasks, count in zip(lot.classes, counts, strict=True):
        end = min(begin + count, placed)
        if end == begin:
            result.append(None)
            continue
        existing = max(0, min(end, on_existing) - begin)
        opened = placement.opened_for(begin * members, end * members)
        result.append(Placed(_counted(tasks, end - begin), existing, opened))
        begin = end
    return result


def _result(plan: _Plan, packing: Packing, placed: Sequence[Placed], beyond: Sequence[TaskClass]) -> Demand:
    return Demand(
        new_instances=packing.opened,
        unschedulable=plan.unschedulable,
        used=plan.fitting.used_ids(packing),
        used_existing=sum(packing.taken),
        placed=tuple(placed),
        beyond=tuple(beyond),
        plan=plan,
    )


def _counted(tasks: TaskClass, count: int) -> TaskClass:
    return tasks if count == tasks.count else replace(tasks, count=count)
