"""What instances were paid for, by period: seconds, slot-seconds and dollars."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from slotsmith.model.record import StatisticsSpan

Period = Literal["hour", "day", "month"]
MOST_PERIODS: Final = 5000


@dataclass(frozen=True, slots=True)
class Paid:
    """One period of one pool. `dollars` are of what has a known price; the rest is `unpriced_seconds`."""

    pool: str
    start: float
    end: float
    instances: int
    instance_seconds: float
    slot_seconds: float
    dollars: float
    unpriced_seconds: float


def periods(start: float, end: float, period: Period) -> list[tuple[float, float]]:
    """The periods (UTC) that overlap [start, end), cut to it.

    Raises:
        ValueError: they are too many.
    """
    found: list[tuple[float, float]] = []
    at = start
    while at < end:
        following = min(end, _next(at, period))
        found.append((at, following))
        at = following
        if len(found) > MOST_PERIODS:
            raise ValueError(f"more than {MOST_PERIODS:,} periods: ask for longer ones, or for less time")
    return found


def _next(at: float, period: Period) -> float:
    moment = datetime.fromtimestamp(at, UTC)
    if period == "month":
        first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (first + timedelta(days=32)).replace(day=1).timestamp()
    start = moment.replace(minute=0, second=0, microsecond=0)
    start = start if period == "hour" else start.replace(hour=0)
    return (start + timedelta(hours=1 if period == "hour" else 24)).timestamp()


def paid(pool: str, spans: Iterable[StatisticsSpan], cut: Sequence[tuple[float, float]], now: float) -> list[Paid]:
    """Each of the periods, from all spans that overlap them."""
    known = [(span, min(now, span.end if span.end is not None else now)) for span in spans]
    return [_paid(pool, known, start, end) for start, end in cut]


def _paid(pool: str, spans: Sequence[tuple[StatisticsSpan, float]], start: float, end: float) -> Paid:
    seconds = slots = dollars = unpriced = 0.0
    ids: set[str] = set()
    for span, until in spans:
        length = min(end, until) - max(start, span.start)
        if length <= 0:
            continue
        ids.add(span.instance_id)
        seconds += length
        slots += length * span.slots
        if span.price is None:
            unpriced += length
        else:
            dollars += length * span.price / 3600.0
    return Paid(pool, start, end, len(ids), round(seconds, 3), round(slots, 3), round(dollars, 6), round(unpriced, 3))


def as_csv(rows: Iterable[Paid]) -> str:
    """The same as a table; times are UTC."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = [name for name in Paid.__dataclass_fields__ if name not in ("start", "end")]
    table.writerow(["pool", "start", "end", *names[1:]])
    for row in rows:
        values = asdict(row)
        moments = [datetime.fromtimestamp(values[key], UTC).isoformat() for key in ("start", "end")]
        table.writerow([row.pool, *moments, *(values[name] for name in names[1:])])
    return out.getvalue()
