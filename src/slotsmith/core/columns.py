"""Pending tasks given as columns, one entry per task, counted into classes.

For schedulers that keep millions of tasks in arrays: counting a million takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

_Ints = NDArray[np.int64]
_Array = NDArray[Any]

# Counting takes a counter for each combination that is possible; with more than this, the tasks are sorted instead.
_MOST_COUNTERS: Final = 1 << 22
_MOST_KEYS: Final = 1 << 62
# Amounts on one of these grids (so many to the unit) are numbered without sorting them: whole ones, those with up to
# three decimals, and GiB that are whole MiB.
_GRIDS: Final = (1, 1000, 1024)
_MOST_ON_GRID: Final = 1 << 20


def classes_from_columns(
    slots: ArrayLike,
    *,
    cpus: ArrayLike | None = None,
    mem_gib: ArrayLike | None = None,
    group_codes: ArrayLike | None = None,
    group_names: Sequence[str] = (),
    gang: ArrayLike | None = None,
    spans: ArrayLike | None = None,
) -> tuple[TaskClass, ...]:
    """The tasks counted by what they ask for, in the order of group, gang, slots, cpus, memory and spans.

    All columns are one-dimensional, with one entry per task: `slots` and `gang` whole numbers, `cpus` cores, `mem_gib`
    GiB, `spans` truth values. `group_codes` are positions in `group_names`, -1 = no group. A column that is left out
    means 0 for each task (1 for `gang`, no group for `group_codes`).

    Raises:
        ValueError: a column has another length or type than it should, or an entry is out of range.
    """
    length = np.shape(slots)
    columns = [
        _codes("group_codes", group_codes, length, len(group_names)),
        _whole("gang", gang, length, lowest=1),
        _whole("slots", slots, length, lowest=0),
        _amounts("cpus", cpus, length),
        _amounts("mem_gib", mem_gib, length),
        _truths("spans", spans, length),
    ]
    names: tuple[str | None, ...] = (None, *group_names)
    shapes: dict[tuple[int, float, float], Resources] = {}
    classes = []
    for group, members, slot_count, cpu, mem, spanning, count in _counted(columns):
        shape = (slot_count, cpu, mem)
        asked = shapes.get(shape) or shapes.setdefault(shape, Resources(*shape))
        classes.append(TaskClass(asked, count, members, names[group], spanning))
    return tuple(classes)


class _Numbered(NamedTuple):
    """A column as positions in its sorted values; `codes` None = they are all the first."""

    codes: _Ints | None
    values: _Array


def _whole(name: str, column: ArrayLike | None, shape: tuple[int, ...], *, lowest: int) -> _Numbered:
    """A column of whole numbers of at least `lowest`, which is also what they are when there is no column."""
    array = _checked(name, column, shape, "iu")
    if not array.size:
        return _Numbered(None, np.array([lowest]))
    smallest, largest = int(array.min()), int(array.max())
    if smallest < lowest:
        raise ValueError(f"{name}[{int(array.argmin())}] is {smallest}, expected at least {lowest}")
    if largest < _MOST_ON_GRID:
        return _Numbered(array.astype(np.int64, copy=False), np.arange(largest + 1))
    return _sorted(array)


def _truths(name: str, column: ArrayLike | None, shape: tuple[int, ...]) -> _Numbered:
    """A column of truth values, false when there is no column."""
    array = _checked(name, column, shape, "b")
    return _Numbered(array.astype(np.int64) if array.size else None, np.array([False, True]))


def _codes(name: str, column: ArrayLike | None, shape: tuple[int, ...], groups: int) -> _Numbered:
    """Group codes moved up by one, so that 0 is no group."""
    array = _checked(name, column, shape, "iu").astype(np.int64, copy=False)
    if not array.size:
        return _Numbered(None, np.array([0]))
    if not -1 <= array.min() <= array.max() < groups:
        wrong = int(np.flatnonzero((array < -1) | (array >= groups))[0])
        raise ValueError(f"{name}[{wrong}] is {array[wrong]}, expected -1 to {groups - 1} for {groups} group_names")
    return _Numbered(array + 1, np.arange(groups + 1))


def _amounts(name: str, column: ArrayLike | None, shape: tuple[int, ...]) -> _Numbered:
    """A column of amounts: finite and at least 0."""
    array = _checked(name, column, shape, "iuf").astype(np.float64, copy=False)
    if not array.size:
        return _Numbered(None, np.array([0.0]))
    if not (array.min() >= 0 and array.max() < np.inf):
        wrong = int(np.flatnonzero(~((array >= 0) & (array < np.inf)))[0])
        raise ValueError(f"{name}[{wrong}] is {array[wrong]}, expected a finite number of at least 0")
    for per_unit in _GRIDS:
        top = float(array.max()) * per_unit
        if top >= _MOST_ON_GRID:
            break
        codes = np.rint(array * per_unit)
        if np.array_equal(codes / per_unit, array):
            return _dense(codes.astype(np.int64), np.arange(int(codes.max()) + 1) / per_unit)
    return _sorted(array)


def _dense(codes: _Ints, values: _Array) -> _Numbered:
    """The same with only those values that occur."""
    occurs = np.bincount(codes, minlength=len(values)) > 0
    position = np.cumsum(occurs) - 1
    return _Numbered(position[codes], values[occurs])


def _sorted(array: _Array) -> _Numbered:
    values, codes = np.unique(array, return_inverse=True)
    return _Numbered(codes.astype(np.int64, copy=False), values)


def _checked(name: str, column: ArrayLike | None, shape: tuple[int, ...], kinds: str) -> _Array:
    """The column as an array of one of these kinds of numpy types; an empty one when there is none."""
    if column is None:
        return np.zeros(0, kinds[0])
    array = np.asarray(column)
    if array.ndim != 1 or array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}, expected one entry per task, as slots has: {shape}")
    if array.size and array.dtype.kind not in kinds:
        wanted = {"b": "truth values", "iu": "whole numbers", "iuf": "numbers"}[kinds]
        raise ValueError(f"{name} holds {array.dtype}, expected {wanted}")
    return array


def _counted(columns: Sequence[_Numbered]) -> Iterator[tuple[Any, ...]]:
    """Each combination of values that occurs, and how often it does."""
    given = [(codes, len(values)) for codes, values in columns if codes is not None]
    if not given:
        return iter(())
    sizes = [size for _, size in given]
    if math.prod(sizes) <= _MOST_COUNTERS:
        counters = np.bincount(_keys(given))
        present = np.flatnonzero(counters)
        found, counts = iter(np.unravel_index(present, sizes)), counters[present]
    else:
        _, rows, counts = np.unique(_keys(given), return_index=True, return_counts=True)
        found = iter([codes[rows] for codes, _ in given])
    codes = (np.zeros(len(counts), np.int64) if column.codes is None else next(found) for column in columns)
    values = (column.values[code].tolist() for column, code in zip(columns, codes, strict=True))
    return zip(*values, counts.tolist(), strict=True)


def _keys(given: Sequence[tuple[_Ints, int]]) -> _Ints:
    """One number for the combination of codes that each task has, in the order of the combinations."""
    key, size = given[0]
    for codes, values in given[1:]:
        if size * values > _MOST_KEYS:
            dense, key = np.unique(key, return_inverse=True)
            size = len(dense)
        key = key * values + codes
        size *= values
    return key
