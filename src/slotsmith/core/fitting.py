"""Which tasks fit on which agents: classes and agents as the vectors that `core.packing` works on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from slotsmith.core import unmet
from slotsmith.core.packing import Grid, Kinds, Need, Packing, Pile, Vector
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Constraints, TaskClass


@dataclass(frozen=True, slots=True)
class FreeCapacity:
    """`count` agents, connected or on their way, that each have `free` left and room for more zero-slot tasks.

    `whole`: nothing runs on them, which is what a spanning task needs. `ids` names them, when the caller wants to learn
    which would be used. `offering`: what they are, None = the same as what is launched. They are used in this order:
    lower `rank` first; agents at work before whole ones; fullest first; as given, and so among the ids.
    """

    free: Resources
    count: int
    zero_slot_tasks: int
    whole: bool
    ids: tuple[str, ...] = ()
    rank: int = 0
    offering: Offering | None = None

    def __post_init__(self) -> None:
        if self.count < 0 or self.zero_slot_tasks < 0:
            raise ValueError(
                f"free capacity has count {self.count} and room for {self.zero_slot_tasks} zero-slot tasks, "
                "expected at least 0"
            )
        if self.ids and len(self.ids) != self.count:
            raise ValueError(f"free capacity has count {self.count} and {len(self.ids)} ids")


class Lot(NamedTuple):
    """Classes that differ in nothing but group, count and example, ready to be packed.

    `need` is what is placed at a time, `members` how many of it one task is; `kinds` are the existing agents that it
    may go to, and `on_new` says whether it may also go on new ones.
    """

    classes: tuple[TaskClass, ...]
    need: Need
    members: int
    kinds: Kinds
    on_new: bool


def _by_group(tasks: TaskClass) -> tuple[bool, str, str, int]:
    return tasks.group is not None, tasks.group or "", tasks.example, tasks.count


def lots_of(tasks: Iterable[TaskClass]) -> list[list[TaskClass]]:
    """The classes together that differ in nothing but group, count and example; in no particular order."""
    # Keyed by plain values, as in `model.task.classes_of`.
    lots: dict[tuple[object, ...], list[TaskClass]] = {}
    for kind in tasks:
        asked, where = kind.resources, kind.constraints
        place = None if where is ANYWHERE or where == ANYWHERE else where
        key = (asked.slots, asked.cpus, asked.mem_gib, asked.extras, kind.gang, kind.spans, place)
        lots.setdefault(key, []).append(kind)
    return list(lots.values())


class Fitting:
    """The agents there are and those that can be launched, and what fits on them."""

    def __init__(
        self,
        asked: Sequence[Resources],
        existing: Sequence[FreeCapacity],
        offering: Offering,
        max_instances: int,
        max_zero_slot_tasks: int,
    ) -> None:
        self._offering = offering
        self._capacity = offering.capacity
        self._max_instances = max_instances
        self._most_new = max(0, max_instances - sum(free.count for free in existing))
        self._grid = Grid(asked, [offering.capacity, *(free.free for free in existing)])
        self._new_room = self._grid.room(offering.capacity, max_zero_slot_tasks)
        self._offerings: dict[Offering, int] = {offering: 0}
        self._piles, self._ids = self._gather(existing)

    def _gather(self, existing: Sequence[FreeCapacity]) -> tuple[list[Pile], list[list[str]]]:
        """Existing agents that are alike as one pile, with the ids of those that have one."""
        piles: dict[tuple[Vector, bool, int, int, bool], list[FreeCapacity]] = {}
        for free in existing:
            room = self._grid.room(free.free, free.zero_slot_tasks)
            kind = self._offerings.setdefault(free.offering or self._offering, len(self._offerings))
            piles.setdefault((room, free.whole, free.rank, kind, bool(free.ids)), []).append(free)
        return (
            [
                Pile(room, sum(free.count for free in alike), whole, rank, kind)
                for (room, whole, rank, kind, _), alike in piles.items()
            ],
            [[name for free in alike for name in free.ids] for alike in piles.values()],
        )

    def packing(self, allowance: int | None = None) -> Packing:
        """The existing agents as they are, and no new one yet. At most `allowance` may be opened (None = any)."""
        return Packing(self._new_room, self._piles, allowance)

    def used_ids(self, packing: Packing) -> frozenset[str]:
        """The ids of the existing agents that were given something."""
        return frozenset(name for ids, count in zip(self._ids, packing.taken, strict=True) for name in ids[:count])

    def in_order(self, lots: Iterable[Sequence[TaskClass]]) -> list[Lot]:
        """The lots ready to be packed, largest first: by the largest share of an instance that one task asks for."""
        prepared = []
        for lot in lots:
            amounts = self._grid.need(lot[0].resources)
            prepared.append((self._order(lot[0], amounts), self._lot(lot, amounts)))
        return [lot for _, lot in sorted(prepared, key=itemgetter(0))]

    def _order(self, tasks: TaskClass, amounts: Vector) -> tuple[object, ...]:
        shares = [
            amount / room if room else math.inf for amount, room in zip(amounts, self._new_room, strict=True) if amount
        ]
        where = tasks.constraints
        places = (where.instance_types, where.zones, where.markets, where.labels)
        # The rest makes the order a total one.
        size = tuple(-amount for amount in amounts)
        return (-max(shares), size, -tasks.gang, tasks.spans, places, tuple(tasks.resources.items()))

    def _lot(self, classes: Sequence[TaskClass], amounts: Vector) -> Lot:
        tasks = classes[0]
        agents = self._agents_spanned(tasks)
        need = Need(tuple(-(-amount // agents) for amount in amounts), whole=True) if agents else Need(amounts)
        return Lot(
            classes=tuple(sorted(classes, key=_by_group)),
            need=need,
            members=tasks.gang * max(1, agents),
            kinds=self._kinds(tasks.constraints),
            on_new=need.times_in(self._new_room) > 0 and not unmet.wants_elsewhere(tasks.constraints, self._offering),
        )

    def _agents_spanned(self, tasks: TaskClass) -> int:
        """How many whole agents each member lies on; 0 = on a part of one."""
        slots, each = tasks.resources.slots, self._capacity.slots
        if not (tasks.spans and each and slots > each and slots % each == 0):
            return 0
        return slots // each

    def _kinds(self, constraints: Constraints) -> Kinds:
        if constraints is ANYWHERE:
            return None
        offerings = self._offerings.items()
        return frozenset(kind for offering, kind in offerings if not unmet.wants_elsewhere(constraints, offering))

    def can_start(self, lot: Lot, packing: Packing) -> bool:
        """Whether launches can give all members a place at once: in a pool of their own, or beside what runs now."""
        if not lot.on_new or lot.members == 1:
            return lot.on_new
        per_new = lot.need.times_in(self._new_room)
        if lot.members <= self._max_instances * per_new:
            return True
        free_now = packing.holds(lot.need, lot.members, lot.kinds, on_new=False)
        return lot.members <= free_now + self._most_new * per_new

    def never(self, lot: Lot) -> str:
        """Why launches cannot help tasks that `can_start` refuses."""
        tasks = lot.classes[0]
        agents = self._agents_spanned(tasks)
        if lot.on_new:
            at_most = self._max_instances * lot.need.times_in(self._new_room)
            return unmet.above_maximum(tasks, agents, at_most, self._max_instances)
        if elsewhere := unmet.wants_elsewhere(tasks.constraints, self._offering):
            return elsewhere
        lacks = [amount > room for amount, room in zip(lot.need.amounts, self._new_room, strict=True)]
        lacking = [name for name, missing in zip(self._grid.names, lacks[:-1], strict=True) if missing]
        if not lacking:
            return unmet.NO_ZERO_SLOT_TASKS
        if agents:
            return unmet.too_large_to_span(tasks, self._capacity, agents, lacking)
        if tasks.spans and self._capacity.slots and "slots" in lacking:
            return unmet.no_multiple(tasks, self._capacity)
        return unmet.too_large(tasks, self._capacity, lacking)
