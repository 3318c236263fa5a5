"""Local improvement of whole plans: cheaper instances for what they hold, and none that the others could empty."""

from __future__ import annotations

from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Floats, Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Filling, Row, cost, merged, use_of
from slotsmith.core.planning.shapes import ENDLESS, Model

# Rows looked at for being emptied; the least used first, for those are the likeliest.
_MOST_EMPTIED: Final = 24
# Among more rows than this one less saves little, and looking for it takes long.
_FEW_ROWS: Final = 200
_MANY_ROWS: Final = 400
_GAIN: Final = 1e-9


def cheaper(model: Model, rows: list[Row], most: Ints) -> list[Row]:
    """The rows with every new instance of the cheapest kind that holds the same. `most` limits how many of a kind."""
    piles = len(model.piles)
    new = [row for row in rows if row.owner >= piles]
    if not new:
        return rows
    left = most.copy()
    for row in new:
        left[row.owner - piles] -= row.bins
    used = use_of(new, model)
    fits = np.ones((len(new), model.kinds), bool)
    for index in range(used.shape[1]):
        fits &= used[:, index, None] <= model.rooms[None, :, index]
    if not model.anywhere:
        items = np.array([item for row in new for item, _ in row.pattern])
        starts = np.cumsum([0, *(len(row.pattern) for row in new[:-1])])
        fits &= np.logical_and.reduceat(model.fits[items], starts, axis=0)
    order = np.argsort(model.prices, kind="stable")
    result = [row for row in rows if row.owner < piles]
    now_paid = model.prices[[row.owner - piles for row in new]]
    cheapest = np.where(fits, model.prices, np.inf).min(axis=1)
    result += [row for row, saves in zip(new, cheapest < now_paid, strict=True) if not saves]
    for position in np.flatnonzero(cheapest < now_paid).tolist():
        row = new[position]
        now = row.owner - piles
        count = row.bins
        for kind in order[fits[position, order]].tolist():
            if model.prices[kind] >= model.prices[now] or not count:
                break
            moved = min(count, int(left[kind]))
            if moved > 0:
                result.append(Row(piles + kind, row.pattern, moved))
                left[kind] -= moved
                left[now] += moved if left[now] < ENDLESS // 2 else 0
                count -= moved
        if count:
            result.append(row._replace(bins=count))
    return merged(result)


def emptied(model: Model, rows: list[Row], meter: Meter) -> list[Row]:
    """The rows without instances whose contents find room in the others."""
    tries = _MOST_EMPTIED if len(rows) <= _FEW_ROWS else _MOST_EMPTIED // 4
    for _ in range(_MOST_EMPTIED):
        spare = _spare(model, rows)
        used = np.vstack([use_of(rows, model), np.zeros((len(spare), model.sizes.shape[1]))])
        # All bins, to see at a glance whether there is any chance that they hold what lies in one of them.
        bins = [*rows, *spare]
        others = Filling(model, bins, used)
        for place in _by_fullness(model, rows, used)[:tries]:
            meter.spend(60 + len(rows) / 20)
            smaller = _without(model, bins, place, used) if _may_hold(others, rows, place) else None
            if smaller is not None:
                rows = smaller
                break
        else:
            return rows
    return rows


def _may_hold(others: Filling, rows: list[Row], place: int) -> bool:
    """Whether each kind of what one bin of this row holds, by itself, would find room in the others."""
    with others.without_one(place):
        return all(others.holds(item, times) >= times for item, times in rows[place].pattern)


def _spare(model: Model, rows: list[Row]) -> list[Row]:
    """The existing agents that none of these rows are."""
    piles = len(model.piles)
    used = np.zeros(piles, np.int64)
    for row in rows:
        if row.owner < piles:
            used[row.owner] += row.bins
    return [Row(index, (), int(count)) for index, count in enumerate((model.agents - used).tolist()) if count > 0]


def _by_fullness(model: Model, rows: list[Row], used: Floats) -> list[int]:
    """The places of the new instances among the rows, of which this much is used, the least used first."""
    piles = len(model.piles)
    places = np.array([place for place, row in enumerate(rows) if row.owner >= piles], np.int64)
    rooms = model.rooms[[rows[place].owner - piles for place in places.tolist()]]
    shares = np.divide(used[places], rooms, out=np.zeros_like(rooms), where=rooms > 0).max(axis=1, initial=0.0)
    order: list[int] = places[np.lexsort((places, shares))].tolist()
    return order


def _without(model: Model, rows: list[Row], place: int, used: Floats) -> list[Row] | None:
    """The rows with one instance less of the one there, its contents on the others; None = they find no room."""
    taken = rows[place]
    before, after = rows[:place], rows[place + 1 :]
    if taken.bins > 1:
        filling = Filling(model, [*before, taken._replace(bins=taken.bins - 1), *after], used)
    else:
        filling = Filling(model, [*before, *after], np.delete(used, place, axis=0))
    for item, times in taken.pattern:
        if filling.place(item, times) < times:
            return None
    return filling.rows()


def repaired(model: Model, rows: list[Row], most: Ints, meter: Meter) -> list[Row]:
    """The plan after both, if that is cheaper."""
    better = cheaper(model, rows, most)
    if len(rows) <= _MANY_ROWS:
        better = cheaper(model, emptied(model, better, meter), most)
    return better if cost(better, model) < cost(rows, model) * (1 - _GAIN) else rows
