"""The program over the known fillings in whole numbers, by HiGHS's branch and cut."""

from __future__ import annotations

from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Row, merged
from slotsmith.core.planning.highs import Program
from slotsmith.core.planning.lp import Generation
from slotsmith.core.planning.rounding import taken
from slotsmith.core.planning.shapes import Model

# The work of the root node, with its cuts and heuristics, by the number of entries; and of each node after it.
_ROOT: Final = (250_000, 40)
_NODE: Final = (4_000, 0.3)
_MOST_NODES: Final = 3_000
_HALF: Final = 0.5


def whole_program(model: Model, generation: Generation, counts: Ints, best: float, meter: Meter) -> list[Row] | None:
    """Rows that cost less than `best`; None = the known fillings make none, or no work is left to look for them.

    A filling whose reduced cost is more than `best` lies above the program's value is in no such plan.
    """
    state = generation.state
    assert state is not None
    piles = len(model.piles)
    prices = np.concatenate([np.zeros(piles), model.prices])
    scarcity = state.scarcity
    reduced = [
        prices[owner] + scarcity[owner] - sum(times * state.worth[item] for item, times in pattern)
        for owner, pattern in generation.columns
    ]
    kept = np.flatnonzero(np.array(reduced) <= best - state.value + 1e-9)
    columns = [generation.columns[index] for index in kept.tolist()]
    entries = len(counts) * len(columns)
    root = _ROOT[0] + _ROOT[1] * entries
    node = int(_NODE[0] + _NODE[1] * entries)
    if meter.left < root or not columns:
        return None
    nodes = min(_MOST_NODES, 1 + (meter.left - root) // node)
    meter.spend(root + (nodes if nodes < _MOST_NODES else 0) * node)
    program = Program(counts, prices, generation.limits)
    program.add(columns)
    used = program.solve_whole(best, nodes)
    if used is None:
        return None
    left = counts.copy()
    rows = taken(columns, np.floor(used + _HALF).astype(np.int64), left, generation.limits.copy())
    return None if left.any() else merged(rows)
