"""The books: paid seconds in the statistics are those of the cloud, as far as they could be known."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import Final

from slotsmith.model.launch import IntentState
from slotsmith.model.record import StatisticsSpan
from slotsmith.providers.simulated import Machine
from slotsmith.simulation.watch import Watch

SLACK: Final = 15.0
"""Seconds for a listing, a pass and a commit that follow one another with nothing in their way."""


def check_books(watch: Watch, *, written_within: float = 0.0) -> None:
    """Compare the two for every machine on record, at the end of a run.

    `written_within`: seconds for which what was seen may wait to be written, and is lost when the program dies.
    """
    lost = written_within if watch.generation > 1 else 0.0
    for machine in watch.cloud.machines.values():
        if machine.id in watch.ledger.records:
            spans = sorted(watch.ledger.spans.get(machine.id, {}).values(), key=lambda span: span.start)
            _check(watch, machine, spans, lost)
        elif machine.id in watch.ledger.spans:
            watch.violated("books", f"{machine.id} has paid time on record, and is not on record itself")


def _check(watch: Watch, machine: Machine, spans: list[StatisticsSpan], lost: float) -> None:
    now = watch.now
    for one, other in pairwise(spans):
        if one.end is None or one.end > other.start + 0.001:
            watch.violated("books", f"{machine.id} is paid for twice at {other.start:.3f}")
    told = sum(span.seconds(now) for span in spans)
    stretches = _stretches(machine, now)
    true = sum(end - start for start, end in stretches)
    # While its state cannot be read, nobody knows whether it is paid for.
    too_much = too_little = SLACK + lost * len(stretches) + watch.ledger.unread.get(machine.id, 0.0)
    for (start, end), (next_start, _) in pairwise([*stretches, (math.inf, math.inf)]):
        seen_at = _seen_at(watch, machine, start, min(next_start, end + _unseen_end(watch, end)))
        too_much += _unseen_end(watch, end)
        if seen_at is None:
            # What was over before anybody saw it at work, nobody could know of.
            too_little += end - start
            continue
        early, late = _start(watch, machine, start, seen_at)
        # A machine that is there may be missing from listings for a window, and end just then.
        window = watch.settings.consistency_window
        too_little += late + min(end - start, _unseen_before(watch, machine, start, end) + window)
        too_much += early
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


def _start(watch: Watch, machine: Machine, start: float, seen_at: float) -> tuple[float, float]:
    """By how much a start on record may be too early and too late, when it was seen at work at `seen_at` first.

    The cloud's clock says when, and is believed as far as it lies between our asking and our seeing the machine.
    """
    log = watch.log.coverage
    if not (log["fault clock_skew"] or log["fault clock_jump"]):
        return 0.0, 0.0
    intent = watch.ledger.intents.get(machine.token)
    if intent is None or intent.state is IntentState.REFUSED:
        # Of what came although it was refused, nothing but the cloud's clock tells since when.
        skew = abs(machine.launched_at - start)
        return skew, max(skew, seen_at - start)
    asked = intent.created_at
    if machine.earlier or start > machine.created_at:
        # What was told of an earlier life, or of the request, is not known any more.
        return start - asked, seen_at - start
    # A program that died before it could write has not seen it.
    told = min(max(machine.launched_at, asked), seen_at)
    return max(0.0, start - told), max(0.0, told - start)


def _unseen_end(watch: Watch, end: float) -> float:
    """For how long after an end it could not be seen.

    It takes a listing that can no longer lag behind, and another one a window later that confirms it; and a disk that
    hangs keeps the program from taking notice.
    """
    window = watch.settings.consistency_window
    # A listing of that very moment may have come first.
    first = bisect_right(watch.listings, end + window)
    since, generation = math.inf, 0
    for index in range(first, len(watch.listings)):
        if watch.told_to[index] != generation:
            # A new generation does not know what the last one has missed.
            since, generation = watch.delivered[index], watch.told_to[index]
        # What an answer lacks may have been lost from sight at any time until it came.
        # Whoever died before it could write what it saw has left nothing of it.
        written = _written(watch, watch.delivered[index], end)
        has_time = watch.died_at.get(generation, math.inf) > written + SLACK
        # A pass takes a listing in a moment after it came, and counts the window from then.
        if has_time and (window == 0 or watch.listings[index] >= since + window + SLACK):
            return written - end
    return _written(watch, watch.now, end) - end


def _written(watch: Watch, seen: float, end: float) -> float:
    """When what was seen of an end can be on record: a disk that hangs or fails keeps it from there."""
    for began, ended in watch.store_troubles:
        if began <= seen + SLACK and ended >= end:
            seen = max(seen, ended)
    return seen


def _unseen_before(watch: Watch, machine: Machine, start: float, end: float) -> float:
    """For how long before an end nobody had looked, as far as whoever found it could know.

    It was there when the look began that did not find it, unless that was the first look of a generation.
    """
    looked, seen = bisect_left(watch.delivered, end), bisect_right(watch.listings, end + _unseen_end(watch, end))
    before = watch.told_to[looked - 1] if looked else -1
    if before == _finder(watch, machine) or all(generation == before for generation in watch.told_to[looked:seen]):
        return max(0.0, end - watch.listings[looked]) if looked < len(watch.listings) else 0.0
    # The generation before may have lived on and told so; what it was told itself is certain, once it is on record.
    alive_at = watch.delivered[looked - 1] if looked else start
    written = bisect_right(watch.ledger.heartbeats, end)
    alive_at = min(alive_at, watch.ledger.heartbeats[written - 1] if written else start)
    finder = _finder(watch, machine)
    heard_until = watch.last_there.get(machine.agent_name, -math.inf)
    # Once there is a listing, agents tell nothing of what it lacks.
    looked_at = next((at for at, told in zip(watch.delivered, watch.told_to, strict=False) if told == finder), math.inf)
    heard_first = watch.there_from.get(machine.agent_name, -math.inf) < looked_at
    if heard_first and heard_until > start and heard_until >= watch.starts[finder - 1]:
        alive_at = max(alive_at, heard_until)
    return max(0.0, end - alive_at)


def _finder(watch: Watch, machine: Machine) -> int:
    """The generation that found it gone: what others had heard before, and not written, died with them."""
    gone_at = watch.ledger.records[machine.id].gone_at
    return bisect_right(watch.starts, watch.now if gone_at is None else gone_at)


def _seen_at(watch: Watch, machine: Machine, start: float, end: float) -> float | None:
    """When it first went on record as at work in this stretch of time; None = it did not."""
    times = watch.ledger.at_work.get(machine.id, [])
    index = bisect_left(times, start)
    return times[index] if index < len(times) and times[index] <= end else None
