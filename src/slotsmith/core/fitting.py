"""Which tasks fit on which agents: classes and agents as the vectors that `core.packing` works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from slotsmith.core import unmet
from slotsmith.core.packing import Grid, Kinds, Need, Packing, Pile, Portion, Vector, WholeAgent, weights
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Constraints, TaskClass


@dataclass(frozen=True, slots=True)
class FreeCapacity:
    """`count` agents, connected or on their way, that each have `free` left and room for more zero-slot tasks.

    `whole`: nothing runs on them, which is what a spanning task needs. `ids` names them, when the caller wants to learn
    which would be used. `offering`: what they are, None = the same as what is launched. They are used in this order:
    lower `rank` first; agents at work before whole ones; fullest first; as given, and so also among the ids.
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


class Item(NamedTuple):
    """A class of tasks ready to be packed.

    `need` is what is placed at a time, `members` how many of it one task is; `kinds` are the existing agents that it
    may go to, and `on_new` says whether it may also go on new ones.
    """

    order: tuple[object, ...]
    tasks: TaskClass
    amounts: Vector
    need: Need
    members: int
    kinds: Kinds
    on_new: bool


class Fitting:
    """The agents there are and those that can be launched, and what fits on them."""

    def __init__(
        self,
        tasks: Sequence[TaskClass],
        existing: Sequence[FreeCapacity],
        offering: Offering,
        max_instances: int,
        max_zero_slot_tasks: int,
    ) -> None:
        shapes = list({id(kind.resources): kind.resources for kind in tasks}.values())
        self._offering = offering
        self._capacity = offering.capacity
        self._grid = Grid(shapes, [offering.capacity, *(free.free for free in existing)])
        self._new_room = self._grid.room(offering.capacity, max_zero_slot_tasks)
        self._by = weights(self._new_room)
        self._max_instances = max_instances
        self._most_new = max(0, max_instances - sum(free.count for free in existing))
        self._offerings: dict[Offering, int] = {offering: 0}
        self._piles, self._ids = self._gather(existing)

    def _gather(self, existing: Sequence[FreeCapacity]) -> tuple[list[Pile], list[list[str]]]:
        """Existing agents that are alike as one pile, with the ids of those that have one."""
        piles: dict[tuple[object, ...], tuple[Pile, list[str]]] = {}
        for free in existing:
            room = self._grid.room(free.free, free.zero_slot_tasks)
            kind = self._offerings.setdefault(free.offering or self._offering, len(self._offerings))
            key = (free.rank, free.whole, room, kind, bool(free.ids))
            pile, ids = piles.get(key) or (Pile(room, 0, free.whole, free.rank, kind), [])
            ids.extend(free.ids)
            piles[key] = (replace(pile, agents=pile.agents + free.count), ids)
        return [pile for pile, _ in piles.values()], [ids for _, ids in piles.values()]

    def packing(self, allowance: int | None = None) -> Packing:
        """The existing agents as they are, and no new one yet. At most `allowance` may be opened (None = any)."""
        return Packing(self._new_room, self._by, self._piles, allowance)

    def used_ids(self, packing: Packing) -> frozenset[str]:
        """The ids of the existing agents that were given something."""
        return frozenset(name for ids, count in zip(self._ids, packing.taken, strict=True) for name in ids[:count])

    def item(self, tasks: TaskClass) -> Item:
        """A class, ready to be packed."""
        amounts = self._grid.need(tasks.resources)
        agents = self._agents_spanned(tasks)
        need = WholeAgent(amounts, agents, self._by) if agents else Portion(amounts, self._by)
        return Item(
            order=self._order(tasks, amounts),
            tasks=tasks,
            amounts=amounts,
            need=need,
            members=tasks.gang * max(1, agents),
            kinds=self._kinds(tasks.constraints),
            on_new=need.times(self._new_room) > 0 and not unmet.wants_elsewhere(tasks.constraints, self._offering),
        )

    def _agents_spanned(self, tasks: TaskClass) -> int:
        """How many whole agents each member lies on; 0 = on a part of one."""
        slots, each = tasks.resources.slots, self._capacity.slots
        if not (tasks.spans and each and slots > each and slots % each == 0):
            return 0
        return slots // each

    def _order(self, tasks: TaskClass, amounts: Vector) -> tuple[object, ...]:
        # By the largest share of an instance that is asked for. All else is there to make the order a total one.
        shares = [
            amount / room if room else math.inf for amount, room in zip(amounts, self._new_room, strict=True) if amount
        ]
        size = tuple(-amount for amount in amounts)
        where = tasks.constraints
        places = (where.instance_types, where.zones, where.markets, where.labels)
        group = (tasks.group is not None, tasks.group or "")
        rest = (tasks.example, tasks.count, tuple(tasks.resources.items()))
        return (-max(shares), size, -tasks.gang, tasks.spans, group, places, rest)

    def _kinds(self, constraints: Constraints) -> Kinds:
        if constraints is ANYWHERE:
            return None
        offerings = self._offerings.items()
        return frozenset(kind for offering, kind in offerings if not unmet.wants_elsewhere(constraints, offering))

    def can_start(self, item: Item, packing: Packing) -> bool:
        """Whether launches can give all members a place at once: in a pool of their own, or beside what runs now."""
        if not item.on_new or item.members == 1:
            return item.on_new
        per_new = item.need.times(self._new_room)
        if item.members <= self._max_instances * per_new:
            return True
        free_now = packing.holds(item.need, item.kinds, on_new=False) or 0
        return item.members <= free_now + self._most_new * per_new

    def never(self, item: Item) -> str:
        """Why launches cannot help tasks that `can_start` refuses."""
        tasks, agents = item.tasks, self._agents_spanned(item.tasks)
        if item.on_new:
            at_most = self._max_instances * item.need.times(self._new_room)
            return unmet.above_maximum(tasks, agents, at_most, self._max_instances)
        if elsewhere := unmet.wants_elsewhere(tasks.constraints, self._offering):
            return elsewhere
        has = [room * max(1, agents) for room in self._new_room]
        lacks = [amount > room for amount, room in zip(item.amounts, has, strict=True)]
        lacking = [name for name, missing in zip(self._grid.names, lacks[:-1], strict=True) if missing]
        if not lacking:
            return unmet.NO_ZERO_SLOT_TASKS
        if agents:
            return unmet.too_large_to_span(tasks, self._capacity, agents, lacking)
        if tasks.spans and self._capacity.slots and "slots" in lacking:
            return unmet.no_multiple(tasks, self._capacity)
        return unmet.too_large(tasks, self._capacity, lacking)
