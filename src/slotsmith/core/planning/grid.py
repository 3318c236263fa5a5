"""Amounts of resources as whole numbers, the same whatever unit memory is told in.

Each kind of resource is counted in parts of the largest amount that any instance has of it. What is asked for is
rounded down and what there is to the nearest: a third of an instance goes into it three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats
from slotsmith.model.resources import Resources

TOO_MUCH: Final = float(1 << 46)
"""No instance has so much; what a task asks beyond it does not matter, and sums of it stay exact."""

_PARTS: Final = float(1 << 40)
# Quotients that ought to be whole miss it by their rounding, which is far less than this.
_ROUNDING: Final = 0.01


class Grid:
    """Columns: slots, cpus, memory, the extras that are asked for, and the number of tasks without slots."""

    def __init__(self, asked: Sequence[Resources], had: Sequence[Resources]) -> None:
        self._extras = tuple(sorted({name for need in asked for name, _ in need.extras}))
        self._largest = self._amounts(had).max(axis=0, initial=0.0)
        amounts = self._amounts(asked)
        self.columns: Final = len(self._extras) + 4
        self._wanted = amounts.any(axis=0) if len(asked) else np.zeros(self.columns - 2, bool)
        self._slots = any(need.slots for need in asked)
        self._zero = not all(need.slots for need in asked)

    def needs(self, asked: Sequence[Resources]) -> Floats:
        """What one task takes of each kind, (tasks, columns)."""
        amounts = self._amounts(asked)
        parts = np.floor(self._shares(amounts, TOO_MUCH) + _ROUNDING)
        parts = np.where(amounts > 0, np.clip(parts, 1.0, TOO_MUCH), 0.0)
        slots = _up_to_too_much([need.slots for need in asked])
        return np.column_stack([slots, parts, slots == 0])

    def rooms(self, had: Sequence[Resources], zero_slot_tasks: Sequence[int | None]) -> Floats:
        """What one instance has of each kind that is asked for, (instances, columns)."""
        amounts = self._amounts(had)
        parts = np.where(self._wanted, np.round(self._shares(amounts, 0.0)), 0.0)
        none = np.zeros(len(had))
        slots = _up_to_too_much([room.slots for room in had]) if self._slots else none
        unlimited = [TOO_MUCH if count is None else count for count in zero_slot_tasks]
        return np.column_stack([slots, parts, _up_to_too_much(unlimited) if self._zero else none])

    def _shares(self, amounts: Floats, otherwise: float) -> Floats:
        full = np.full(amounts.shape, otherwise)
        shares: Floats = np.divide(amounts, self._largest, out=full, where=self._largest > 0) * _PARTS
        return shares

    def _amounts(self, resources: Sequence[Resources]) -> Floats:
        if not self._extras:
            plain = [(each.cpus, each.mem_gib) for each in resources]
        else:
            plain = [
                (each.cpus, each.mem_gib, *(each.extra(name) for name in self._extras))  # type: ignore[misc]
                for each in resources
            ]
        return np.array(plain, float).reshape(len(resources), 2 + len(self._extras))


def _up_to_too_much(amounts: Sequence[float]) -> Floats:
    limited: Floats = np.minimum(np.array(amounts, float), TOO_MUCH)
    return limited


def fit(sizes: Floats, rooms: Floats) -> Bools:
    """Which rows of `sizes` (n, D) fit which rows of `rooms` (m, D), as (n, m)."""
    fits = np.ones((len(sizes), len(rooms)), bool)
    for dimension in range(sizes.shape[1]):
        fits &= sizes[:, dimension, None] <= rooms[None, :, dimension]
    return fits
