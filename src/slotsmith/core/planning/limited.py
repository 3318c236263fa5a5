"""Plans within a pool's limits: other instances if that is enough, and otherwise fewer tasks, the largest first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Floats, Ints
from slotsmith.core.planning.filling import Row
from slotsmith.core.planning.firstfit import Ceiling, FirstFit, Opening
from slotsmith.core.planning.serving import counted, item_counts, trimmed
from slotsmith.core.planning.shapes import Model

# What an instance or a slot is reckoned to cost beyond its price, in median prices, until the limits are kept.
_PENALTIES: Final = (0.3, 1.0, 5.0, 100.0)
# The number of tasks is found this finely, as a share of them all; what else finds room is added one by one.
_FINENESS: Final = 64
# Sums of amounts must not make a full instance look too small.
_EXACT: Final = 1 + 1e-9

Packs = Callable[[Model, Ints], tuple[list[Row], Ints]]
"""Plans so many of each item without a look at the limits: rows, and what is left of each."""


def within(model: Model, tasks: Ints, ceiling: Callable[[], Ceiling], pack: Packs) -> tuple[list[Row], Ints]:
    """Rows that keep the limits, and how many tasks of each lot they serve.

    First the same tasks on other instances; when no plan for all of them keeps the limits, as many of the largest as
    do, and then of what is left whatever still finds room.
    """
    at_most = _at_most(model, ceiling())
    # Other instances are tried only where as many of the largest would have the room.
    enough = bool((item_counts(model, tasks) @ model.sizes <= at_most).all())
    for priced in _repriced(model) if enough else ():
        rows, left = pack(priced, item_counts(model, tasks))
        if not left.any() and ceiling().holds(rows):
            return rows, tasks
    best: tuple[tuple[int, ...], list[Row], Ints] | None = None
    for priced in _extremes(model):
        rows, served = _longest(priced, tasks, ceiling, pack, at_most)
        rows, served = _topped_up(model, tasks, rows, served, ceiling())
        rank = tuple(served.tolist())
        if best is None or rank > best[0]:
            best = (rank, rows, served)
    assert best is not None
    return best[1], best[2]


def _at_most(model: Model, ceiling: Ceiling) -> Floats:
    """No plan within the limit on instances holds more of each dimension."""
    existing: Floats = model.agents @ model.free if len(model.piles) else np.zeros(model.sizes.shape[1])
    if not model.kinds:
        return existing * _EXACT
    most = min(float(ceiling.instances), float(model.most.astype(np.float64).sum()))
    new: Floats = most * model.rooms.max(axis=0)
    return (existing + new) * _EXACT


def _repriced(model: Model) -> Iterator[Model]:
    """The model with prices that make instances, and where slots are limited also slots, ever dearer."""
    limits = model.problem.limits
    if not model.kinds:
        return
    typical = float(np.median(model.prices))
    for penalty in _PENALTIES:
        if limits.max_instances is not None:
            yield replace(model, prices=model.prices + penalty * typical)
        if limits.max_slots is not None:
            slots = model.slots / max(1.0, float(np.median(model.slots)))
            yield replace(model, prices=model.prices + penalty * typical * slots)


def _extremes(model: Model) -> Iterator[Model]:
    """Money alone, instances alone, slots alone: what binds is not known beforehand."""
    limits = model.problem.limits
    scarce = limits.max_dollars_per_hour is not None or not limits.any_maximum
    if scarce or not model.kinds:
        yield model
    if not model.kinds:
        return
    typical = float(np.median(model.prices))
    if limits.max_instances is not None:
        yield replace(model, prices=model.prices + _PENALTIES[-1] * typical)
    if limits.max_slots is not None:
        yield replace(model, prices=model.prices + _PENALTIES[-1] * typical * model.slots)


def _longest(
    model: Model, tasks: Ints, ceiling: Callable[[], Ceiling], pack: Packs, at_most: Floats
) -> tuple[list[Row], Ints]:
    """The most tasks in the order of the lots whose plan keeps the limits, found by halving."""
    order = np.cumsum(tasks)
    total = int(order[-1]) if len(order) else 0
    best: tuple[list[Row], Ints] = ([], np.zeros_like(tasks))

    def first(count: int) -> Ints:
        part: Ints = np.clip(count - (order - tasks), 0, tasks)
        return part

    # What cannot be held for want of room is known without a plan.
    low, high = 0, bisect_right(range(1, total + 1), 0, key=lambda count: _exceeds(model, first(count), at_most))
    fineness = max(1, high // _FINENESS)
    while high - low >= fineness and high > low:
        middle = (low + high + 1) // 2
        part = first(middle)
        rows, left = pack(model, item_counts(model, part))
        if not left.any() and ceiling().holds(rows):
            low, best = middle, (rows, part)
        else:
            high = middle - 1
    return best


def _exceeds(model: Model, tasks: Ints, at_most: Floats) -> bool:
    return bool((item_counts(model, tasks) @ model.sizes > at_most).any())


def _topped_up(model: Model, tasks: Ints, rows: list[Row], served: Ints, ceiling: Ceiling) -> tuple[list[Row], Ints]:
    """Whatever still finds room, in the instances there are or in more of them, largest first."""
    ceiling.use_rows(rows)
    piles = len(model.piles)
    used = np.zeros(piles, np.int64)
    for row in rows:
        if row.owner < piles:
            used[row.owner] += row.bins
    spare = [Row(index, (), int(count)) for index, count in enumerate((model.agents - used).tolist()) if count > 0]
    fit = FirstFit(model, [*rows, *spare], ceiling, Opening.BY_UNIT)
    total = served.copy()
    for index, lot in enumerate(model.lots):
        missing = int(tasks[index] - served[index])
        if lot.item >= 0 and missing:
            total[index] += fit.serve(lot, missing)
    return settled(model, total, fit.filling.rows())


def settled(model: Model, tasks: Ints, rows: list[Row]) -> tuple[list[Row], Ints]:
    """Rows that hold exactly what whole tasks ask for, and how many tasks of each lot that are."""
    placed = np.zeros(model.items, np.int64)
    for row in rows:
        for item, times in row.pattern:
            placed[item] += times * row.bins
    served = counted(model, tasks, placed)
    excess = placed - item_counts(model, served)
    return (trimmed(rows, excess) if excess.any() else rows), served
