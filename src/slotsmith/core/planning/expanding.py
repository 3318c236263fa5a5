"""From rows of bins back to offerings, existing agents and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.filling import Row, bought, merged
from slotsmith.core.planning.plan import Filled, Planned
from slotsmith.core.planning.serving import WholePlaces
from slotsmith.core.planning.shapes import Model

_ALL: Final = 1 << 62


class Expander:
    """Gives the items of rows to the lots that they are of, in the order of the lots.

    `numbers` says which number each lot has among the served ones; lots that are not served have none.
    """

    def __init__(self, model: Model, tasks: Ints, numbers: dict[int, int]) -> None:
        self._model, self._numbers = model, numbers
        self._queues: list[list[list[int]]] = [[] for _ in range(model.items)]
        units = (tasks * model.lot_units).tolist()
        for index, (item, count) in enumerate(zip(model.lot_items.tolist(), units, strict=True)):
            if item >= 0 and count:
                self._queues[item].append([numbers[index], count])
        self._parts: dict[int, list[list[int]]] = {}

    def filled(self, rows: Sequence[Row], wholes: WholePlaces) -> tuple[Filled, ...]:
        """What each instance holds, by the served lots. Existing agents are named in the order of their piles."""
        result: list[Filled] = []
        for lot, owner, count in wholes.places:
            result += self._owned(owner, count, ((self._numbers[lot], 1),))
        for row in merged(rows):
            for count, units in self._split(row):
                result += self._owned(row.owner, count, units)
        return tuple(result)

    def _owned(self, owner: int, count: int, units: tuple[tuple[int, int], ...]) -> Iterator[Filled]:
        piles = len(self._model.piles)
        if owner >= piles:
            yield Filled(count, units, self._model.offerings[owner - piles])
            return
        pile = self._model.piles[owner]
        parts = self._parts.setdefault(owner, [[entry, number] for entry, number in reversed(pile.parts)])
        while count:
            entry, left = parts[-1]
            used = min(count, left)
            yield Filled(used, units, pile.offering, entry)
            count -= used
            parts[-1][1] -= used
            if not parts[-1][1]:
                parts.pop()

    def _split(self, row: Row) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
        """The bins of a row, apart where their tasks are of different lots."""
        left = row.bins
        wanted = [(self._queues[item], times) for item, times in row.pattern]
        while left:
            count = min(left, *[queue[0][1] // times for queue, times in wanted])
            if count:
                # An item is not in two lots of one bin here, so no two numbers are the same.
                units = []
                for queue, times in wanted:
                    head = queue[0]
                    head[1] -= times * count
                    units.append((head[0], times))
                    if not head[1]:
                        queue.pop(0)
                units.sort()
                yield count, tuple(units)
            else:
                yield 1, tuple(sorted(part for item, times in row.pattern for part in self._take(item, times)))
            left -= count or 1

    def _take(self, item: int, times: int) -> Iterator[tuple[int, int]]:
        """The lots that the next units of an item are of, with how many of them."""
        queue = self._queues[item]
        while times:
            number, left = queue[0]
            used = min(left, times)
            yield number, used
            queue[0][1] -= used
            times -= used
            if not queue[0][1]:
                queue.pop(0)


def launches(model: Model, rows: Sequence[Row], wholes: WholePlaces) -> list[Planned]:
    """How many instances of each offering are launched, by name."""
    piles = len(model.piles)
    counts = bought(rows, model)
    for _, owner, count in wholes.places:
        if owner >= piles:
            counts[owner - piles] += count
    planned = [Planned(model.offerings[kind], int(counts[kind])) for kind in np.flatnonzero(counts).tolist()]
    return sorted(planned, key=lambda launch: launch.offering.name)
