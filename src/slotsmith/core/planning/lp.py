"""The linear program over all fillings of instances, by column generation, and the lower bound it proves.

Each column is one filling of one kind of bin (or of an existing agent, at no price); a row for each item asks that
all of it is held, and one for each kind that may be had so many times only limits it. HiGHS solves the program over the
columns known so far; its dual values say what each item is worth, and `knapsack.search` looks for fillings that are
worth more than their price. Where it finds none the program is solved. Before that, the dual values divided by how much
they are exceeded are a bound as well (Farley 1990); they are smoothed towards those of the best bound (Wentges 1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats, Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Pattern, Row
from slotsmith.core.planning.highs import Column, Program
from slotsmith.core.planning.knapsack import search
from slotsmith.core.planning.prices import Prices
from slotsmith.core.planning.quick import Begun, every_filling
from slotsmith.core.planning.shapes import ENDLESS, Model

_SMOOTHING: Final = 0.5
# Fillings from each item as the first one, while the dual values are still wild.
_SEEDED_ROUNDS: Final = 3
_MOST_SEEDS: Final = 200
# Later on, where the search finds nothing: the same again, by more ways to go on, and begun with two items each.
_BEGUN: Final = (
    Begun((0.0, 1.0, 1e6)),
    Begun((0.05, 0.15, 0.3, 0.6, 2.0, 5.0, 20.0)),
    Begun((0.0, 0.3, 1.0, 1e6), pairs=True),
)
_MOST_FILLINGS: Final = 40_000
_LABELS: Final = (600, 2_500, 10_000, 40_000, 160_000)
# To look deeper takes at least so much work for each filling kept.
_DEEPER: Final = 4
_FOUND: Final = 300
_ADDED: Final = 60
_ENOUGH: Final = 150
# A column must be worth this much more than its price, relatively, to be added.
_GAIN: Final = 1e-7
# Numbers from the solver are trusted to about so much; a bound is lowered by it.
_TRUST: Final = 1e-9
SOLVED: Final = 1e-6
"""The program counts as solved when its value is this near to the bound, relatively."""


@dataclass(frozen=True, slots=True)
class Fractional:
    """Where the search stands: the program's `value` over the columns known, how often each is used, and a bound."""

    value: float
    bound: float
    used: Floats
    worth: Floats
    scarcity: Floats


class Generation:
    """Column generation for so many of each item, to be run step by step while the budget lasts."""

    def __init__(self, model: Model, counts: Ints, prices: Prices, most: Ints, piles: bool, meter: Meter) -> None:
        self._model, self._counts, self._meter = model, counts, meter
        self._limits = np.concatenate([model.agents if piles else np.zeros_like(model.agents), most])
        self._prices = np.concatenate([np.zeros(len(model.piles)), model.prices])
        self._rooms = np.vstack([model.free, model.rooms])
        self._fits = np.hstack([model.accepts, model.fits])
        self._owners = [owner for owner in range(len(self._limits)) if self._limits[owner] > 0]
        self._program = Program(counts, self._prices, self._limits)
        self._resized = False
        self._worth = prices.worth
        self._level = 0
        self._reach = np.full(len(self._limits), np.inf)
        self._round = 0
        self.bound = 0.0
        self.done = False
        self.state: Fractional | None = None

    def add(self, rows: list[Row]) -> None:
        """Fillings that are known from elsewhere."""
        self._program.add([(row.owner, row.pattern) for row in rows])

    def relaxation(self, counts: Ints, limits: Ints) -> Floats:
        """How often each of the known columns is used at best when so many of each item, and so many bins, are left."""
        self._program.resize(counts, limits)
        self._resized = True
        _, used, _, _, pivots = self._program.solve()
        self._meter.spend(150 + pivots * (2 + len(self._counts) / 12) + len(self._program.columns) / 4)
        return used

    @property
    def columns(self) -> list[Column]:
        """All known columns: owner and what it holds."""
        return self._program.columns

    @property
    def limits(self) -> Ints:
        """How many bins of each owner there may be."""
        return self._limits

    def step(self) -> None:
        """Solve the program over the columns, and look for better ones."""
        if self._resized:
            self._program.resize(self._counts, self._limits)
            self._resized = False
        value, used, worth, scarcity, pivots = self._program.solve()
        self._meter.spend(150 + pivots * (2 + len(self._counts) / 12) + len(self._program.columns) / 4)
        self.state = Fractional(value, self.bound, used, worth, scarcity)
        if value <= self.bound * (1 + SOLVED):
            self.done = True
            return
        self._round += 1
        smooth = _SMOOTHING * self._worth + (1 - _SMOOTHING) * worth
        if self._round <= _SEEDED_ROUNDS and len(self._counts) <= _MOST_SEEDS:
            found = self._seeded(smooth, worth, scarcity, np.ones(len(self._limits), bool), _BEGUN[0])
            if self._program.add(found):
                return
        if any(self._improve(tried, worth, scarcity) for tried in (smooth, worth)):
            return
        # The search keeps what could come to most, and where much could, it may end with nothing.
        promising = self._reach > 1 + _GAIN
        begun = _BEGUN[min(self._level, len(_BEGUN) - 1)]
        if not self._program.add(self._seeded(worth, worth, scarcity, promising, begun)):
            # Nothing was found: look deeper from now on, and when that was the deepest, it is done.
            self._level += 1
            self.done = self._level == len(_LABELS) or _LABELS[self._level] * _DEEPER > self._meter.left
            self._level = min(self._level, len(_LABELS) - 1)

    def _seeded(self, tried: Floats, worth: Floats, scarcity: Floats, owners: Bools, begun: Begun) -> list[Column]:
        """Fillings of new instances of these owners, begun in every such way, that help at the true worth."""
        piles = len(self._model.piles)
        kinds = np.flatnonzero(owners[piles:] & (self._limits[piles:] > 0))
        begins = len(self._counts) ** (2 if begun.pairs else 1) * len(begun.leanings)
        if not self._meter.left or (begun.pairs and begins * len(kinds) > _MOST_FILLINGS):
            return []
        holders, patterns, work = every_filling(self._model, self._counts, tried, kinds, begun)
        self._meter.spend(work)
        gain = patterns @ worth / (self._prices + scarcity)[holders]
        order = np.argsort(-gain, kind="stable")
        order = order[gain[order] > 1 + _GAIN]
        return _covering(holders[order], patterns[order], 2)

    def _improve(self, tried: Floats, worth: Floats, scarcity: Floats) -> bool:
        """Look for fillings at the worth tried, keep those that help at the true one; whether there are any."""
        bounds = np.zeros(len(self._limits))
        found: list[Column] = []
        for owner in self._turns():
            rows = np.flatnonzero(self._fits[:, owner] & (tried > 0) & (self._counts > 0))
            price = self._prices[owner] + scarcity[owner]
            result = search(
                tried[rows],
                self._model.sizes[rows],
                self._counts[rows],
                self._rooms[owner],
                price,
                labels=_LABELS[self._level],
                most=_FOUND,
                best_only=self._level > 0,
            )
            self._meter.spend(result.work)
            bounds[owner] = result.bound
            self._reach[owner] = result.bound / max(price, _GAIN)
            gain = result.patterns @ worth[rows]
            order = np.argsort(-gain, kind="stable")
            order = order[gain[order] > price * (1 + _GAIN) + _GAIN * 1e-3]
            patterns = np.zeros((len(order), len(self._counts)), np.int64)
            patterns[:, rows] = result.patterns[order]
            found += _covering(np.full(len(order), owner), patterns, 1)[:_ADDED]
            if len(found) > _ENOUGH:
                # So many are enough for now; without a look at the other owners they prove nothing.
                return self._program.add(found) > 0
        self._prove(tried, bounds)
        return self._program.add(found) > 0

    def _turns(self) -> list[int]:
        """The owners, those first whose fillings were worth most for their price the last time."""
        return sorted(self._owners, key=lambda owner: (-self._reach[owner], owner))

    def _prove(self, worth: Floats, bounds: Floats) -> None:
        """The bound at this worth, when nothing that an owner holds is worth more than `bounds` (owners,)."""
        endless = self._limits >= ENDLESS
        exceeded = float((bounds[endless] / self._prices[endless]).max(initial=0.0))
        factor = 1 / exceeded if exceeded > 1 else 1.0
        scarce = np.maximum(0.0, bounds * factor - self._prices)[~endless]
        bound = factor * float(self._counts @ worth) - float(np.minimum(self._limits[~endless], ENDLESS) @ scarce)
        bound *= 1 - _TRUST
        if bound > self.bound:
            self.bound = bound
            self._worth = worth * factor


def _covering(owners: Ints, patterns: Ints, each: int) -> list[Column]:
    """For each item the first patterns that hold it, `each` in number, in their order."""
    wanted: set[int] = set()
    for item in np.flatnonzero(patterns.any(axis=0)).tolist():
        wanted.update(np.flatnonzero(patterns[:, item])[:each].tolist())
    return [(int(owners[row]), _pattern(patterns[row])) for row in sorted(wanted)]


def _pattern(times: Ints) -> Pattern:
    used = np.flatnonzero(times)
    return tuple(zip(used.tolist(), times[used].tolist(), strict=True))
