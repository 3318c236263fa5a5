"""Better plans where there are many of each of many different tasks: the best of what several quick plans are made of.

The linear program over all fillings takes long to solve for many hundreds of items. Over those alone that some quick
plans use it does not, by an interior-point method, and its solution is cheaper than each of these plans; used whole
where it can be, with the rest filled as quick plans are, it stays so. Its dual values say which items were dear to
hold, and the next quick plan looks after those first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Row
from slotsmith.core.planning.highs import Program, Solved
from slotsmith.core.planning.prices import Prices
from slotsmith.core.planning.quick import STYLES, adapted, fill_new
from slotsmith.core.planning.rounding import taken
from slotsmith.core.planning.shapes import Model

_MOST_TURNS: Final = 40
# How far the worth of the items follows the program's; the fillings known say little of what others would cost.
_FOLLOWED: Final = 0.5
_WHOLE: Final = 1e-6
# The work of an interior-point solution, by rows and columns.
_ROWS: Final = 1.2
_COLUMNS: Final = 30.0


def improve_by_pool(
    model: Model, counts: Ints, prices: Prices, rows: list[Row], meter: Meter, consider: Callable[[list[Row]], bool]
) -> None:
    """Hand plans of new instances that hold so many of each item to `consider`, which says whether to go on.

    `rows` are those of a plan that is known. Ends when the budget does, or when a plan leaves something out.
    """
    pool = _Pool(model, counts, prices, meter)
    pool.add(rows)
    # One plan's fillings alone leave nothing to choose, but say which items were dear in it.
    solved = pool.solved()
    guided = pool.followed(solved) if solved else prices
    for _ in range(_MOST_TURNS):
        before = meter.done
        rows, missing = fill_new(model, counts, adapted(model, guided, rows), model.most, meter, STYLES[0])
        if missing.any() or not consider(rows):
            return
        pool.add(rows)
        solved = pool.solved()
        if solved is not None:
            guided = pool.followed(solved)
            found = pool.rounded(solved, guided)
            if found is not None and not consider(found):
                return
        # A turn that could not be ended within the budget is not begun.
        if meter.left <= meter.done - before:
            return


class _Pool:
    """The fillings of the plans so far, and the program over them."""

    def __init__(self, model: Model, counts: Ints, prices: Prices, meter: Meter) -> None:
        self._model, self._counts, self._prices, self._meter = model, counts, prices, meter
        self._limits = np.concatenate([np.zeros_like(model.agents), model.most])
        self._program = Program(counts, np.concatenate([np.zeros(len(model.piles)), model.prices]), self._limits)

    def add(self, rows: list[Row]) -> None:
        self._program.add([(row.owner, row.pattern) for row in rows])

    def solved(self) -> Solved | None:
        """The program's solution; None when the solver comes to none."""
        self._meter.spend(_ROWS * len(self._counts) ** 1.5 + _COLUMNS * len(self._program.columns))
        return self._program.solve_inside()

    def rounded(self, solved: Solved, guided: Prices) -> list[Row] | None:
        """Whole instances: what is used once at least, and the rest as in a quick plan; None = not all finds room."""
        left, limits = self._counts.copy(), self._limits.copy()
        fixed = taken(self._program.columns, np.floor(solved.used + _WHOLE).astype(np.int64), left, limits)
        rest, missing = fill_new(self._model, left, guided, limits[len(self._model.piles) :], self._meter, STYLES[0])
        return None if missing.any() else fixed + rest

    def followed(self, solved: Solved) -> Prices:
        return replace(self._prices, worth=(1 - _FOLLOWED) * self._prices.worth + _FOLLOWED * solved.worth)
