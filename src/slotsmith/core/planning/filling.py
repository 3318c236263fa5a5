"""Bins and what lies in them, and first-fit of counted items into rows of equal bins.

A bin is an instance of a kind or an existing agent. It is known by its owner: pile e has number e, kind k has number
E + k. Bins that hold the same are one row with a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.planning.arrays import Floats, Ints
from slotsmith.core.planning.shapes import Model

Pattern = tuple[tuple[int, int], ...]
"""What one bin holds: items, rising, each with how many of it."""

# Rows are looked at this many at a time, for the place is often found early.
_BLOCK: Final = 1024
_SPARE: Final = 32
_FIRST: Final = 0


class Row(NamedTuple):
    """So many bins of an owner hold the same."""

    owner: int
    pattern: Pattern
    bins: int


def held(rows: Iterable[Row], items: int) -> Ints:
    """How many of each item the rows hold together."""
    total = np.zeros(items, np.int64)
    for row in rows:
        for item, times in row.pattern:
            total[item] += times * row.bins
    return total


def bought(rows: Iterable[Row], model: Model) -> Ints:
    """How many new instances of each kind the rows are, (K,)."""
    owners, bins = np.array([(row.owner, row.bins) for row in rows], np.int64).reshape(-1, 2).T
    kinds = owners - len(model.piles)
    counts = np.zeros(model.kinds, np.int64)
    np.add.at(counts, kinds[kinds >= 0], bins[kinds >= 0])
    return counts


def cost(rows: Iterable[Row], model: Model) -> float:
    """Dollars per hour of the new instances, added up so that the order of the rows does not matter."""
    return float((bought(rows, model) * model.prices).sum())


def use_of(rows: Sequence[Row], model: Model) -> Floats:
    """What each bin of each row has in use, (rows, D)."""
    if not rows:
        return np.zeros((0, model.sizes.shape[1]))
    lengths = np.array([len(row.pattern) for row in rows])
    flat = np.array([part for row in rows for part in row.pattern], np.int64).reshape(-1, 2)
    amounts = model.sizes[flat[:, 0]] * flat[:, 1, None]
    used = np.zeros((len(rows), model.sizes.shape[1]))
    np.add.at(used, np.repeat(np.arange(len(rows)), lengths), amounts)
    return used


def merged(rows: Iterable[Row]) -> list[Row]:
    """Rows that are alike as one, in a fixed order; bins that hold nothing are left out."""
    counts: dict[tuple[int, Pattern], int] = {}
    for row in rows:
        if row.pattern and row.bins:
            key = (row.owner, row.pattern)
            counts[key] = counts.get(key, 0) + row.bins
    return [Row(owner, pattern, count) for (owner, pattern), count in sorted(counts.items())]


class Filling:
    """Rows of bins as they are filled, in the order in which they are tried."""

    def __init__(self, model: Model, rows: Sequence[Row], used: Floats | None = None) -> None:
        """`used` is `use_of` these rows, where that is known."""
        self._model = model
        self._owner_room = np.vstack([model.free, model.rooms]) if len(model.rooms) else model.free
        self._allowed = np.hstack([model.accepts, model.fits])
        self._anywhere = bool(self._allowed.all(axis=0).all()) if self._allowed.size < 1 << 16 else False
        size = len(rows)
        dimensions = model.sizes.shape[1]
        self._room: Floats = np.zeros((dimensions, size + _SPARE))
        self._meta: Ints = np.zeros((3, size + _SPARE), np.int64)
        self._starts: list[Pattern] = [row.pattern for row in rows]
        self._nodes: list[tuple[int, int, int]] = []
        self._size = size
        if size:
            owners = np.array([row.owner for row in rows])
            self._room[:, :size] = (self._owner_room[owners] - (use_of(rows, model) if used is None else used)).T
            self._meta[:, :size] = (owners, [row.bins for row in rows], -1 - np.arange(size))

    @classmethod
    def of_existing(cls, model: Model) -> Filling:
        """The existing agents, with nothing new on them."""
        return cls(model, [Row(index, (), int(count)) for index, count in enumerate(model.agents.tolist())])

    def holds(self, item: int, at_most: int) -> int:
        """How many of an item, up to `at_most`, would find a place."""
        rows, times = self._fitting(item, at_most, 0, self._size)
        return min(at_most, int((times * self._meta[1, rows]).sum()))

    @contextmanager
    def without_one(self, row: int) -> Iterator[None]:
        """As if there were one bin less of this row (counted as the rows were given, none placed since)."""
        self._meta[1, row] -= 1
        try:
            yield
        finally:
            self._meta[1, row] += 1

    def place(self, item: int, count: int) -> int:
        """Give places to up to `count` of an item, first fit; returns how many found one."""
        left = count
        start = _FIRST
        while start < self._size and left:
            before = self._size
            stop = min(start + _BLOCK, before)
            left = self._fill(item, left, start, stop)
            start = stop + self._size - before
        return count - left

    def place_whole(self, owner: int, amounts: Floats, slots: int, at_most: int) -> int:
        """Take up to so many agents of a pile that hold nothing whole; returns how many were taken."""
        pile = self._model.piles[owner]
        if not (pile.whole and pile.slots == slots and (amounts <= self._owner_room[owner]).all()):
            return 0
        rows = np.flatnonzero((self._meta[0, : self._size] == owner) & (self._meta[2, : self._size] == -1 - owner))
        taken = 0
        for row in rows.tolist():
            count = min(at_most - taken, int(self._meta[1, row]))
            self._meta[1, row] -= count
            taken += count
        return taken

    def open(self, item: int, kind: int, count: int) -> int:
        """Put up to `count` of an item on new bins of a kind, as many on each as it holds; returns how many bins."""
        size = self._model.sizes[item]
        room = self._model.rooms[kind]
        asked = size > 0
        times = int((room[asked] // size[asked]).min()) if asked.any() else count
        if not times:
            return 0
        full, rest = divmod(count, times)
        for each, bins in ((times, full), (rest, 1)):
            if each and bins:
                self._append(
                    len(self._model.piles) + kind, room - each * size, bins, (-1 - len(self._starts), item, each)
                )
        return full + (1 if rest else 0)

    def rows(self) -> list[Row]:
        """What lies where now."""
        known: dict[int, Pattern] = {}
        return merged(
            Row(owner, self._pattern(node, known), count)
            for owner, count, node in self._meta[:, : self._size].T.tolist()
            if count
        )

    def _pattern(self, node: int, known: dict[int, Pattern]) -> Pattern:
        if node < 0:
            return self._start(node)
        if node not in known:
            parts: dict[int, int] = {}
            at = node
            while at >= 0:
                at, item, times = self._nodes[at]
                parts[item] = parts.get(item, 0) + times
            for item, times in self._start(at):
                parts[item] = parts.get(item, 0) + times
            known[node] = tuple(sorted(parts.items()))
        return known[node]

    def _start(self, node: int) -> Pattern:
        """What a bin held when it was given; one that was opened since held nothing."""
        return self._starts[-1 - node] if -1 - node < len(self._starts) else ()

    def _fitting(self, item: int, count: int, start: int, stop: int) -> tuple[Ints, Ints]:
        """The rows from `start` to `stop` with room, and how many of up to `count` go into each bin."""
        size = self._model.sizes[item]
        asked = size.nonzero()[0].tolist()
        fits = self._meta[1, start:stop] > 0
        for index in asked:
            fits &= self._room[index, start:stop] >= size[index]
        if not self._anywhere:
            fits &= self._allowed[item, self._meta[0, start:stop]]
        rows = fits.nonzero()[0] + start
        times = self._room[asked[0], rows] // size[asked[0]]
        for index in asked[1:]:
            times = np.minimum(times, self._room[index, rows] // size[index])
        return rows, np.minimum(times, count).astype(np.int64)

    def _fill(self, item: int, count: int, start: int, stop: int) -> int:
        rows, times = self._fitting(item, count, start, stop)
        if not len(rows):
            return count
        held_by = np.cumsum(times * self._meta[1, rows])
        filled = int(np.searchsorted(held_by, count, side="right"))
        if filled:
            self._use(item, rows[:filled], times[:filled])
            count -= int(held_by[filled - 1])
        if count and filled < len(rows):
            self._split(item, int(rows[filled]), int(times[filled]), count)
            count = 0
        return count

    def _use(self, item: int, rows: Ints, times: Ints) -> None:
        self._room[:, rows] -= times * self._model.sizes[item][:, None]
        for row, each in zip(rows.tolist(), times.tolist(), strict=True):
            self._nodes.append((int(self._meta[2, row]), item, each))
            self._meta[2, row] = len(self._nodes) - 1

    def _split(self, item: int, row: int, times: int, count: int) -> None:
        """Place `count` on the first bins of a row that has more than enough of them."""
        full, rest = divmod(count, times)
        bins = int(self._meta[1, row])
        sizes = [size for size in (full, 1 if rest else 0, bins - full - (1 if rest else 0)) if size]
        self._insert(row, len(sizes) - 1)
        self._room[:, row : row + len(sizes)] = self._room[:, row : row + 1]
        self._meta[:, row : row + len(sizes)] = self._meta[:, row : row + 1]
        self._meta[1, row : row + len(sizes)] = sizes
        used = [size for size in (times if full else 0, rest) if size]
        self._use(item, np.arange(row, row + len(used)), np.array(used))

    def _append(self, owner: int, room: Floats, bins: int, node: tuple[int, int, int]) -> None:
        end = self._size
        self._insert(end, 1)
        self._nodes.append(node)
        self._room[:, end] = room
        self._meta[:, end] = (owner, bins, len(self._nodes) - 1)

    def _insert(self, row: int, columns: int) -> None:
        """Move the rows from `row` on; the freed ones still hold what they held."""
        size = self._size + columns
        if size > self._room.shape[1]:
            self._room = np.hstack([self._room, np.zeros((len(self._room), 2 * size))])
            self._meta = np.hstack([self._meta, np.zeros((3, 2 * size), np.int64)])
        if columns and row < self._size:
            self._room[:, row + columns : size] = self._room[:, row : self._size].copy()
            self._meta[:, row + columns : size] = self._meta[:, row : self._size].copy()
        self._size = size
