"""What each task is worth, and what the tasks must cost at least.

Every kind of instance has a price for each of its dimensions, and those prices of a whole instance make up what it
costs. A task is worth what it costs at these prices on the kind where that is least. Whatever fits on an instance is
then worth no more than the instance costs, so the worth of all tasks together is a lower bound: it is the dual of the
linear program in which tasks are poured into instances. Any prices give a bound; good ones are found by multiplicative
weights, which raise a dimension's price where the tasks that choose the kind load it most (Arora, Hazan and Kale 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats, Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.knapsack import relaxed
from slotsmith.core.planning.shapes import ENDLESS, Model

# More items than this are told apart only by about how large they are while prices are sought.
_MOST_GROUPS: Final = 320
# Fewer of them where there are many kinds, for each step looks at every pair.
_LEAST_GROUPS: Final = 64
_MOST_CELLS: Final = 40_000
_STEPS: Final = 110
# How fast the steps and the smoothing shrink, and where they end; found by trial on drawn and recorded tasks.
_STEP: Final = (1.0, 0.98, 0.02)
_SMOOTHING: Final = (0.3, 0.97, 0.002)
_SCARCITY_STEP: Final = 0.15
# More than the steps of any logarithm.
_APART: Final = 1 << 10
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Prices:
    """`worth` (n,) of one of each item; `of_kinds` (K, D) per unit; `scarcity` (K,), the worth of one more."""

    worth: Floats
    of_kinds: Floats
    scarcity: Floats


def fluid_prices(model: Model, counts: Ints, most: Ints, meter: Meter) -> Prices:
    """Good prices for so many of each item, when so many of each kind may be launched."""
    if not model.kinds or not counts.any():
        return Prices(np.zeros(model.items), np.zeros(model.rooms.shape), np.zeros(model.kinds))
    groups = _groups(model, counts)
    sizes, weights, fits = groups
    weighing = _Weighing(model, sizes, weights, fits, np.minimum(most, int(counts.sum())))
    steps = weighing.steps
    for step in range(steps):
        weighing.step(step)
    meter.spend(steps * (40 + sizes.size * model.kinds / 60))
    of_kinds, scarcity = weighing.best()
    return Prices(_least(of_kinds, model.sizes, model.fits), of_kinds, scarcity)


def _least(of_kinds: Floats, sizes: Floats, fits: Bools) -> Floats:
    worth: Floats = np.where(fits, sizes @ of_kinds.T, np.inf).min(axis=1)
    # What lies on existing agents alone need not be launched for at any price.
    return np.where(np.isfinite(worth), worth, 0.0)


def _groups(model: Model, counts: Ints) -> tuple[Floats, Floats, Bools]:
    """The items, or where they are many, items of about the same size together: mean sizes, counts, where they fit."""
    rows = np.flatnonzero((counts > 0) & model.fits.any(axis=1))
    sizes, weights, fits = model.sizes[rows], counts[rows].astype(np.float64), model.fits[rows]
    if len(rows) <= _MOST_GROUPS:
        return sizes, weights, fits
    # The logarithms of amounts that are there lie between 0 and 40, in steps of a quarter at least.
    logs = np.log2(np.maximum(sizes, 0.5)) + 1
    _, places = np.unique(np.packbits(fits, axis=1), axis=0, return_inverse=True)
    most = max(_LEAST_GROUPS, min(_MOST_GROUPS, _MOST_CELLS // model.kinds))
    for fineness in (4.0, 3.0, 2.0, 1.5, 1.0, 0.5):
        keys = places.reshape(-1).astype(np.int64)
        for column in np.round(logs * fineness).astype(np.int64).T:
            _, keys = np.unique(keys * _APART + column, return_inverse=True)
            keys = keys.reshape(-1)
        _, firsts, group = np.unique(keys, return_index=True, return_inverse=True)
        if len(firsts) <= most:
            break
    group = group.reshape(-1)
    together: Floats = np.bincount(group, weights).astype(np.float64)
    columns = [np.bincount(group, weights * sizes[:, index]) / together for index in range(sizes.shape[1])]
    return np.column_stack(columns), together, fits[firsts]


class _Weighing:
    """The search for prices: weights (K, D) say what share of a kind's price each dimension carries."""

    def __init__(self, model: Model, sizes: Floats, counts: Floats, fits: Bools, most: Ints) -> None:
        has = model.rooms > 0
        self._rooms = np.where(has, model.rooms, 1.0)
        # (K, n, D): the share of an instance that one takes.
        self._shares = np.where(has[:, None, :], sizes[None, :, :] / self._rooms[:, None, :], 0.0)
        self._counts = counts
        self._outside = np.where(fits.T, 0.0, np.inf)
        self._prices = model.prices
        self._most = most.astype(float)
        self._limited = np.flatnonzero(model.most < ENDLESS)
        # What nobody asks for costs nothing.
        asked = self._shares.any(axis=1)
        self._weights = asked / np.maximum(asked.sum(axis=1, keepdims=True), 1)
        if len(counts) == 1:
            # Of tasks that are all alike the dimension that is full first carries the whole price.
            self._weights = np.eye(model.rooms.shape[1])[self._shares[:, 0, :].argmax(axis=1)]
        self._scarcity = np.zeros(model.kinds)
        self._best = (-np.inf, self._weights, self._scarcity)

    @property
    def steps(self) -> int:
        """How many are worth taking: one, where each kind has one dimension to bear its price, and there are enough."""
        if not len(self._limited) and (np.count_nonzero(self._weights, axis=1) <= 1).all():
            return 1
        return _STEPS if len(self._counts) > 1 else _STEPS // 4

    def step(self, number: int) -> None:
        asked = (self._prices + self._scarcity)[:, None]
        costs = asked * np.matmul(self._shares, self._weights[:, :, None])[:, :, 0] + self._outside
        least = costs.min(axis=0)
        bound = float(self._counts @ least) - float(self._most @ self._scarcity)
        if bound > self._best[0]:
            self._best = (bound, self._weights, self._scarcity)
        smoothing = _shrunk(_SMOOTHING, number)
        chosen = np.exp(-(costs / np.maximum(least, _TINY) - 1) / smoothing)
        chosen *= self._counts / chosen.sum(axis=0)
        load = np.matmul(chosen[:, None, :], self._shares)[:, 0, :]
        top = load.max(axis=1, keepdims=True)
        moved = self._weights * np.exp(_shrunk(_STEP, number) * (load / np.maximum(top, _TINY) - 1))
        self._weights = moved / np.maximum(moved.sum(axis=1, keepdims=True), _TINY)
        self._raise_scarcity(top[:, 0], number)

    def _raise_scarcity(self, load: Floats, number: int) -> None:
        """A kind that is wanted more often than it may be had is worth more than its price."""
        if not len(self._limited):
            return
        rows = self._limited
        wanted, had = load[rows], self._most[rows]
        step = _SCARCITY_STEP / (1 + number / 20) * (wanted - had) / np.maximum(np.maximum(wanted, had), _TINY)
        self._scarcity = self._scarcity.copy()
        self._scarcity[rows] = np.maximum(
            0.0, self._scarcity[rows] + step * (self._prices[rows] + self._scarcity[rows])
        )

    def best(self) -> tuple[Floats, Floats]:
        _, weights, scarcity = self._best
        return weights * (self._prices + scarcity)[:, None] / self._rooms, scarcity


def _shrunk(schedule: tuple[float, float, float], number: int) -> float:
    start, factor, end = schedule
    return float(start * factor**number + end)


def lower_bound(model: Model, prices: Prices, served: Ints, wholes: Ints) -> float:
    """What launches must cost at least that hold so many of each item and unit of each whole, dollars per hour.

    The worth of all tasks, less the most that existing agents, and kinds of which only so many may be had, can hold.
    Valid for any prices at which nothing that a kind holds is worth more than its price and scarcity.
    """
    worth = prices.worth
    limited = model.most < ENDLESS
    total = float(served @ worth) - float(model.most[limited] @ prices.scarcity[limited])
    total += sum(int(count) * whole.price for count, whole in zip(wholes, model.wholes, strict=True))
    total -= float(model.agents @ _worth_of_piles(model, prices, served, wholes)) if len(model.piles) else 0.0
    return max(0.0, total)


def _worth_of_piles(model: Model, prices: Prices, served: Ints, wholes: Ints) -> Floats:
    """At most so much are tasks worth that lie on one agent of each pile."""
    rows = np.flatnonzero((served > 0) & (prices.worth > 0))
    worth, accepts = prices.worth[rows], model.accepts[rows]
    # Where a kind holds all that the agent may hold, its prices bound what that is worth.
    missing = (~model.fits[rows]).astype(np.float32).T @ accepts.astype(np.float32)
    at_prices = np.where(missing == 0, prices.of_kinds @ model.free.T, np.inf)
    most: Floats = at_prices.min(axis=0) if len(at_prices) else np.full(len(model.piles), np.inf)
    for pile in np.flatnonzero(~np.isfinite(most)).tolist():
        may = accepts[:, pile]
        most[pile] = relaxed(worth[may], model.sizes[rows[may]], model.free[pile]).value if may.any() else 0.0
    for count, whole in zip(wholes, model.wholes, strict=True):
        for index, pile_ in enumerate(model.piles):
            if count and pile_.whole and pile_.slots == whole.slots:
                most[index] = max(most[index], whole.price)
    return most
