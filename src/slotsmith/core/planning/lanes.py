"""Fillings of single instances, made side by side in arrays: each step adds to every one what suits it best.

All arithmetic is element by element: sums that a library of linear algebra adds up in an order of its own differ in the
last digit from processor to processor, and here that digit could decide which task comes next.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats, Ints

_TINY: Final = 1e-12
# Amounts are whole numbers; a room of nothing holds only what asks for nothing.
_LEAST_ROOM: Final = 1e-9
# A share that ought to be 1 may miss it by its rounding. What is chosen is compared by itself.
_FULL: Final = 1 + 1e-12
# Less than what any task is worth; one that is worth nothing still comes after all others, and not never.
_NOTHING: Final = 1e-300
# To leave out the fillings that are done means to copy the others, so that it pays when many are.
_STILL_OPEN: Final = 0.75


class Lanes:
    """L fillings; each chooses from W items, by worth / (leaning + share of the room that is left).

    `rooms` (L, D) and `prices` (L,) of the instances; `sizes` (D, W, L) and `worth` (W, L) of the items to choose from,
    with 1 for L when all fillings choose from the same; `left` (W, L) how many of each there are, 0 where a filling may
    not hold the item. One is added at a time while few would fit, and `part` of what would where that is more.
    Fillings come last in all arrays, for those are looked through fastest.
    """

    def __init__(
        self, rooms: Floats, prices: Floats, leaning: Floats, sizes: Floats, worth: Floats, left: Ints, part: float
    ) -> None:
        self._room: Floats = np.ascontiguousarray(rooms.T)
        self._prices, self._part = prices, part
        self._leaning: Floats = np.maximum(leaning, _TINY)
        self._sizes = sizes
        self._worth = worth
        self._left: Floats = left.astype(np.float64)
        self._times: Floats = np.zeros(left.shape)
        self.work = 0.0

    def begin(self, columns: Ints) -> None:
        """Put the item of this column (L,) into each filling first; those that may not hold it stay empty."""
        lanes = np.arange(len(columns))
        room = self._room - _asked(self._sizes, columns, lanes)
        held = (self._left[columns, lanes] > 0) & (room >= 0).all(axis=0)
        self._times[columns, lanes] += held
        self._left[columns, lanes] -= held
        # A room of less than nothing holds nothing more.
        self._room = np.where(held, room, -1.0)

    def run(self) -> None:
        """Fill all of them."""
        active = np.flatnonzero((self._room >= 0).all(axis=0))
        room, leaning, left = self._room[:, active], self._leaning[active], self._left[:, active]
        sizes, worth = _only(self._sizes, active), _only(self._worth, active)
        # What is not there is worth nothing, and what is worth nothing is not chosen.
        worth = np.where(left > 0, np.maximum(worth, _NOTHING), 0.0)
        self.work += 100
        lanes = np.arange(len(active))
        while len(active):
            chosen, found, tightest = self._choose(room, sizes, worth, leaning, lanes)
            places = chosen * len(active) + lanes
            there, asked = left.take(places), _asked(sizes, chosen, lanes)
            fits = (asked <= room).all(axis=0)
            added = np.floor(np.minimum(there, 1.0 / tightest) * self._part)
            added = np.maximum(added, 1.0) * (found & fits)
            there -= added
            left.put(places, there)
            self._times[chosen, active] += added
            room -= asked * added
            gone = (~fits | (there <= 0)).nonzero()[0]
            worth[chosen[gone], gone] = 0.0
            if np.count_nonzero(found) < _STILL_OPEN * len(found):
                keep = np.flatnonzero(found)
                active, lanes, leaning = active[keep], lanes[: len(keep)], leaning[keep]
                room, worth, left = room[:, keep], worth[:, keep], left[:, keep]
                sizes = _only(sizes, keep)

    def _choose(
        self, room: Floats, sizes: Floats, worth: Floats, leaning: Floats, lanes: Ints
    ) -> tuple[Ints, Bools, Floats]:
        """For each filling the column of the item to add, whether one seems to fit, and the most that it takes of what
        is left of any one resource, as a share."""
        per_room = 1.0 / np.maximum(room, _LEAST_ROOM)
        tightest = sizes[0] * per_room[0]
        share = tightest + leaning
        for size, each in zip(sizes[1:], per_room[1:], strict=True):
            taken = size * each
            share += taken
            np.maximum(tightest, taken, out=tightest)
        score = np.divide(worth, share, out=share)
        score *= tightest <= _FULL
        chosen = score.argmax(axis=0)
        places = chosen * len(lanes) + lanes
        self.work += 35 + score.size / 55
        return chosen, score.take(places) > 0, np.maximum(tightest.take(places), _TINY)

    @property
    def times(self) -> Ints:
        """(L, W): how many of each item each filling holds."""
        return self._times.T.astype(np.int64)

    def value(self) -> Floats:
        """What each filling is worth for its price; -1 for one that holds nothing."""
        worth = (self._times * self._worth).sum(axis=0)
        value: Floats = np.where(self._times.any(axis=0), worth / self._prices, -1.0)
        return value


def _only(values: Floats, lanes: Ints) -> Floats:
    """The values of these fillings, which are the same for all when there is one alone."""
    return values if values.shape[-1] == 1 else values[..., lanes]


def _asked(sizes: Floats, columns: Ints, lanes: Ints) -> Floats:
    """(D, L): what the item of each filling's column asks for."""
    asked: Floats = sizes[:, columns, 0] if sizes.shape[-1] == 1 else sizes[:, columns, lanes]
    return asked
