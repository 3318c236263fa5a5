"""A good plan at once: instance after instance, each begun with the largest task left and filled with what it is worth.

For each of the kinds that suit that first task, and for several ways to weigh what a task is worth against the room
that it takes, a whole filling is made; the one whose contents are worth most for its price is kept, and repeated for as
long as there are such tasks. The fillings are made side by side in arrays. Where there are many different tasks,
several first tasks are served at a time, each with a share of the rest to choose from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats, Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Row
from slotsmith.core.planning.lanes import Lanes
from slotsmith.core.planning.prices import Prices
from slotsmith.core.planning.shapes import ENDLESS, Model

_TINY: Final = 1e-12
# Worth for its size alone, so that between tasks that are worth the same, or nothing, the larger comes first.
_BULK: Final = 1e-3
# How fast a task's worth follows the waste of the instances that it lies in, and the most that counts of it.
_ADAPTION: Final = 0.7
_MOST_RISE: Final = 4.0
_ROW: Final = 15
_PART: Final = 0.125


@dataclass(frozen=True, slots=True)
class Style:
    """How fillings are made.

    `leanings`: a task is chosen by worth / (leaning + share of the room left), one filling for each. `kinds` are tried
    for each first task; `window` tasks are looked at for each filling; up to `at_once` first tasks are served together.
    `bulk` is how much a task's size counts beside its worth; of very many that would fit, `part` is added at a time. No
    filling has fewer than `least` tasks to choose from because others are made beside it.
    """

    leanings: tuple[float, ...] = (0.0, 0.4, 1e6)
    kinds: int = 3
    window: int = 96
    at_once: int = 16
    least: int = 96
    bulk: float = _BULK
    part: float = _PART


DEFAULT_STYLE: Final = Style()
_FIRST: Final = Style(leanings=(0.2, 1e6), kinds=2, window=20, at_once=64, least=8)
_FIRST_OF_MANY: Final = replace(_FIRST, kinds=1, window=14, at_once=256)
_MANY_ITEMS: Final = 300
_FEW_KINDS: Final = 16


def first_style(model: Model) -> Style:
    """For the plan that comes first: half as good where that matters, and several times as fast."""
    # Among many tasks of all sizes some fill up whatever is taken, unless there are very many kinds to take.
    return _FIRST_OF_MANY if model.items > _MANY_ITEMS and model.kinds <= _FEW_KINDS else _FIRST


def fill_new(
    model: Model, counts: Ints, prices: Prices, most: Ints, meter: Meter, style: Style = DEFAULT_STYLE
) -> tuple[list[Row], Ints]:
    """Rows of new instances that hold the items, and how many of each are left because no more instances may be had."""
    filler = _Filler(model, counts, prices, most, meter, style)
    while filler.step():
        pass
    return filler.rows, filler.left


class _Filler:
    def __init__(self, model: Model, counts: Ints, prices: Prices, most: Ints, meter: Meter, style: Style) -> None:
        self.rows: list[Row] = []
        self.left = counts.copy()
        self._model, self._meter, self._style = model, meter, style
        self._most = most.copy()
        largest = model.rooms.max(axis=0, initial=0.0)
        shares = model.sizes / np.where(largest > 0, largest, 1.0)
        bulk = shares.sum(axis=1)
        highest = float(prices.worth.max(initial=0.0)) or 1.0
        self._worth = prices.worth + style.bulk * highest * bulk
        self._costs: Floats = np.where(model.fits, model.sizes @ prices.of_kinds.T, np.inf)
        self._costs[:, self._most <= 0] = np.inf
        self._may = np.isfinite(self._costs)
        self._sizes = np.ascontiguousarray(model.sizes.T)
        self._kinds = self._nearest(np.arange(model.items))
        self._alive = np.lexsort((-bulk, -prices.worth, -shares.max(axis=1, initial=0.0)))
        self._alive = self._alive[(self.left[self._alive] > 0) & self._servable(self._alive)]

    def _nearest(self, items: Ints) -> Ints:
        """For each of these items the kinds on which it costs least, (items, at most `style.kinds`)."""
        nearest = np.argsort(self._costs[items], axis=1, kind="stable")[:, : self._style.kinds]
        return nearest.astype(np.int64)

    def _exhaust(self) -> None:
        """Look for other kinds where one may not be had any more."""
        gone = self._most <= 0
        self._costs[:, gone] = np.inf
        self._may[:, gone] = False
        items = np.flatnonzero(gone[self._kinds].any(axis=1) & (self.left > 0))
        self._kinds[items] = self._nearest(items)

    def _servable(self, items: Ints) -> Bools:
        if not self._model.kinds:
            return np.zeros(len(items), bool)
        servable: Bools = np.isfinite(self._costs[items, self._kinds[items, 0]])
        return servable

    def step(self) -> bool:
        """Serve the largest items that are left; False when there are none."""
        if not len(self._alive):
            return False
        windows = self._windows()
        kinds, times = self._best(windows)
        self._take(windows, kinds, times)
        exhausted = bool((self._most[kinds] <= 0).any())
        if exhausted:
            self._exhaust()
        self._alive = self._alive[self.left[self._alive] > 0]
        if exhausted:
            self._alive = self._alive[self._servable(self._alive)]
        return True

    def _best(self, windows: Ints) -> tuple[Ints, Ints]:
        """For each first task the filling that holds most worth for its price: kinds (B,), how many of each (B, W)."""
        style = self._style
        nearest = self._kinds[windows[:, 0]]
        ways = nearest.shape[1] * len(style.leanings)
        kinds = np.repeat(nearest, len(style.leanings), axis=1).reshape(-1)
        leaning = np.tile(np.array(style.leanings), nearest.size)
        # All fillings of a first task choose from the same.
        shared = windows.T if len(windows) == 1 else np.repeat(windows.T, ways, axis=1)
        left = np.where(self._may[shared, kinds], self.left[shared], 0)
        lanes = Lanes(
            self._model.rooms[kinds],
            self._model.prices[kinds],
            leaning,
            self._sizes[:, shared],
            self._worth[shared],
            left,
            style.part,
        )
        lanes.begin(np.zeros(len(kinds), np.int64))
        lanes.run()
        self._meter.spend(lanes.work)
        best = lanes.value().reshape(len(windows), ways).argmax(axis=1) + np.arange(len(windows)) * ways
        return kinds[best], lanes.times[best]

    def _take(self, windows: Ints, kinds: Ints, times: Ints) -> None:
        """Use each of these fillings as often as there are such tasks, and instances to be had."""
        often = np.where(times > 0, self.left[windows] // np.maximum(times, 1), ENDLESS).min(axis=1)
        often = np.minimum(often, self._most[kinds])
        for row in np.flatnonzero(self._most[kinds] < ENDLESS).tolist():
            often[row] = min(often[row], self._most[kinds[row]])
            self._most[kinds[row]] -= often[row]
        # No item is in two windows.
        self.left[windows] -= times * often[:, None]
        rows, columns = np.nonzero((times > 0) & (often > 0)[:, None])
        items, numbers = windows[rows, columns], times[rows, columns]
        order = np.lexsort((items, rows))
        parts = list(zip(items[order].tolist(), numbers[order].tolist(), strict=True))
        ends = np.searchsorted(rows, np.arange(len(kinds)), side="right").tolist()
        owners, start = (kinds + len(self._model.piles)).tolist(), 0
        for owner, bins, end in zip(owners, often.tolist(), ends, strict=True):
            if end > start:
                self.rows.append(Row(owner, tuple(parts[start:end]), bins))
                start = end
        self._meter.spend(_ROW * len(kinds))

    def _windows(self) -> Ints:
        """(B, W) items: first tasks, each with those that may join it: the largest ones, and some of every size."""
        alive, width = self._alive, self._style.window
        batch = max(1, min(self._style.at_once, len(alive) // self._style.least))
        rest = len(alive) // batch - 1
        if rest < width:
            picked = np.arange(rest)
        else:
            near = width // 2
            picked = np.concatenate([np.arange(near), np.linspace(near, rest - 1, width - near).astype(np.int64)])
        if batch == 1:
            single: Ints = alive[np.concatenate([[0], 1 + picked])][None, :]
            return single
        joined = batch + picked[None, :] * batch + np.arange(batch)[:, None]
        several: Ints = alive[np.hstack([np.arange(batch)[:, None], joined])]
        return several


class Begun(NamedTuple):
    """How fillings are begun: with each item, or with each two of them; and by which leanings they go on."""

    leanings: tuple[float, ...]
    pairs: bool = False


def every_filling(model: Model, counts: Ints, worth: Floats, kinds: Ints, begun: Begun) -> tuple[Ints, Ints, float]:
    """Fillings of each of these kinds, begun in every such way: owners (p,), patterns (p, n), and the work of it."""
    fits = model.fits[:, kinds]
    items = np.flatnonzero((counts > 0) & (worth > 0) & fits.any(axis=1))
    if not len(items):
        return np.zeros(0, np.int64), np.zeros((0, model.items), np.int64), 0.0
    size = len(items)
    first, second = np.triu_indices(size) if begun.pairs else (np.arange(size), np.arange(size))
    begins, columns = np.nonzero(fits[items[first]] & fits[items[second]])
    begins, kinds = np.repeat(begins, len(begun.leanings)), np.repeat(kinds[columns], len(begun.leanings))
    leaning = np.tile(np.array(begun.leanings), len(columns))
    left = np.where(model.fits[items][:, kinds], counts[items][:, None], 0)
    sizes = model.sizes[items].T[:, :, None]
    lanes = Lanes(model.rooms[kinds], model.prices[kinds], leaning, sizes, worth[items][:, None], left, _PART)
    lanes.begin(first[begins])
    if begun.pairs:
        lanes.begin(second[begins])
    lanes.run()
    patterns = np.zeros((len(kinds), model.items), np.int64)
    patterns[:, items] = lanes.times
    return kinds + len(model.piles), patterns, lanes.work


def adapted(model: Model, prices: Prices, rows: Sequence[Row]) -> Prices:
    """Prices at which what lies in wasteful instances is worth more, so that the next plan looks after it sooner."""
    flat = [(item, times, row.bins) for row in rows for item, times in row.pattern]
    items, times, bins = np.array(flat, np.int64).reshape(-1, 3).T
    lengths = np.array([len(row.pattern) for row in rows])
    number = np.repeat(np.arange(len(rows)), lengths)
    worth = np.bincount(number, prices.worth[items] * times, len(rows))
    paid = np.array([model.prices[row.owner - len(model.piles)] for row in rows])
    waste = paid / np.maximum(worth, _TINY * paid)
    held = np.bincount(items, times * bins, model.items)
    over = np.bincount(items, times * bins * waste[number], model.items) / np.maximum(held, 1)
    factor = np.where(held > 0, np.clip(over, 0.5, _MOST_RISE) ** _ADAPTION, 1.0)
    return replace(prices, worth=prices.worth * factor)


_LIGHT: Final = Style(leanings=(0.4, 1.5, 1e6), window=48, at_once=32, least=24, bulk=0.02, part=0.5)
STYLES: Final[Sequence[Style]] = (
    _LIGHT,
    _LIGHT,
    _LIGHT,
    Style(leanings=(0.4, 1.5, 1e6), kinds=4, bulk=0.02),
)
"""What is tried in turn while there is time; none of them is the best one always."""
