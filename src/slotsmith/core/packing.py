"""Best-fit packing of counted needs on counted agents.

Amounts are vectors of whole numbers: slots, cpus, memory, the extras, and room for zero-slot tasks. Agents with equally
much left are interchangeable, so they are kept as one entry with a count, and a class of equal needs is placed in one
step for each different amount left. The cost depends on how many different needs and remainders there are, never on
how many tasks or agents.

A need goes to the agent that it leaves fullest ("best fit"); given needs in falling order of size, that uses at most
11/9 of the fewest possible agents and a constant (Johnson 1974). Best fit and not first fit, because it gives the same
result whether equal agents are told apart or not.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, frexp
from operator import itemgetter
from typing import Final, NamedTuple

from slotsmith.model.resources import Resources

Vector = tuple[int, ...]
Kinds = frozenset[int] | None
"""Which kinds of agents a need may go to; None = all."""

# Amounts are counted in units of about a 10^12th of the largest agent's: fine enough for any real share, coarse enough
# that floating-point noise in the input (relative 1e-15) does not make two equal remainders look different.
_DIGITS: Final = 12
_NOISE: Final = 1e-3
# What a full vector of an empty new agent weighs in each dimension; large against any amount on the grid.
_FULL_WEIGHT: Final = 10**15
# Agents that have been given something, and new ones, are told apart by what they have left alone.
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
            max(1, floor(amount * scale + _NOISE)) if amount else 0
            for amount, scale in zip(self._amounts(resources), self._scales, strict=True)
        )
        return (resources.slots, *amounts, 0 if resources.slots else 1)

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


def weights(room: Vector) -> Vector:
    """How much a unit of each dimension counts when agents are compared; zero-slot tasks do not count."""
    return (*(_FULL_WEIGHT // amount if amount else 0 for amount in room[:-1]), 0)


def weight(vector: Vector, by: Vector) -> int:
    """A vector as one number. Whatever fits in an agent weighs no more than what the agent has left."""
    return sum(amount * factor for amount, factor in zip(vector, by, strict=True))


class Portion:
    """A need that takes a part of one agent."""

    __slots__ = ("_amounts", "_parts", "weight")
    takes_whole: Final = False

    def __init__(self, amounts: Vector, by: Vector) -> None:
        self._amounts = amounts
        self._parts = tuple((index, amount) for index, amount in enumerate(amounts) if amount)
        self.weight = weight(amounts, by)

    def times(self, room: Vector) -> int:
        """How many times it goes into what an agent has left."""
        least = -1
        for index, amount in self._parts:
            times = room[index] // amount
            if times <= 0:
                return 0
            if times < least or least < 0:
                least = times
        return least

    def after(self, room: Vector, times: int) -> Vector:
        """What is left then."""
        return tuple(have - times * amount for have, amount in zip(room, self._amounts, strict=True))


class WholeAgent:
    """A need that takes an agent to itself: one of the `agents` equal agents that a spanning task lies on."""

    __slots__ = ("_amounts", "_slots", "agents", "weight")
    takes_whole: Final = True

    def __init__(self, amounts: Vector, agents: int, by: Vector) -> None:
        self.agents = agents
        self._amounts = amounts
        self._slots = amounts[0] // agents
        self.weight = self._slots * by[0]

    def times(self, room: Vector) -> int:
        """1 for an agent with exactly its share of the slots, and enough of everything else."""
        if room[0] != self._slots:
            return 0
        enough = all(amount <= have * self.agents for amount, have in zip(self._amounts, room, strict=True))
        return 1 if enough else 0

    def after(self, room: Vector, times: int) -> Vector:  # noqa: ARG002 - what it leaves does not depend on it
        """Nothing is left for others."""
        return (0,) * len(room)


Need = Portion | WholeAgent


class _Entry(NamedTuple):
    """Agents that are alike; the order of entries is fullest first, then by pile, so by the order that was given."""

    weight: int
    room: Vector
    pile: int
    kind: int


class _Touched(NamedTuple):
    room: Vector
    kind: int
    pile: int
    agents: int


class _Shelf:
    """Counted agents in order of fullness."""

    def __init__(self, by: Vector) -> None:
        self._by = by
        self._entries: list[_Entry] = []
        self._counts: dict[_Entry, int] = {}

    def add(self, room: Vector, kind: int, pile: int, agents: int) -> None:
        """Put agents with this much left on the shelf."""
        entry = _Entry(weight(room, self._by), room, pile, kind)
        if entry in self._counts:
            self._counts[entry] += agents
        elif agents:
            self._counts[entry] = agents
            insort(self._entries, entry)

    def holds(self, need: Need, kinds: Kinds) -> int:
        """How many such needs would find a place."""
        start = self._first(need)
        return sum(
            need.times(entry.room) * self._counts[entry]
            for entry in self._entries[start:]
            if kinds is None or entry.kind in kinds
        )

    def fill(self, need: Need, count: int, kinds: Kinds) -> tuple[int, list[_Touched]]:
        """Give places to up to `count` needs; returns how many got none, and the agents taken off the shelf for it."""
        touched: list[_Touched] = []
        index = self._first(need)
        while count and index < len(self._entries):
            entry = self._entries[index]
            times = need.times(entry.room) if kinds is None or entry.kind in kinds else 0
            if not times:
                index += 1
                continue
            agents = self._counts[entry]
            filled = min(agents, count // times)
            rest = count - filled * times if filled < agents else 0
            for placed, on in ((times, filled), (rest, 1)):
                if placed and on:
                    touched.append(_Touched(need.after(entry.room, placed), entry.kind, entry.pile, on))
                    count -= placed * on
            self._take(index, agents - filled - (1 if rest else 0))
        return count, touched

    def _first(self, need: Need) -> int:
        # Entries that weigh less than the need cannot hold it.
        return bisect_left(self._entries, need.weight, key=itemgetter(0))

    def _take(self, index: int, left: int) -> None:
        if left:
            self._counts[self._entries[index]] = left
        else:
            del self._counts[self._entries.pop(index)]


@dataclass(frozen=True, slots=True)
class Pile:
    """Existing agents that are alike. Lower ranks are filled first; some needs may go to some kinds only."""

    room: Vector
    agents: int
    whole: bool
    rank: int
    kind: int


class Placement(NamedTuple):
    """How many equal needs found a place on existing and on new agents, and how many agents were opened for them."""

    on_existing: int
    on_new: int
    opened: int


class Packing:
    """Existing and new agents as they are filled. At most `allowance` new ones are opened (None = any number).

    Existing agents are used before new ones; of those, lower ranks first, and agents at work before whole ones.
    """

    def __init__(self, new_room: Vector, by: Vector, piles: Sequence[Pile], allowance: int | None = None) -> None:
        self.opened = 0
        self.taken = [0] * len(piles)
        self._new_room = new_room
        self._allowance = allowance
        self._new = _Shelf(by)
        self._busy = {rank: _Shelf(by) for rank in sorted({pile.rank for pile in piles})}
        self._whole = {rank: _Shelf(by) for rank in self._busy}
        for index, pile in enumerate(piles):
            shelves = self._whole if pile.whole else self._busy
            shelves[pile.rank].add(pile.room, pile.kind, index, pile.agents)

    def holds(self, need: Need, kinds: Kinds, *, on_new: bool) -> int | None:
        """How many such needs would find a place; None = any number."""
        on_existing = sum(shelf.holds(need, kinds) for _, shelf in self._existing(need))
        per_new = need.times(self._new_room) if on_new else 0
        if not per_new:
            return on_existing
        if self._allowance is None:
            return None
        on_opened = 0 if need.takes_whole else self._new.holds(need, None)
        return on_existing + on_opened + (self._allowance - self.opened) * per_new

    def place(self, need: Need, count: int, kinds: Kinds, *, on_new: bool) -> Placement:
        """Give places to up to `count` needs."""
        left = count
        for rank, shelf in self._existing(need):
            if not left:
                break
            left, touched = shelf.fill(need, left, kinds)
            for agents in touched:
                if agents.pile >= 0:
                    self.taken[agents.pile] += agents.agents
            self._put_back(self._busy[rank], touched)
        on_existing = count - left
        if not (left and on_new):
            return Placement(on_existing, 0, 0)
        if not need.takes_whole:
            left, touched = self._new.fill(need, left, None)
            self._put_back(self._new, touched)
        unplaced, opened = self._open(need, left)
        return Placement(on_existing, count - on_existing - unplaced, opened)

    def _existing(self, need: Need) -> Iterable[tuple[int, _Shelf]]:
        for rank, busy in self._busy.items():
            if not need.takes_whole:
                yield rank, busy
            yield rank, self._whole[rank]

    def _open(self, need: Need, count: int) -> tuple[int, int]:
        """Open new agents for `count` needs; returns how many found no place, and how many agents were opened."""
        per_new = need.times(self._new_room)
        if not (per_new and count):
            return count, 0
        agents = -(-count // per_new)
        if self._allowance is not None:
            agents = min(agents, self._allowance - self.opened)
        placed = min(count, agents * per_new)
        filled, rest = divmod(placed, per_new)
        for times, on in ((per_new, filled), (rest, 1)):
            if times and on:
                self._new.add(need.after(self._new_room, times), 0, _NO_PILE, on)
        self.opened += agents
        return count - placed, agents

    @staticmethod
    def _put_back(shelf: _Shelf, touched: Iterable[_Touched]) -> None:
        for agents in touched:
            shelf.add(agents.room, agents.kind, _NO_PILE, agents.agents)
