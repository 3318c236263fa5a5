"""Plans from the linear program over all fillings: solved as far as the budget allows, then made whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Row, cost, held
from slotsmith.core.planning.lp import Generation
from slotsmith.core.planning.prices import Prices
from slotsmith.core.planning.repair import repaired
from slotsmith.core.planning.rounding import dive
from slotsmith.core.planning.shapes import Model
from slotsmith.core.planning.whole import whole_program

# Existing agents of more kinds than this are filled before, and not in, the linear program.
_MOST_PILES: Final = 48
# The last part of the budget is kept for making whole instances of the program's fractions.
_KEPT_FOR_ROUNDING: Final = 0.2
# What a fraction may lack to be rounded up, tried one after the other: which is best differs from case to case.
_ROUNDINGS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
# So near to the bound nothing more is looked for.
_NEAR: Final = 1e-4


@dataclass(frozen=True, slots=True)
class FromColumns:
    """Plans that hold the same as the one to be improved, and a lower bound on the price of that (0 = none)."""

    plans: tuple[list[Row], ...]
    bound: float


def improved_by_columns(
    model: Model, counts: Ints, prices: Prices, rows: list[Row], bound: float, meter: Meter
) -> FromColumns:
    """Search for plans cheaper than `rows`, which hold so many of each item; `bound` is a lower bound that is known."""
    with_piles = len(model.piles) <= _MOST_PILES
    existing: list[Row] = []
    if not with_piles:
        existing = [row for row in rows if row.owner < len(model.piles)]
        counts = counts - held(existing, model.items)
        rows = [row for row in rows if row.owner >= len(model.piles)]
        bound = 0.0
    generation = Generation(model, counts, prices, model.most, with_piles, meter)
    generation.add(rows)
    generation.bound = bound
    search = _Search(model, counts, prices, generation, meter, cost(rows, model))
    search.run()
    return FromColumns(tuple([*existing, *plan] for plan in search.plans), generation.bound if with_piles else 0.0)


class _Search:
    """The program and the plans made of it; `plans` are those that were better than all before them."""

    def __init__(
        self, model: Model, counts: Ints, prices: Prices, generation: Generation, meter: Meter, best: float
    ) -> None:
        self.plans: list[list[Row]] = []
        self._model, self._counts, self._prices = model, counts, prices
        self._generation, self._meter = generation, meter
        self._best = best

    def run(self) -> None:
        kept = self._meter.left * _KEPT_FOR_ROUNDING
        while self._open() and not self._generation.done:
            while self._meter.left > kept and not self._generation.done:
                self._generation.step()
            if self._generation.state is None:
                return
            self._take(self._dive(0.0))
            kept /= 2
        for rounding in _ROUNDINGS:
            if self._open():
                self._take(self._dive(rounding))
        if self._open():
            self._take(whole_program(self._model, self._generation, self._counts, self._best, self._meter))

    def _open(self) -> bool:
        return self._meter.left > 0 and self._best > self._generation.bound * (1 + _NEAR)

    def _dive(self, rounding: float) -> list[Row] | None:
        return dive(self._model, self._generation, self._prices, self._counts, self._meter, rounding)

    def _take(self, rows: list[Row] | None) -> None:
        if rows is None:
            return
        rows = repaired(self._model, rows, self._model.most, self._meter)
        if cost(rows, self._model) < self._best * (1 - 1e-9):
            self._best = cost(rows, self._model)
            self.plans.append(rows)
