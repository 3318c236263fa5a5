"""The problem as arrays: what is to be placed, and where it may lie.

Tasks that ask for the same and may go to the same places are one item, whatever else differs. Offerings that count the
same are one kind at the lowest price, and a kind that another beats in everything is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.fitting import lots_of
from slotsmith.core.planning.arrays import Bools, Floats, Ints
from slotsmith.core.planning.grid import Grid, fit
from slotsmith.core.planning.places import accepts, all_constraints, places_of
from slotsmith.core.planning.problem import Choice, Problem
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, TaskClass

ENDLESS: Final = 1 << 60
"""How often a kind may be launched that has no limit."""

_BLOCK: Final = 512


class Lot(NamedTuple):
    """Classes of tasks that differ in nothing but group, count and example.

    A task is `units` of item number `item`, or of the whole instances of `whole` (index into `Model.wholes`).
    """

    classes: tuple[TaskClass, ...]
    units: int
    item: int
    whole: int = -1

    @property
    def total(self) -> int:
        """How many tasks."""
        classes = self.classes
        return classes[0].count if len(classes) == 1 else sum(tasks.count for tasks in classes)


@dataclass(frozen=True, slots=True)
class Whole:
    """Instances that tasks which span take whole: of one kind (-1 = only existing ones serve), with so many slots.

    A unit is one instance, which must have `amounts` (D,); `price` is that of a unit, the least one there is. `accepts`
    (E,) says which existing agents the tasks may run on at all.
    """

    amounts: Floats
    slots: int
    kind: int
    price: float
    accepts: Bools


@dataclass(frozen=True, slots=True)
class Pile:
    """Existing agents that are alike; `parts` are their entries in `Problem.existing`, with how many of each."""

    parts: tuple[tuple[int, int], ...]
    whole: bool
    slots: int
    offering: Offering | None


@dataclass(frozen=True, slots=True)
class Model:
    """Items (n), kinds (K) and piles (E) in D dimensions.

    `sizes` (n, D), `counts` (n,), `fits` (n, K) whether an instance of the kind may hold one of the item;
    `rooms` (K, D), `prices` (K,) in dollars per hour, `most` (K,), `slots` (K,) of an instance; `free` (E, D),
    `agents` (E,), `accepts` (n, E) whether an agent of the pile may hold one. Items are in falling order of size.
    `lots` are all tasks that could be placed, in the order in which they are served; nothing could hold `misfits`.
    `anywhere`: size alone says what fits where. `lot_items` and `lot_units` are the items and units of the lots.
    """

    problem: Problem
    lots: tuple[Lot, ...]
    misfits: tuple[TaskClass, ...]
    wholes: tuple[Whole, ...]
    sizes: Floats
    counts: Ints
    fits: Bools
    offerings: tuple[Offering, ...]
    rooms: Floats
    prices: Floats
    most: Ints
    slots: Ints
    piles: tuple[Pile, ...]
    free: Floats
    agents: Ints
    accepts: Bools
    anywhere: bool
    lot_items: Ints
    lot_units: Ints

    @property
    def items(self) -> int:
        return len(self.counts)

    @property
    def kinds(self) -> int:
        return len(self.prices)


def model_of(problem: Problem) -> Model:
    """The arrays of a problem; neither the order of its parts nor the unit of memory changes them."""
    return _Builder(problem).model()


class _Kinds(NamedTuple):
    """Choices with their rooms (K, D) and which of the constraints (K, C) they satisfy."""

    choices: list[Choice]
    rooms: Floats
    accepted: Bools
    prices: Floats

    def only(self, rows: Sequence[int]) -> _Kinds:
        index = np.array(rows, np.int64)
        return _Kinds([self.choices[row] for row in rows], self.rooms[index], self.accepted[index], self.prices[index])


class _Piles(NamedTuple):
    piles: list[Pile]
    free: Floats
    accepted: Bools


class _Shape(NamedTuple):
    """A lot before it is numbered: its turn, which is its row in what is asked for, and that of its constraints."""

    classes: tuple[TaskClass, ...]
    row: int
    where: int


class _Builder:
    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        lots = lots_of(problem.tasks)
        self._constraints = all_constraints(lots)
        choices = sorted(problem.open_choices, key=lambda choice: (choice.price, choice.offering.name))
        capacities = {_plain(choice.offering.capacity): choice.offering.capacity for choice in choices}
        asked = [lot[0].resources for lot in lots]
        self._grid = Grid(asked, [*capacities.values(), *(free.free for free in problem.existing)])
        self._all_kinds = self._kinds(choices, capacities)
        largest = self._all_kinds.rooms.max(axis=0, initial=0.0)
        self._turns = np.where(largest > 0, largest, np.inf)
        self._pile_rows = self._piles()
        self._shapes, self._needs = self._sorted(lots, self._grid.needs(asked), largest)

    def _kinds(self, choices: Sequence[Choice], capacities: dict[tuple[object, ...], Resources]) -> _Kinds:
        """The choices, cheapest first, without those that an equal one which has no limit makes needless."""
        zero = [self._problem.max_zero_slot_tasks] * len(capacities)
        rooms = self._grid.rooms(list(capacities.values()), zero)
        numbers = {key: number for number, key in enumerate(capacities)}
        seen: set[tuple[object, ...]] = set()
        kept, places, accepted = [], [], []
        for choice in choices:
            key = _plain(choice.offering.capacity)
            taken = tuple(accepts(where, choice.offering) for where in self._constraints)
            if (key, taken) not in seen:
                kept.append(choice)
                places.append(numbers[key])
                accepted.append(taken)
                if choice.at_most is None:
                    seen.add((key, taken))
        return _Kinds(
            kept,
            rooms[np.array(places, np.int64)],
            np.array(accepted, bool).reshape(len(kept), len(self._constraints)),
            np.array([choice.price for choice in kept]),
        )

    def _sorted(
        self, lots: Sequence[Sequence[TaskClass]], needs: Floats, largest: Floats
    ) -> tuple[list[_Shape], Floats]:
        """The lots and what one member of each asks for (lots, D), largest first by the largest share of an instance:
        the order of `core.fitting`."""
        shares = np.divide(needs, largest, out=np.where(needs > 0, np.inf, 0.0), where=largest > 0)
        numbers = {where: number for number, where in enumerate(self._constraints)}
        by_size = np.lexsort((*(-needs).T[::-1], -shares.max(axis=1, initial=0.0)))
        # Those that are alike in size are in a run of the same number, in which the rest makes the order a total one.
        starts = np.ones(len(lots), bool)
        starts[1:] = (needs[by_size[1:]] != needs[by_size[:-1]]).any(axis=1)
        runs = np.cumsum(starts)

        def turn(place: int) -> tuple[object, ...]:
            tasks = lots[by_size[place]][0]
            where = tasks.constraints
            places = () if where is ANYWHERE else places_of(where)
            return (int(runs[place]), -tasks.gang, tasks.spans, places, _plain(tasks.resources))

        order: list[int] = by_size.tolist()
        if not starts.all():
            order = [order[place] for place in sorted(range(len(lots)), key=turn)]
        shapes = [
            _Shape(
                tuple(sorted(lots[index], key=_by_group)) if len(lots[index]) > 1 else tuple(lots[index]),
                row,
                0 if lots[index][0].constraints is ANYWHERE else numbers.get(lots[index][0].constraints, 0),
            )
            for row, index in enumerate(order)
        ]
        return shapes, needs[np.array(order, np.int64)]

    def model(self) -> Model:
        holds = self._anything_holds()
        piles = self._pile_rows
        useful = _undominated(self._all_kinds, by_slots=self._problem.limits.max_slots is not None)
        lots: list[Lot] = []
        wholes: list[Whole] = []
        misfits: list[TaskClass] = []
        items: dict[tuple[object, ...], tuple[int, _Shape]] = {}
        for shape, held, amounts in zip(self._shapes, holds.tolist(), self._needs.tolist(), strict=True):
            tasks = shape.classes[0]
            if (whole := self._whole(shape)) is not None:
                lots.append(Lot(shape.classes, tasks.gang * (tasks.resources.slots // whole.slots), -1, len(wholes)))
                wholes.append(whole)
            elif held:
                item, _ = items.setdefault((shape.where, *amounts), (len(items), shape))
                lots.append(Lot(shape.classes, tasks.gang, item))
            else:
                misfits += shape.classes
        used = sorted({*useful, *(whole.kind for whole in wholes if whole.kind >= 0)})
        kinds = self._all_kinds.only(used)
        sizes = self._needs[np.array([shape.row for _, shape in items.values()], np.int64)]
        where = np.array([shape.where for _, shape in items.values()], np.int64)
        asked = self._asked(sizes, wholes)
        lot_items = np.array([lot.item for lot in lots], np.int64)
        lot_units = np.array([lot.units for lot in lots], np.int64)
        sizes, rooms, free = sizes[:, asked], kinds.rooms[:, asked], piles.free[:, asked]
        return Model(
            problem=self._problem,
            lots=tuple(lots),
            misfits=tuple(misfits),
            wholes=tuple(_renumbered(whole, used, asked) for whole in wholes),
            sizes=sizes,
            counts=counted_by(lot_items, lot_units * np.array([lot.total for lot in lots], np.int64), len(items)),
            fits=fit(sizes, rooms) & kinds.accepted[:, where].T,
            offerings=tuple(choice.offering for choice in kinds.choices),
            rooms=rooms,
            prices=kinds.prices,
            most=np.array([_most(choice) for choice in kinds.choices], np.int64),
            slots=np.array([choice.offering.capacity.slots for choice in kinds.choices], np.int64),
            piles=tuple(piles.piles),
            free=free,
            agents=np.array([sum(count for _, count in pile.parts) for pile in piles.piles], np.int64),
            accepts=fit(sizes, free) & piles.accepted[:, where].T,
            anywhere=self._constraints == [ANYWHERE],
            lot_items=lot_items,
            lot_units=lot_units,
        )

    def _asked(self, sizes: Floats, wholes: Sequence[Whole]) -> Bools:
        """The dimensions that matter."""
        asked = np.asarray(np.vstack([sizes, *(whole.amounts for whole in wholes)]).any(axis=0))
        if self._problem.max_zero_slot_tasks is None and len(sizes) and sizes[:, :-1].any(axis=1).all():
            # The number of tasks without slots limits nothing then.
            asked[-1] = False
        return asked

    def _anything_holds(self) -> Bools:
        """Whether some instance, existing or new, could hold one member of each shape."""
        rooms = np.vstack([self._all_kinds.rooms, self._pile_rows.free])
        accepted = np.vstack([self._all_kinds.accepted, self._pile_rows.accepted])
        holds = np.zeros(len(self._shapes), bool)
        for start in range(0, len(self._shapes), _BLOCK):
            part = self._shapes[start : start + _BLOCK]
            where = np.array([shape.where for shape in part], np.int64)
            fits = fit(self._needs[start : start + _BLOCK], rooms) & accepted[:, where].T
            holds[start : start + _BLOCK] = fits.any(axis=1)
        return holds

    def _whole(self, shape: _Shape) -> Whole | None:
        """The cheapest instances that tasks which span take whole; None = they lie on a part of one instance each."""
        tasks, amounts = shape.classes[0], self._needs[shape.row]
        asked = tasks.resources.slots
        if not tasks.spans or not asked:
            return None
        kinds, piles = self._all_kinds, self._pile_rows
        best: tuple[float, int, int] | None = None
        for index, choice in enumerate(kinds.choices):
            each = choice.offering.capacity.slots
            if kinds.accepted[index, shape.where] and _divides(amounts, asked, each, kinds.rooms[index]):
                cost = asked // each * choice.price
                best = min(best, (cost, index, each)) if best else (cost, index, each)
        if best is None:
            for index, pile in enumerate(piles.piles):
                taken = pile.whole and piles.accepted[index, shape.where]
                if taken and _divides(amounts, asked, pile.slots, piles.free[index]):
                    best = (0.0, -1, pile.slots)
        if best is None or best[0] > self._least_price_of_a_part(shape):
            return None
        _, index, each = best
        price = kinds.choices[index].price if index >= 0 else 0.0
        return Whole(np.ceil(amounts / (asked // each)), each, index, price, piles.accepted[:, shape.where])

    def _least_price_of_a_part(self, shape: _Shape) -> float:
        """What lies on a part of one instance costs by its dominant share; infinite = nowhere."""
        kinds, amounts = self._all_kinds, self._needs[shape.row]
        rows = np.flatnonzero((kinds.rooms >= amounts).all(axis=1) & kinds.accepted[:, shape.where])
        if not len(rows):
            return np.inf
        rooms = kinds.rooms[rows]
        shares = np.divide(amounts, rooms, out=np.zeros_like(rooms), where=rooms > 0).max(axis=1)
        return float((shares * kinds.prices[rows]).min())

    def _piles(self) -> _Piles:
        """Existing agents that are alike as one, in the order in which they are filled."""
        problem = self._problem
        only = problem.choices[0].offering if len(problem.choices) == 1 else None
        zero = [None if problem.max_zero_slot_tasks is None else free.zero_slot_tasks for free in problem.existing]
        rooms = self._grid.rooms([free.free for free in problem.existing], zero)
        shares = (rooms / self._turns).sum(axis=1).tolist()
        piles = []
        for entries in sorted(_alike(problem, rooms, only), key=lambda entries: _turn(problem, entries, shares)):
            first = problem.existing[entries[0]]
            parts = tuple((index, problem.existing[index].count) for index in entries)
            piles.append(Pile(parts, first.whole, first.free.slots, first.offering or only))
        accepted = [[accepts(where, pile.offering) for where in self._constraints] for pile in piles]
        return _Piles(
            piles,
            rooms[np.array([pile.parts[0][0] for pile in piles], np.int64)],
            np.array(accepted, bool).reshape(len(piles), len(self._constraints)),
        )


def _alike(problem: Problem, rooms: Floats, only: Offering | None) -> list[list[int]]:
    """The entries of `Problem.existing` that have agents, those together that are alike."""
    numbers: dict[Offering | None, int] = {}
    # Thousands of agents name the same few offerings, and each of those is looked at once.
    offerings = {id(free.offering): free.offering or only for free in problem.existing}
    number = {key: numbers.setdefault(offering, len(numbers)) for key, offering in offerings.items()}
    rest = [(free.whole, free.rank, free.free.slots, number[id(free.offering)]) for free in problem.existing]
    keys = np.hstack([rooms, np.array(rest, float).reshape(len(rest), 4)])
    order = np.lexsort(keys.T)
    order = order[np.array([free.count > 0 for free in problem.existing], bool)[order]]
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    ends = [*(np.flatnonzero(~same) + 1).tolist(), len(order)]
    entries = order.tolist()
    return [entries[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]


def _turn(problem: Problem, entries: list[int], shares: Sequence[float]) -> tuple[object, ...]:
    """Lower ranks first, then agents at work before whole ones, then the fullest; the rest makes the order total."""
    if len(entries) > 1:
        entries.sort(key=lambda index: (problem.existing[index].ids, index))
    first = problem.existing[entries[0]]
    free, offering = first.free, first.offering
    names = (offering.instance_type, offering.zone, offering.market) if offering else ()
    amounts = (free.slots, free.cpus, free.mem_gib, free.extras)
    return first.rank, first.whole, shares[entries[0]], amounts, names, first.ids, first.zero_slot_tasks


def _undominated(kinds: _Kinds, *, by_slots: bool) -> list[int]:
    """The kinds that no other beats or equals in price and everything else. `by_slots`: fewer slots are also better."""
    slots = np.array([choice.offering.capacity.slots for choice in kinds.choices])
    endless = np.array([choice.at_most is None for choice in kinds.choices], bool)
    kept: list[int] = []
    for index in range(len(kinds.choices)):
        others = np.flatnonzero(endless & (kinds.prices <= kinds.prices[index]))
        others = others[others != index]
        better = (kinds.rooms[others] >= kinds.rooms[index]).all(axis=1)
        better &= (kinds.accepted[others] >= kinds.accepted[index]).all(axis=1)
        if by_slots:
            better &= slots[others] <= slots[index]
        beaten = others[better]
        # Of those that are equal in everything the first one stays.
        alike = (kinds.prices[beaten] == kinds.prices[index]) & (kinds.rooms[beaten] == kinds.rooms[index]).all(axis=1)
        alike &= (kinds.accepted[beaten] == kinds.accepted[index]).all(axis=1)
        if (alike & (beaten > index) & endless[index]).all() and (
            not by_slots or (slots[beaten] == slots[index]).all()
        ):
            kept.append(index)
    return kept


def _renumbered(whole: Whole, used: Sequence[int], asked: Bools) -> Whole:
    kind = used.index(whole.kind) if whole.kind >= 0 else -1
    return replace(whole, kind=kind, amounts=whole.amounts[asked])


def counted_by(items: Ints, units: Ints, count: int) -> Ints:
    """So many units of each item; -1 is none of them."""
    total = np.zeros(count, np.int64)
    np.add.at(total, items[items >= 0], units[items >= 0])
    return total


def _divides(amounts: Floats, asked: int, each: int, room: Floats) -> bool:
    """Whether instances with `each` slots, which must divide what is asked, have an equal share of the rest."""
    if not (each and asked > each and asked % each == 0):
        return False
    return bool((np.ceil(amounts / (asked // each)) <= room).all())


def _most(choice: Choice) -> int:
    return ENDLESS if choice.at_most is None else choice.at_most


def _plain(resources: Resources) -> tuple[object, ...]:
    return resources.slots, resources.cpus, resources.mem_gib, resources.extras


def _by_group(tasks: TaskClass) -> tuple[bool, str, str, int]:
    return tasks.group is not None, tasks.group or "", tasks.example, tasks.count
