"""A pool's last hours as two small drawings, ready for a template: nothing but numbers and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from slotsmith.service.hub import Sample

WIDTH: Final = 640
HEIGHT: Final = 150
_MOST_POINTS: Final = 240
BANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "running": ("running",),
    "starting": ("starting", "pending-request"),
    "ending": ("stopping", "terminating", "stopped"),
    "unknown": ("unknown",),
}
"""How states are drawn, from the bottom to the top."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An area (or a line) as the `points` of SVG."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Shapes over time; `top` is the number at the upper edge, `begin` and `end` are told under it."""

    shapes: tuple[Shape, ...]
    top: int
    begin: str
    end: str


def fleet_chart(samples: Sequence[Sample]) -> Chart | None:
    """Instances by state over time; None while there is too little to draw."""
    kept = _thinned(samples)
    if len(kept) < 2:
        return None
    totals = [sum(sample.counts.values()) for sample in kept]
    top = max(1, *totals)
    below = [0] * len(kept)
    shapes = []
    for name, states in BANDS.items():
        above = [low + sum(s.counts.get(state, 0) for state in states) for low, s in zip(below, kept, strict=True)]
        if above != below:
            edge = [*_line(kept, above, top), *reversed(_line(kept, below, top))]
            shapes.append(Shape(name, " ".join(edge)))
        below = above
    return Chart(tuple(shapes), top, _clock(kept[0].at), _clock(kept[-1].at))


def demand_chart(samples: Sequence[Sample]) -> Chart | None:
    """Slots that pending tasks ask for, over time."""
    kept = _thinned(samples)
    if len(kept) < 2:
        return None
    values = [sample.pending_slots for sample in kept]
    top = max(1, *values)
    edge = [f"0,{HEIGHT}", *_line(kept, values, top), f"{WIDTH},{HEIGHT}"]
    return Chart((Shape("demand", " ".join(edge)),), top, _clock(kept[0].at), _clock(kept[-1].at))


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    step = max(1, -(-len(samples) // _MOST_POINTS))
    # From the end, so that the newest is always there.
    return list(samples)[::-1][::step][::-1]


def _line(samples: Sequence[Sample], values: Sequence[int], top: int) -> list[str]:
    begin, length = samples[0].at, max(1e-9, samples[-1].at - samples[0].at)
    return [
        f"{WIDTH * (sample.at - begin) / length:.1f},{HEIGHT - HEIGHT * value / top:.1f}"
        for sample, value in zip(samples, values, strict=True)
    ]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).astimezone().strftime("%H:%M")
