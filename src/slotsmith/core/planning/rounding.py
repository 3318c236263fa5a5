"""From fractions of fillings to whole instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Pattern, Row, cost, merged
from slotsmith.core.planning.lp import Generation
from slotsmith.core.planning.prices import Prices
from slotsmith.core.planning.quick import Style, fill_new
from slotsmith.core.planning.shapes import Model

# A share this near to a whole number is one.
_WHOLE: Final = 1e-6
_MOST_DIVES: Final = 40
# Filling the rest costs more than solving again, and changes little from one stage to the next.
_FILLED_STAGES: Final = (0, 1, 3, 6, 10, 15, 21, 28, 39)
_REST_STYLE: Final = Style(leanings=(0.0, 0.15, 1.0, 1e6), kinds=4, window=64)


def clipped(pattern: Pattern, left: Ints) -> Pattern:
    """As much of the pattern as is left of each item."""
    return tuple((item, min(times, int(left[item]))) for item, times in pattern if left[item] > 0)


def taken(columns: Sequence[tuple[int, Pattern]], times: Ints, left: Ints, limits: Ints) -> list[Row]:
    """Use columns so many times, never for more of an item than is left; `left` and `limits` become what remains."""
    rows: list[Row] = []
    for index in np.flatnonzero(times).tolist():
        owner, whole = columns[index]
        count = min(int(times[index]), int(limits[owner]))
        while count and (pattern := clipped(whole, left)):
            fit = min(count, *(int(left[item]) // used for item, used in pattern))
            rows.append(Row(owner, pattern, fit))
            for item, used in pattern:
                left[item] -= used * fit
            limits[owner] -= fit
            count -= fit
    return rows


def dive(
    model: Model, generation: Generation, prices: Prices, counts: Ints, meter: Meter, rounding: float = 0.0
) -> list[Row] | None:
    """Whole instances from the program's solution; None = they could not hold everything.

    What the solution uses at least once is taken, the program is solved again for what remains, and so on; where
    nothing is used once, the most used column is. A column that lacks no more than `rounding` to a whole number is used
    once more. At some stages the rest is also filled by the quick plan, for near the end that is often better; the
    cheapest of all these plans is the result.
    """
    state = generation.state
    assert state is not None
    left, limits = counts.copy(), generation.limits.copy()
    guided = Prices(state.worth, prices.of_kinds, prices.scarcity)
    piles = len(model.piles)
    fixed: list[Row] = []
    best: tuple[float, list[Row]] | None = None
    used = state.used
    for stage in range(_MOST_DIVES):
        whole = np.floor(used + max(rounding, _WHOLE)).astype(np.int64)
        if not whole.any():
            if not used.any():
                break
            whole[int(used.argmax())] = 1
        rows = taken(generation.columns, whole, left, limits)
        if not rows:
            break
        fixed += rows
        rest = _rest(model, left, guided, limits[piles:], meter) if stage in _FILLED_STAGES or not left.any() else None
        if rest is not None:
            total = cost(fixed, model) + cost(rest, model)
            if best is None or total < best[0]:
                best = (total, fixed + rest)
        if not left.any() or not meter.left:
            break
        used = generation.relaxation(left, limits)
    return merged(best[1]) if best else None


def _rest(model: Model, left: Ints, prices: Prices, most: Ints, meter: Meter) -> list[Row] | None:
    if not left.any():
        return []
    rows, missing = fill_new(model, left, prices, most, meter, _REST_STYLE)
    return None if missing.any() else rows
