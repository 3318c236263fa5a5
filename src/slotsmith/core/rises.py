"""By how much the demand of a pool rises within one boot delay, learned from what it has done.

Time is divided into cells of a sixteenth of the boot delay. For each cell, once a boot delay has passed, it is known by
how much the demand rose above its level at the end of that cell. Those rises are counted by what could be seen then:
how far the demand had fallen below its recent peak (after a fall the same work often comes back, at a peak it seldom
grows further), and how long ago it rose last (work comes in bursts). Beside that, all rises of the last hours are
counted together: in some pools what happens now says more than what moments like this one were followed by. What is
older counts less. The size of what is kept does not depend on the size of the pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CELLS: Final = 16
"""Cells in one boot delay."""
PEAK_CELLS: Final = 640
"""The recent peak is that of so many cells: 40 boot delays."""
MEMORY: Final = 86400.0
"""Seconds after which a rise counts a factor e less: hours of the day differ, and so do weeks."""
LATELY: Final = 7200.0
"""The same for the rises of the last hours, which are not told apart."""
SINCE_RISE: Final = (0.25, 1.0, 4.0)
"""Boot delays since the demand rose last, that tell one kind of cell from the next."""
_FALLS: Final = 16
_KINDS: Final = _FALLS * (len(SINCE_RISE) + 1)
_EXACT: Final = 64
_PER_DOUBLING: Final = 8
_SIZES: Final = 160
# Newer counts are larger, instead of making all older ones smaller each time; until they would lose precision.
_LARGEST_SCALE: Final = 1e12


@dataclass(frozen=True, slots=True, eq=False)
class Rises:
    """What is known at `at`. `cell`: its length in seconds; `ends`: when the present one ends; `number`: how many have.

    `level` and `peak` are of the present cell; the demand `rose_at` last. `recent` are the level at the end, the peak
    and the kind of the last cells; `peaks` number and peak of those that may yet be the highest of the recent ones.
    `counts`, by kind of cell and size of the rise, are in units of `scale`; `lately`, by size alone, are those of the
    last hours.
    """

    cell: float
    at: float
    ends: float
    level: int
    peak: int
    rose_at: float = -math.inf
    number: int = 0
    recent: tuple[tuple[int, int, int], ...] = ()
    peaks: tuple[tuple[int, int], ...] = ()
    scale: float = 1.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros((_KINDS, _SIZES)))
    lately: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_SIZES))

    @classmethod
    def begin(cls, boot: float, now: float, level: int) -> Rises:
        """Nothing is known yet; `boot` is the boot delay in seconds, `level` the demand."""
        cell = boot / CELLS
        return cls(cell, now, now + cell, level, level)


def observed(rises: Rises, now: float, level: int) -> Rises:
    """The same after the demand has been what it was until `now`, and is `level` from then on."""
    rose_at = now if level > rises.level else rises.rose_at
    if now < rises.ends:
        return replace(rises, at=now, level=level, peak=max(rises.peak, level), rose_at=rose_at)
    passed = 1 + int((now - rises.ends) / rises.cell)
    if passed > PEAK_CELLS:
        # Nobody has looked for so long that what happened meanwhile is not known.
        begun = Rises.begin(rises.cell * CELLS, now, level)
        return replace(begun, number=rises.number, scale=rises.scale, counts=rises.counts, lately=rises.lately)
    counts, scale, growth = rises.counts.copy(), rises.scale, math.exp(rises.cell / MEMORY)
    lately, faded = rises.lately, math.exp(-rises.cell / LATELY)
    recent, peaks, number, peak = list(rises.recent), list(rises.peaks), rises.number, rises.peak
    for passing in range(passed):
        while peaks and peaks[-1][1] <= peak:
            peaks.pop()
        peaks.append((number, peak))
        number += 1
        if peaks[0][0] < number - PEAK_CELLS:
            peaks.pop(0)
        ended = rises.ends + passing * rises.cell
        recent.append((rises.level, peak, _kind(rises, peaks[0][1] - rises.level, ended)))
        scale *= growth
        if len(recent) > CELLS:
            base, _, kind = recent.pop(0)
            size = _size(max(each[1] for each in recent) - base)
            counts[kind, size] += scale
            lately = lately * faded
            lately[size] += 1.0
        peak = rises.level
    if scale > _LARGEST_SCALE:
        counts, scale = counts / scale, 1.0
    ends = rises.ends + passed * rises.cell
    seen = tuple(recent), tuple(peaks), scale, counts, lately
    return Rises(rises.cell, now, ends, level, max(peak, level), rose_at, number, *seen)


def likely(rises: Rises, shares: Sequence[float]) -> list[int]:
    """For each share: by how many slots the demand rises at most in that share of cases like the present one."""
    highest = max(rises.peaks[0][1], rises.peak) if rises.peaks else rises.peak
    return _covering(rises.counts[_kind(rises, highest - rises.level, rises.at)], shares)


def likely_lately(rises: Rises, shares: Sequence[float]) -> list[int]:
    """The same for that share of all cases of the last hours."""
    return _covering(rises.lately, shares)


def _covering(counts: NDArray[np.float64], shares: Sequence[float]) -> list[int]:
    sums = np.cumsum(counts)
    total = float(sums[-1])
    if not total:
        return [0] * len(shares)
    return [_edge(int(size)) for size in np.searchsorted(sums, [share * total for share in shares])]


def to_body(rises: Rises) -> dict[str, Any]:
    """JSON-ready, without what a restart makes worthless: the last cells."""
    counts = rises.counts / rises.scale
    kept = [[kind, size, float(f"{counts[kind, size]:.6g}")] for kind, size in np.argwhere(counts > 0).tolist()]
    lately = [[size, float(f"{rises.lately[size]:.6g}")] for size in np.flatnonzero(rises.lately).tolist()]
    return {"cell": rises.cell, "kinds": _KINDS, "counts": kept, "lately": lately}


def of_body(body: Mapping[str, Any], now: float) -> Rises:
    """The same from what `to_body` made; nothing is asked for until it is observed."""
    if body["kinds"] != _KINDS:
        raise ValueError("rises by other kinds of cells")
    counts = np.zeros((_KINDS, _SIZES))
    for kind, size, count in body["counts"]:
        counts[int(kind), int(size)] = float(count)
    lately = np.zeros(_SIZES)
    for size, count in body["lately"]:
        lately[int(size)] = float(count)
    cell = float(body["cell"])
    if not (cell > 0 and math.isfinite(cell) and np.isfinite(counts).all() and np.isfinite(lately).all()):
        raise ValueError("rises that are not numbers")
    return Rises(cell, now, now + cell, 0, 0, counts=counts, lately=lately)


def _kind(rises: Rises, fallen: int, now: float) -> int:
    """Of a cell that ends now, `fallen` slots below the peak."""
    since = (now - rises.rose_at) / (rises.cell * CELLS)
    return _FALLS * sum(since > limit for limit in SINCE_RISE) + _fall(fallen)


def _fall(slots: int) -> int:
    """Two classes for each doubling: a fall by 100 slots is like one by 120."""
    return 0 if slots <= 0 else min(_FALLS - 1, 1 + int(2 * math.log2(slots)))


def _size(slots: int) -> int:
    if slots <= _EXACT:
        return max(0, slots)
    return min(_SIZES - 1, _EXACT + math.ceil(_PER_DOUBLING * math.log2(slots / _EXACT)))


def _edge(size: int) -> int:
    """The largest rise that is counted there."""
    return _EDGES[min(size, _SIZES - 1)]


_EDGES: Final = [
    size if size <= _EXACT else math.floor(_EXACT * 2 ** ((size - _EXACT) / _PER_DOUBLING)) for size in range(_SIZES)
]
assert all(lower < upper for lower, upper in pairwise(_EDGES)), "sizes grow"
