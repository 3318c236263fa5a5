"""First fit in falling order of size, within limits: what `core.demand` does, for any number of kinds, kept track of.

With one kind this is the plan of a pool with one offering. With several it is what other plans are measured by, and the
way to serve what still fits when a limit leaves the rest unmet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.filling import Filling, Row, bought, cost
from slotsmith.core.planning.shapes import ENDLESS, Lot, Model

NO_CEILING: Final = float("inf")


class Opening(Enum):
    """Which kind is opened for an item that fits nowhere."""

    BY_UNIT = "least price for each of the item that it holds"
    CHEAPEST = "least price"


class Ceiling:
    """How much more may be launched: instances, slots, dollars per hour, and of each kind."""

    def __init__(self, model: Model) -> None:
        limits = model.problem.limits
        self._model = model
        self.instances = _or_endless(limits.instances_left)
        self.slots = _or_endless(limits.slots_left)
        self.dollars = NO_CEILING if limits.dollars_left is None else limits.dollars_left * (1 + 1e-12)
        self.most = model.most.copy()

    def allows(self, kind: int, at_most: int) -> int:
        """How many of a kind, up to so many, may be launched now."""
        count = min(at_most, self.instances, int(self.most[kind]))
        if self._model.slots[kind]:
            count = min(count, self.slots // int(self._model.slots[kind]))
        if self.dollars < NO_CEILING:
            count = min(count, int(self.dollars / float(self._model.prices[kind])))
        return max(0, count)

    def use(self, kind: int, count: int) -> None:
        self.instances -= count
        self.slots -= count * int(self._model.slots[kind])
        self.dollars -= count * float(self._model.prices[kind])
        self.most[kind] -= count

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether all new instances of these rows may be launched."""
        counts = bought(rows, self._model)
        return (
            int(counts.sum()) <= self.instances
            and int(counts @ self._model.slots) <= self.slots
            and cost(rows, self._model) <= self.dollars
            and bool((counts <= self.most).all())
        )

    def use_rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.owner >= len(self._model.piles):
                self.use(row.owner - len(self._model.piles), row.bins)


def _or_endless(limit: int | None) -> int:
    return ENDLESS if limit is None else limit


class FirstFit:
    """Serves lots one after the other, gangs whole or not at all."""

    def __init__(self, model: Model, rows: Sequence[Row], ceiling: Ceiling, opening: Opening) -> None:
        self._model, self._ceiling = model, ceiling
        self.filling = Filling(model, rows)
        self._known_times: dict[int, Ints] = {}
        self._choose: Callable[[int], Ints] = self._by_unit if opening is Opening.BY_UNIT else self._cheapest

    def serve(self, lot: Lot, count: int) -> int:
        """Give places to up to `count` tasks of a lot of items; returns how many found one."""
        if lot.units > 1:
            count = min(count, self._holds(lot.item, count * lot.units) // lot.units)
        left = count * lot.units
        left -= self.filling.place(lot.item, left)
        for kind in self._choose(lot.item).tolist() if left else ():
            left -= self._open(lot.item, kind, left)
        return count - -(-left // lot.units)

    def _holds(self, item: int, at_most: int) -> int:
        held = self.filling.holds(item, at_most)
        for kind in self._choose(item).tolist():
            # Kinds share the ceiling, so only the first that is allowed is counted: rather too few than too many.
            if held < at_most and (times := self._times(item, kind)):
                allowed = self._ceiling.allows(kind, -(-(at_most - held) // times))
                if allowed:
                    return min(at_most, held + allowed * times)
        return held

    def _open(self, item: int, kind: int, count: int) -> int:
        """Put up to `count` on new instances of a kind; returns how many found a place."""
        times = self._times(item, kind)
        if not times:
            return 0
        allowed = self._ceiling.allows(kind, -(-count // times))
        placed = min(count, allowed * times)
        if placed:
            self._ceiling.use(kind, self.filling.open(item, kind, placed))
        return placed

    def _times(self, item: int, kind: int) -> int:
        return int(self._times_in(item)[kind])

    def _times_in(self, item: int) -> Ints:
        """How many of an item a new instance of each kind holds."""
        if item not in self._known_times:
            size = self._model.sizes[item]
            asked = size > 0
            times = np.floor(self._model.rooms[:, asked] / size[asked]).min(axis=1)
            self._known_times[item] = np.where(self._model.fits[item], times, 0).astype(np.int64)
        return self._known_times[item]

    def _by_unit(self, item: int) -> Ints:
        times = self._times_in(item)
        order = np.argsort(self._model.prices / np.maximum(times, 1), kind="stable")
        kinds: Ints = order[times[order] > 0]
        return kinds

    def _cheapest(self, item: int) -> Ints:
        order = np.argsort(self._model.prices, kind="stable")
        kinds: Ints = order[self._model.fits[item, order]]
        return kinds
