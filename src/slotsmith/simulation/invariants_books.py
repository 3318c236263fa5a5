"""The books: paid seconds in the statistics are those of the cloud, as far as they could be known."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from typing import Final

from slotsmith.model.record import StatisticsSpan
from slotsmith.providers.simulated import Machine
from slotsmith.simulation.watch import Watch

SLACK: Final = 15.0
"""Seconds for a listing, a pass and a commit that follow one another with nothing in their way."""


def check_books(watch: Watch) -> None:
    """Compare the two for every machine on record, at the end of a run."""
    for machine in watch.cloud.machines.values():
        if machine.id in watch.ledger.records:
            _check(watch, machine, sorted(watch.ledger.spans.get(machine.id, {}).values(), key=lambda s: s.start))
        elif machine.id in watch.ledger.spans:
            watch.violated("books", f"{machine.id} has paid time on record, and is not on record itself")


def _check(watch: Watch, machine: Machine, spans: list[StatisticsSpan]) -> None:
    now = watch.now
    for one, other in pairwise(spans):
        if one.end is None or one.end > other.start + 0.001:
            watch.violated("books", f"{machine.id} is paid for twice at {other.start:.3f}")
    told = sum(span.seconds(now) for span in spans)
    stretches = _stretches(machine, now)
    true = sum(end - start for start, end in stretches)
    # While its state cannot be read, nobody knows whether it is paid for.
    unread = watch.ledger.unread.get(machine.id, 0.0)
    too_much = SLACK + unread + sum(_unseen_end(watch, end) for _, end in stretches)
    # A machine that is there may be missing from listings for a window, and end just then.
    window = watch.settings.consistency_window
    too_little = SLACK + unread + sum(_unseen_before(watch, end) + window for _, end in stretches)
    if stretches:
        early, late = _start(watch, machine, stretches)
        too_much, too_little = too_much + early, too_little + late
    # What was over before anybody saw it at work, nobody could know of.
    too_little += sum(end - start for start, end in stretches if not _was_seen(watch, machine, start, end))
    if told > true + too_much or told < true - too_little:
        watch.violated(
            "books",
            f"{machine.id} was paid for {true:.1f} s, on record are {told:.1f} s "
            f"(may be {too_little:.1f} less or {too_much:.1f} more)",
        )


def _stretches(machine: Machine, now: float) -> list[tuple[float, float]]:
    stretches = list(machine.earlier)
    if machine.paid_from is not None:
        stretches.append((machine.paid_from, now if machine.paid_until is None else machine.paid_until))
    return stretches


def _start(watch: Watch, machine: Machine, stretches: list[tuple[float, float]]) -> tuple[float, float]:
    """By how much the first start on record may be too early, and by how much all of them may be too late.

    The cloud's clock says when, and is believed as far as it lies between our asking and our seeing the machine.
    """
    intent, first = watch.ledger.intents.get(machine.token), stretches[0][0]
    skew = abs(machine.launched_at - stretches[-1][0])
    asked = 0.0 if intent is None else max(0.0, first - intent.created_at)
    if intent is None or len(stretches) > 1 or first > machine.created_at:
        return asked + skew, asked + skew
    told = min(max(machine.launched_at, intent.created_at), watch.first_told.get(machine.id, watch.now))
    return max(0.0, first - told), max(0.0, told - first)


def _unseen_end(watch: Watch, end: float) -> float:
    """For how long after an end it could not be seen.

    It takes a listing that can no longer lag behind, and another one a window later that confirms it; and a disk that
    hangs keeps the program from taking notice.
    """
    window = watch.settings.consistency_window
    first = bisect_left(watch.listings, end + window)
    seen, since, generation = watch.now, math.inf, 0
    for index in range(first, len(watch.listings)):
        if watch.told_to[index] != generation:
            # A new generation does not know what the last one has missed.
            since, generation = watch.listings[index], watch.told_to[index]
        if watch.listings[index] >= since + window:
            seen = watch.delivered[index]
            break
    for began, ended in watch.store_troubles:
        if began <= seen + SLACK and ended >= end:
            seen = max(seen, ended)
    return seen - end


def _unseen_before(watch: Watch, end: float) -> float:
    """For how long before an end nobody had looked: what vanished unseen ends with the last sign of life."""
    index = bisect_left(watch.ledger.heartbeats, end)
    return end - watch.ledger.heartbeats[index - 1] if index else end


def _was_seen(watch: Watch, machine: Machine, start: float, end: float) -> bool:
    """Whether it went on record as at work for this stretch of time."""
    times = watch.ledger.at_work.get(machine.id, [])
    index = bisect_left(times, start)
    return index < len(times) and times[index] <= end + _unseen_end(watch, end)
