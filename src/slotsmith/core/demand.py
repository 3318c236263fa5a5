"""How many new instances the pending tasks call for, and which tasks no number of instances would serve.

The tasks are packed, largest first: on what existing agents have free, and then on as many new instances as are
needed. Tasks come counted by what they ask for (`model.task.classes_of`, `core.columns.classes_from_columns`), so that
a million of them cost no more than their few classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, NamedTuple

from slotsmith.core import unmet
from slotsmith.core.fitting import Fitting, FreeCapacity, Item
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
) -> Demand:
    """What the tasks call for beyond `existing`, when instances of `offering` are launched.

    Neither the order of the tasks nor how they are divided into classes changes the numbers. A group's maximum limits
    the slots of its running and pending tasks together; a group that is not in `groups` has none. An agent takes
    `max_zero_slot_tasks` tasks without slots (0 = none; they then call for no instances). `max_instances` serves to
    tell gangs that could never start from those that wait.
    """
    if not tasks:
        return NO_DEMAND
    fitting = Fitting(tasks, existing, offering, max_instances, max_zero_slot_tasks)
    admission = _Admission(fitting, groups)
    for item in sorted(map(fitting.item, tasks), key=attrgetter("order")):
        admission.admit(item)
    return admission.demand()


def unmet_beyond(wanted: Demand, new_instances: int, reason: str) -> tuple[Unmet, ...]:
    """The tasks that stay unmet when at most this many new instances may be launched, each class with `reason`."""
    return tuple(Unmet(tasks.count, reason, tasks) for tasks in wanted.within(new_instances).beyond)


class _Plan(NamedTuple):
    """What has to be packed again when the number of new instances is limited."""

    fitting: Fitting
    admitted: tuple[tuple[Item, int], ...]
    unschedulable: tuple[Unmet, ...]


class _Admission:
    """One walk over the classes, largest first: what can be served at all, and how many new instances that takes."""

    def __init__(self, fitting: Fitting, groups: Sequence[Group]) -> None:
        self._fitting = fitting
        self._packing = fitting.packing()
        self._limited = {group.id: group for group in groups if group.max_slots is not None}
        self._promised: Counter[str] = Counter()
        self._admitted: list[tuple[Item, int]] = []
        self._placed: list[Placed] = []
        self._unmet: list[Unmet] = []

    def admit(self, item: Item) -> None:
        """Give places to the tasks of a class, and note why some get none."""
        tasks, slots = item.tasks, item.tasks.resources.slots * item.tasks.gang
        can_start = self._fitting.can_start(item, self._packing)
        group = self._limited.get(tasks.group) if tasks.group is not None and slots else None
        limit = tasks.count if group is None else min(tasks.count, self._room(group) // slots)
        placeable = item if can_start == item.on_new else item._replace(on_new=False)
        placed = _place(self._packing, placeable, limit)
        served = 0
        if placed:
            served = placed.tasks.count
            self._placed.append(placed)
            self._admitted.append((placeable, served))
        if group:
            self._promised[group.id] += served * slots
        if served < tasks.count:
            if can_start and group:
                reason = unmet.group_full(tasks, group, self._promised[group.id])
            else:
                reason = self._fitting.never(item)
            self._unmet.append(Unmet(tasks.count - served, reason, _counted(tasks, tasks.count - served)))

    def demand(self) -> Demand:
        """What the walk has found."""
        unschedulable = tuple(self._unmet)
        plan = _Plan(self._fitting, tuple(self._admitted), unschedulable)
        return _result(plan, self._packing, self._placed, ())

    def _room(self, group: Group) -> int:
        return max(0, (group.max_slots or 0) - group.used_slots - self._promised[group.id])


def _serve(plan: _Plan, allowance: int) -> Demand:
    """The same tasks again, with at most `allowance` new instances."""
    packing = plan.fitting.packing(allowance)
    served: list[Placed] = []
    beyond: list[TaskClass] = []
    for item, count in plan.admitted:
        placed = _place(packing, item, count)
        if placed:
            served.append(placed)
            count -= placed.tasks.count
        if count:
            beyond.append(_counted(item.tasks, count))
    return _result(plan, packing, served, beyond)


def _place(packing: Packing, item: Item, count: int) -> Placed | None:
    """Place up to `count` tasks of a class, gangs whole or not at all; None when none finds a place."""
    if item.members > 1:
        holds = packing.holds(item.need, item.kinds, on_new=item.on_new)
        count = count if holds is None else min(count, holds // item.members)
    placement = packing.place(item.need, count * item.members, item.kinds, on_new=item.on_new)
    placed = (placement.on_existing + placement.on_new) // item.members
    if not placed:
        return None
    return Placed(_counted(item.tasks, placed), placement.on_existing // item.members, placement.opened)


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
