"""First-fit packing of counted needs on counted agents.

Amounts are vectors of whole numbers: slots, cpus, memory, the extras, and room for zero-slot tasks. Each need goes to
the first agent, in a fixed order, that has room for it; given needs in falling order of size, that uses at most 11/9 of
the fewest possible agents and 6/9 more (Dósa 2007, for one dimension). Agents that stand side by side and have equally
much left are one entry with a count, and equal needs are placed in one step. So the cost depends on how many different
needs and remainders there are, never on how many tasks or agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, frexp
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotsmith.model.resources import Resources

Vector = tuple[int, ...]
Kinds = frozenset[int] | None
"""Which kinds of agents a need may go to; None = all."""

_Ints = NDArray[np.int64]

# Amounts are counted in units of about a 10^12th of the largest agent's: fine enough for any real share, and coarse
# enough that floating-point noise in the input (relative 1e-15) does not make a full agent look too small.
_DIGITS: Final = 12
# No agent has this much; what a need asks beyond it does not matter, and it leaves room for sums in 64 bits.
_MORE_THAN_ALL: Final = 1 << 60
# Entries are looked at this many at a time, for the place is often found early.
_BLOCK: Final = 2048
# They are made fewer when there are so many times as many as the last time, and some to spare.
_GROWTH: Final = 2
_SPARE: Final = 32
# The pile of new agents, and of those that were given something: what they have left is all that tells them apart.
_NO_PILE: Final = -1


class Grid:
    """Turns resources into vectors of whole numbers: slots, cpus, memory, extras that are asked for, zero-slot tasks.

    A kind that nobody asks for is left at 0, so that agents which differ in nothing else count as equal. What is asked
    for is rounded down and what there is to the nearest unit: a third of an agent goes into it three times.
    """

    def __init__(self, asked: Sequence[Resources], had: Sequence[Resources]) -> None:
        self.extras: Final = tuple(sorted({name for need in asked for name, _ in need.extras}))
        self.names: Final = ("slots", "cpus", "mem_gib", *self.extras)
        self._slots: Final = any(need.slots for need in asked)
        self._zero: Final = not all(need.slots for need in asked)
        wanted = [any(need.cpus for need in asked), any(need.mem_gib for need in asked), *(True for _ in self.extras)]
        largest = [max(column) for column in zip(*(self._amounts(room) for room in had), strict=True)]
        self._scales: Final = tuple(_scale(top) if asks else 0.0 for asks, top in zip(wanted, largest, strict=True))

    def need(self, resources: Resources) -> Vector:
        """What one task takes."""
        amounts = (
            max(1, floor(min(amount * scale, _MORE_THAN_ALL))) if amount else 0
            for amount, scale in zip(self._amounts(resources), self._scales, strict=True)
        )
        return (min(resources.slots, _MORE_THAN_ALL), *amounts, 0 if resources.slots else 1)

    def room(self, resources: Resources, zero_slot_tasks: int) -> Vector:
        """What one agent has left."""
        amounts = (round(amount * scale) for amount, scale in zip(self._amounts(resources), self._scales, strict=True))
        return (resources.slots if self._slots else 0, *amounts, zero_slot_tasks if self._zero else 0)

    def _amounts(self, resources: Resources) -> list[float]:
        if not self.extras:
            return [resources.cpus, resources.mem_gib]
        return [resources.cpus, resources.mem_gib, *(resources.extra(name) for name in self.extras)]


def _scale(largest: float) -> float:
    """Units per one of a resource whose largest amount is this: a power of ten, the same on every machine."""
    _, exponent = frexp(largest)
    # Written and read back as text, because a power in floating point may differ in its last digit between machines.
    return float(f"1e{_DIGITS - exponent * 30103 // 100000}")


@dataclass(frozen=True)
class Need:
    """What is placed at a time: a part of one agent, or (`whole`) an agent with exactly so many slots to itself."""

    amounts: Vector
    whole: bool = False

    @cached_property
    def asked(self) -> list[tuple[int, int]]:
        """The dimensions in which something is asked, each with its amount. There is at least one."""
        return [(index, amount) for index, amount in enumerate(self.amounts) if amount]

    def times_in(self, room: Vector) -> int:
        """How many times it goes into an agent that has this much and runs nothing."""
        times = min(room[index] // amount for index, amount in self.asked)
        if self.whole:
            return 1 if times and room[0] == self.amounts[0] else 0
        return times

    def after(self, room: Vector, times: int) -> Vector:
        """What is left then."""
        if self.whole:
            return (0,) * len(room)
        return tuple(have - times * amount for have, amount in zip(room, self.amounts, strict=True))


@dataclass(frozen=True, slots=True)
class Pile:
    """Existing agents that are alike. Lower ranks are filled first; some needs may go to some kinds only."""

    room: Vector
    agents: int
    whole: bool
    rank: int
    kind: int


class Placement(NamedTuple):
    """How many of some equal needs found a place: on existing agents, on new ones that were open already, in all."""

    on_existing: int
    on_open: int
    placed: int
    per_new: int

    def opened_for(self, first: int, last: int) -> int:
        """How many agents were opened for the needs from number `first` to before `last`, counted from 0."""
        free = self.on_existing + self.on_open
        return _groups_of(self.per_new, last - free) - _groups_of(self.per_new, first - free)


def _groups_of(size: int, count: int) -> int:
    return -(-count // size) if count > 0 else 0


class Packing:
    """Existing and new agents as they are filled. At most `allowance` new ones are opened (None = any number).

    Agents are filled in this order: existing ones of lower rank, at work before whole, fullest first, as given; then
    new ones as they were opened.
    """

    def __init__(self, new_room: Vector, piles: Sequence[Pile], allowance: int | None = None) -> None:
        self.opened = 0
        self._new_room = new_room
        self._allowance = allowance
        self._sizes = len(new_room)
        self._agents, self._pile, self._kind, self._whole = range(self._sizes, self._sizes + 4)
        # One column for each entry, in the order of filling: what is left in each dimension, then the four above.
        self._table: _Ints = np.zeros((self._sizes + 4, 2 * len(piles) + _SPARE), np.int64)
        self._taken: _Ints = np.zeros(len(piles) + 1, np.int64)
        order = sorted(range(len(piles)), key=lambda index: self._turn(piles[index]))
        for column, index in enumerate(order):
            pile = piles[index]
            self._table[:, column] = (*pile.room, pile.agents, index, pile.kind, pile.whole)
        self._existing = self._size = self._compact_size = len(piles)

    def _turn(self, pile: Pile) -> tuple[int, bool, float]:
        free = sum(amount / full for amount, full in zip(pile.room, self._new_room, strict=True) if full)
        return pile.rank, pile.whole, free

    @property
    def taken(self) -> list[int]:
        """How many agents of each pile were given something."""
        return [int(count) for count in self._taken[:-1]]

    def holds(self, need: Need, at_most: int, kinds: Kinds, *, on_new: bool) -> int:
        """How many such needs, up to `at_most`, would find a place."""
        stop = self._size if on_new else self._existing
        rows, times = self._fitting(need, at_most, kinds, 0, stop)
        room = int((times * self._table[self._agents, rows]).sum())
        if on_new:
            per_new = need.times_in(self._new_room)
            room += at_most if self._allowance is None and per_new else per_new * ((self._allowance or 0) - self.opened)
        return min(at_most, room)

    def place(self, need: Need, count: int, kinds: Kinds, *, on_new: bool) -> Placement:
        """Give places to up to `count` needs."""
        per_new = need.times_in(self._new_room) if on_new else 0
        left = self._fill(need, count, kinds, 0, self._existing)
        on_existing = count - left
        if on_new:
            left = self._fill(need, left, None, self._existing, self._size)
        on_open = count - on_existing - left
        left -= self._open(need, left, per_new)
        if self._size > _GROWTH * (self._compact_size + _SPARE):
            self._compact()
        return Placement(on_existing, on_open, count - left, per_new)

    def _fitting(self, need: Need, count: int, kinds: Kinds, start: int, stop: int) -> tuple[_Ints, _Ints]:
        """The entries from `start` to `stop` with room, and how many of up to `count` needs go into each agent."""
        table = self._table[:, start:stop]
        asked = need.asked
        fits = np.logical_and.reduce([table[index] >= amount for index, amount in asked])
        if need.whole:
            fits &= (table[0] == need.amounts[0]) & (table[self._whole] == 1)
        if kinds is not None:
            fits &= np.isin(table[self._kind], sorted(kinds))
        rows = np.flatnonzero(fits)
        if need.whole:
            return rows + start, np.ones(len(rows), np.int64)
        times = np.minimum.reduce([table[index, rows] // amount for index, amount in asked])
        return rows + start, np.minimum(times, count)

    def _fill(self, need: Need, count: int, kinds: Kinds, start: int, stop: int) -> int:
        """Place up to `count` needs on the entries from `start` to `stop`; returns how many are left."""
        for begin in range(start, stop, _BLOCK):
            if not count:
                break
            rows, times = self._fitting(need, count, kinds, begin, min(begin + _BLOCK, stop))
            if not len(rows):
                continue
            held = np.cumsum(times * self._table[self._agents, rows])
            filled = int(np.searchsorted(held, count, side="right"))
            if filled:
                self._use(need, rows[:filled], times[:filled])
                count -= int(held[filled - 1])
            if count and filled < len(rows):
                self._split(need, int(rows[filled]), int(times[filled]), count)
                count = 0
        return count

    def _use(self, need: Need, rows: _Ints, times: _Ints) -> None:
        """Place needs on every agent of these entries, so many on each."""
        table = self._table
        np.add.at(self._taken, table[self._pile, rows], table[self._agents, rows])
        if need.whole:
            table[: self._sizes, rows] = 0
        else:
            for index, amount in need.asked:
                table[index, rows] -= times * amount
        table[self._pile, rows] = _NO_PILE
        table[self._whole, rows] = 0

    def _split(self, need: Need, row: int, times: int, count: int) -> None:
        """Place `count` needs on the first agents of an entry that has more than enough of them."""
        filled, rest = divmod(count, times)
        agents = int(self._table[self._agents, row])
        sizes = [size for size in (filled, 1 if rest else 0, agents - filled - (1 if rest else 0)) if size]
        self._insert(row, len(sizes) - 1)
        self._table[:, row : row + len(sizes)] = self._table[:, row : row + 1]
        self._table[self._agents, row : row + len(sizes)] = sizes
        used = [size for size in (times if filled else 0, rest) if size]
        self._use(need, np.arange(row, row + len(used)), np.array(used))

    def _open(self, need: Need, count: int, per_new: int) -> int:
        """Open new agents for up to `count` needs; returns how many found a place."""
        if not (per_new and count):
            return 0
        agents = _groups_of(per_new, count)
        if self._allowance is not None:
            agents = min(agents, self._allowance - self.opened)
        placed = min(count, agents * per_new)
        filled, rest = divmod(placed, per_new)
        for times, on in ((per_new, filled), (rest, 1)):
            if times and on:
                self._append(need.after(self._new_room, times), on)
        self.opened += agents
        return placed

    def _append(self, room: Vector, agents: int) -> None:
        end = self._size
        self._insert(end, 1)
        self._table[:, end] = (*room, agents, _NO_PILE, 0, 0)

    def _insert(self, row: int, columns: int) -> None:
        """Move the entries from `row` on to the right; the freed columns still hold what they held."""
        size = self._size + columns
        if size > self._table.shape[1]:
            grown = np.zeros((self._table.shape[0], 2 * size), np.int64)
            grown[:, : self._size] = self._table[:, : self._size]
            self._table = grown
        self._table[:, row + columns : size] = self._table[:, row : self._size]
        self._existing += columns if row < self._existing else 0
        self._size = size

    def _compact(self) -> None:
        """Make one entry of neighbours that are alike, and drop those with nothing left."""
        table, agents = self._table[:, : self._size], self._agents
        begins = np.ones(self._size, np.bool_)
        unlike = table[:, 1:] != table[:, :-1]
        unlike[agents] = False
        begins[1:] = unlike.any(axis=0)
        if self._existing < self._size:
            begins[self._existing] = True
        firsts = np.flatnonzero(begins)
        merged = table[:, firsts]
        merged[agents] = np.add.reduceat(table[agents], firsts)
        useful = merged[: self._sizes].any(axis=0)
        self._existing = int(np.count_nonzero(useful & (firsts < self._existing)))
        self._size = self._compact_size = int(np.count_nonzero(useful))
        self._table[:, : self._size] = merged[:, useful]
