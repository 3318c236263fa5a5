"""The program over fillings as HiGHS solves it: all that is said to the solver is said here.

A column is a filling of one bin of an owner, at its price. A row for each item asks that all of it is held, and a row
for each owner of which there are only so many bins limits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import highspy
import numpy as np

from slotsmith.core.planning.arrays import Floats, Ints
from slotsmith.core.planning.filling import Pattern
from slotsmith.core.planning.shapes import ENDLESS

Column = tuple[int, Pattern]
"""An owner and what one bin of it holds."""

# What is not held costs so many times the highest price for each, so that there is a solution at any time.
_MISSING: Final = 10.0
# One thread and one seed: the answer must be the same on every run.
_OPTIONS: Final = (("threads", 1), ("presolve", "off"), ("random_seed", 0))
_GAP: Final = 1e-5


class Solved(NamedTuple):
    """`value` of the program, `used` how often each column is, `worth` of one more of each item (n,), `scarcity` of
    each owner, what one more bin of it would save; `pivots` is how many iterations that took."""

    value: float
    used: Floats
    worth: Floats
    scarcity: Floats
    pivots: int


class _Silent(highspy.Highs):
    """The solver without a word on standard output, where it would upset what reads a command's result."""

    def enableCallbacks(self) -> None:  # noqa: N802 - the name is theirs
        # The constructor calls this last, and this is what writes the solver's banner unless told not to.
        self.silent()
        super().enableCallbacks()


class Program:
    """`counts` (n,) of each item, `prices` and `limits` of each owner; columns are added as they are found."""

    def __init__(self, counts: Ints, prices: Floats, limits: Ints) -> None:
        self.columns: list[Column] = []
        self._known: set[Column] = set()
        self._prices, self._items = prices, len(counts)
        limited = np.flatnonzero(limits < ENDLESS)
        self._row_of = {owner: len(counts) + index for index, owner in enumerate(limited.tolist())}
        self._highs = _Silent()
        self._highs.silent()
        for option, value in _OPTIONS:
            self._highs.setOptionValue(option, value)
        endless = highspy.kHighsInf
        for count in counts.tolist():
            self._highs.addRow(float(count), endless, 0, np.zeros(0, np.int32), np.zeros(0))
        for limit in limits[limited].tolist():
            self._highs.addRow(-endless, float(limit), 0, np.zeros(0, np.int32), np.zeros(0))
        missing = _MISSING * float(prices.max(initial=1.0))
        each = np.arange(len(counts))
        self._add(np.full(len(counts), missing), each, each, np.ones(len(counts)))

    def _add(self, costs: Floats, starts: Ints, index: Ints, values: Floats) -> None:
        count = len(costs)
        endless = np.full(count, highspy.kHighsInf)
        starts, index = starts.astype(np.int32), index.astype(np.int32)
        self._highs.addCols(count, costs, np.zeros(count), endless, len(index), starts, index, values)

    def add(self, found: Sequence[Column]) -> int:
        """Add the columns that are not known yet; returns how many."""
        fresh = [column for column in dict.fromkeys(found) if column not in self._known]
        if not fresh:
            return 0
        starts: list[int] = []
        index: list[int] = []
        values: list[float] = []
        for owner, pattern in fresh:
            starts.append(len(index))
            index += [item for item, _ in pattern]
            values += [float(times) for _, times in pattern]
            if owner in self._row_of:
                index.append(self._row_of[owner])
                values.append(1.0)
        costs = self._prices[[owner for owner, _ in fresh]]
        self._add(costs, np.array(starts), np.array(index), np.array(values))
        self.columns += fresh
        self._known.update(fresh)
        return len(fresh)

    def resize(self, counts: Ints, limits: Ints) -> None:
        """Ask for so many of each item from now on, of so many bins of each owner."""
        for row, count in enumerate(counts.tolist()):
            self._highs.changeRowBounds(row, float(count), highspy.kHighsInf)
        for owner, row in self._row_of.items():
            self._highs.changeRowBounds(row, -highspy.kHighsInf, float(limits[owner]))

    def solve(self) -> Solved:
        """Solve the program in fractions."""
        self._highs.run()
        solution, info = self._highs.getSolution(), self._highs.getInfo()
        duals = np.array(solution.row_dual)
        scarcity = np.zeros(len(self._prices))
        for owner, row in self._row_of.items():
            scarcity[owner] = max(0.0, -duals[row])
        used = np.array(solution.col_value)[self._items :]
        worth = np.maximum(duals[: self._items], 0.0)
        pivots = max(0, int(info.simplex_iteration_count))
        return Solved(float(info.objective_function_value), used, worth, scarcity, pivots)

    def solve_inside(self) -> Solved | None:
        """Solve it by an interior-point method: near enough, and much sooner where there are many hundreds of rows.

        None = the solver came to no solution.
        """
        for option, value in (("solver", "ipm"), ("run_crossover", "off")):
            self._highs.setOptionValue(option, value)
        solved = self.solve()
        for option, value in (("solver", "choose"), ("run_crossover", "on")):
            self._highs.setOptionValue(option, value)
        return solved if self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal else None

    def solve_whole(self, below: float, nodes: int) -> Floats | None:
        """How often each column is used in whole numbers, for less than `below`; None = not found in so many nodes."""
        columns = np.arange(self._items + len(self.columns), dtype=np.int32)
        self._highs.changeColsIntegrality(len(columns), columns, np.full(len(columns), highspy.HighsVarType.kInteger))
        for option, value in (("mip_rel_gap", _GAP), ("mip_max_nodes", nodes), ("objective_bound", below)):
            self._highs.setOptionValue(option, value)
        self._highs.run()
        if self._highs.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        return np.array(self._highs.getSolution().col_value)[self._items :]
