"""The most worth that one bin can hold: relaxed to fractions, which bounds it, and searched for in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotsmith.core.planning.arrays import Floats, Ints

_TINY: Final = 1e-12
_MOST_PIVOTS: Final = 200
# Contents must be worth this much more than asked, relatively, to count as more.
_MORE: Final = 1e-9


class Relaxed(NamedTuple):
    """`prices` (D,) of a room at which no item is worth more than it costs; `value` is what the room costs."""

    prices: Floats
    value: float


def relaxed(worth: Floats, sizes: Floats, room: Floats) -> Relaxed:
    """The most worth in a room, `room` (D,), of fractions of items, `worth` (n,) and `sizes` (n, D), without end each.

    The prices are made safe at the end, so that the value is a bound even when rounding has left them too low.
    """
    scale = np.where(room > 0, room, 1.0)
    shares = sizes / scale
    has = (room > 0).astype(float)
    simplex = _Simplex(has)
    simplex.solve(worth, shares)
    prices = _safe(simplex.prices, worth, shares)
    return Relaxed(prices / scale, float(prices @ has))


class _Simplex:
    """max worth x, shares x <= room, x >= 0 with one row for each dimension; columns may be added between solves."""

    def __init__(self, room: Floats) -> None:
        self._inverse = np.eye(len(room))
        self._gains = np.zeros(len(room))
        self._room = room
        self.prices: Floats = np.zeros(len(room))

    def solve(self, worth: Floats, shares: Floats) -> None:
        """Go on from where it stands, now with these columns (those of before among them)."""
        for _ in range(_MOST_PIVOTS):
            reduced = worth - shares @ self.prices
            entering = int(reduced.argmax()) if len(reduced) else -1
            if entering >= 0 and reduced[entering] > _MORE * max(float(worth[entering]), _TINY):
                moved = self._pivot(shares[entering], float(worth[entering]))
            else:
                slack = int(self.prices.argmin())
                if self.prices[slack] >= -_MORE * float(abs(self.prices).max()):
                    return
                moved = self._pivot(np.eye(len(self.prices))[slack], 0.0)
            if not moved:
                return

    def _pivot(self, column: Floats, gain: float) -> bool:
        moves = self._inverse @ column
        held = self._inverse @ self._room
        ratios = np.divide(held, moves, out=np.full(len(held), np.inf), where=moves > _TINY)
        leaving = int(ratios.argmin())
        if ratios[leaving] == np.inf:
            return False
        row = self._inverse[leaving] / moves[leaving]
        self._inverse = self._inverse - moves[:, None] * row
        self._inverse[leaving] = row
        self._gains[leaving] = gain
        self.prices = self._gains @ self._inverse
        return True


def _safe(prices: Floats, worth: Floats, shares: Floats) -> Floats:
    prices = np.maximum(prices, 0.0)
    costs = shares @ prices
    wanted = worth > 0
    if not wanted.any():
        return prices
    if (costs[wanted] <= 0).any():
        # Rounding lost a dimension: price every one so that none is worth more than it costs.
        highest = float((worth[wanted] / np.maximum(shares[wanted].max(axis=1), _TINY)).max())
        return np.full(len(prices), highest)
    return prices * max(1.0, float((worth[wanted] / costs[wanted]).max()))


@dataclass(frozen=True, slots=True)
class Found:
    """`patterns` (p, n) with their `values` (p,), best first, each above what was asked; nothing at all is worth more
    than `bound`. `work` is what the search took."""

    values: Floats
    patterns: Ints
    bound: float
    work: float


class _Labels(NamedTuple):
    """Partial fillings: what is left of the room, what they hold is worth."""

    room: Floats
    value: Floats


def search(
    worth: Floats, sizes: Floats, copies: Ints, room: Floats, above: float, *, labels: int, most: int, best_only: bool
) -> Found:
    """Fillings of a room that are worth more than `above`, of up to `copies` of each item.

    Item after item, largest first, each filling is carried on with every number of copies, and dropped when the
    relaxation says that it cannot come to more than `above` (or, with `best_only`, than the best one known). At most
    `labels` fillings are kept; what the dropped ones might come to is in the bound. The `most` best are returned.
    """
    whole = relaxed(worth, sizes, room)
    nothing = Found(np.zeros(0), np.zeros((0, len(worth)), np.int64), min(whole.value, above), 60.0)
    if whole.value <= above * (1 + _MORE):
        return Found(nothing.values, nothing.patterns, whole.value, 60.0)
    spare = whole.value - above
    usable = np.flatnonzero((sizes @ whole.prices - worth <= spare) & (copies > 0) & (worth > 0))
    shares = (sizes[usable] / np.where(room > 0, room, 1.0)).max(axis=1, initial=0.0)
    usable = usable[np.lexsort((usable, -shares))]
    prices = _suffix_prices(worth[usable], sizes[usable], room)
    walk = _Walk(room, above, labels, best_only)
    for index, item in enumerate(usable.tolist()):
        walk.carry_on(float(worth[item]), sizes[item], int(copies[item]), prices[index + 1])
        if not len(walk.labels.value):
            break
    return walk.found(len(worth), usable, most)


def _suffix_prices(worth: Floats, sizes: Floats, room: Floats) -> Floats:
    """For each item prices of the room (n + 1, D) that are safe for the items from it on."""
    scale = np.where(room > 0, room, 1.0)
    shares = sizes / scale
    prices = np.zeros((len(worth) + 1, len(room)))
    simplex = _Simplex((room > 0).astype(float))
    for index in range(len(worth) - 1, -1, -1):
        after = prices[index + 1]
        if worth[index] > after @ shares[index]:
            simplex.solve(worth[index:], shares[index:])
            after = _safe(simplex.prices, worth[index:], shares[index:])
        prices[index] = after
    return prices / scale


class _Walk:
    def __init__(self, room: Floats, above: float, labels: int, best_only: bool) -> None:
        self.labels = _Labels(room[None, :].copy(), np.zeros(1))
        self._above, self._limit, self._best_only = above, labels, best_only
        self._history: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        self._dropped = above
        self._work = 60.0

    def carry_on(self, worth: float, size: Floats, copies: int, prices: Floats) -> None:
        """Each filling with none, one, two … more of the item, if it can still come to enough."""
        room, value = self.labels
        asked = np.flatnonzero(size)
        fit = np.minimum.reduce([room[:, index] // size[index] for index in asked])
        times = np.clip(fit, 0, copies).astype(np.int64) + 1
        parents = np.repeat(np.arange(len(times)), times)
        extra = np.arange(len(parents)) - np.repeat(np.cumsum(times) - times, times)
        room = room[parents] - extra[:, None] * size
        value = value[parents] + extra * worth
        self._work += 25 + len(parents) / 6
        if self._best_only:
            # A little less than the best, which must not drop itself.
            self._above = max(self._above, float(value.max()) * (1 - 4 * _MORE))
        reach = value + room @ prices
        kept = np.flatnonzero(reach > self._above * (1 + _MORE))
        if len(kept) > self._limit:
            order = np.argpartition(-reach[kept], self._limit)
            self._dropped = max(self._dropped, float(reach[kept[order[self._limit]]]))
            kept = np.sort(kept[order[: self._limit]])
        self._history.append((parents[kept].astype(np.int32), extra[kept].astype(np.int32)))
        self.labels = _Labels(room[kept], value[kept])

    def found(self, items: int, usable: Ints, most: int) -> Found:
        value = self.labels.value
        best = np.argsort(-value, kind="stable")[:most]
        patterns = np.zeros((len(best), items), np.int64)
        at: Ints = best
        for index in range(len(self._history) - 1, -1, -1):
            parents, extra = self._history[index]
            patterns[:, usable[index]] = extra[at]
            at = parents[at].astype(np.int64)
        bound = max(self._dropped, float(value.max(initial=0.0)), self._above)
        return Found(value[best], patterns, bound, self._work + len(best) * len(self._history) / 20)
