"""Fleets that are only reckoned: what a pool would cost, and let wait, if it held its spare in another way.

Each follows the same demand, in whole instances, as the pool sees it. An instance that a shadow launches is ready one
boot delay later, and one that has been idle for the shadow's period goes. Which of its idle agents get work is taken as
the scheduler's chance: work takes the same share of those that have been idle for long and of those that have not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

_EMPTY: Final = 1e-9


class Moment(NamedTuple):
    """What a shadow meets: `needed` instances at `now`, within `least` and `most`; the boot delay in seconds.

    `rise`: new work has come. `kept`: which part of the figures so far still counts. `patience`: a task that waits for
    longer, in seconds, is late.
    """

    now: float
    needed: int
    least: int
    most: int
    boot: float
    rise: bool
    kept: float
    patience: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """One such fleet, and what it has cost and brought; what is older counts less.

    `ready` instances have booted; `booting` are (when ready, how many), `idle` are (since when, how many), earliest
    first. `cost` is in instance-seconds, `waited` in seconds of all `rises` together, `late` of which were late;
    `held_up` is their waiting times the instances each of them needed, in instance-seconds.
    """

    at: float
    ready: int = 0
    booting: tuple[tuple[float, int], ...] = ()
    idle: tuple[tuple[float, float], ...] = ()
    needed: int = 0
    cost: float = 0.0
    waited: float = 0.0
    late: float = 0.0
    rises: float = 0.0
    held_up: float = 0.0

    @property
    def there(self) -> int:
        """All that is paid for."""
        return self.ready + sum(count for _, count in self.booting)


NO_SHADOW: Final = Shadow(0.0)
"""Of nothing, at no time."""


def followed(shadow: Shadow, moment: Moment, spare: int, period: float) -> Shadow:
    """The shadow at that moment, when it is to hold `spare` instances beyond what is needed, and idle ones `period`."""
    now, needed, kept = moment.now, moment.needed, moment.kept
    booting, idle, ready, there = shadow.booting, list(shadow.idle), shadow.ready, shadow.there
    cost = shadow.cost * kept + there * max(0.0, now - shadow.at)
    while booting and booting[0][0] <= now:
        (at, count), booting = booting[0], booting[1:]
        ready += count
        free = min(count, ready - shadow.needed)
        if free > 0:
            _add(idle, at, float(free), period)
    waited, late, held_up = shadow.waited * kept, shadow.late * kept, shadow.held_up * kept
    if moment.rise and needed > shadow.needed and needed > ready:
        wait = _until_there(booting, needed - ready, moment)
        waited, late = waited + wait, late + (wait > moment.patience)
        held_up += wait * (needed - shadow.needed)
    _settle(idle, max(0, ready - needed), now, period)
    floor = max(needed + spare, moment.least)
    lacking = min(floor, moment.most) - there
    if lacking > 0:
        booting = (*booting, (now + moment.boot, lacking))
    elif lacking < 0:
        ready -= _give_up(idle, min(there - floor, max(0, ready - needed)), now - period)
    rises = shadow.rises * kept + moment.rise
    return Shadow(now, ready, booting, tuple(idle), needed, cost, waited, late, rises, held_up)


def _until_there(booting: tuple[tuple[float, int], ...], lacking: int, moment: Moment) -> float:
    """In how many seconds so many more instances are ready."""
    for at, count in booting:
        lacking -= count
        if lacking <= 0:
            return at - moment.now
    return moment.boot


def _settle(idle: list[tuple[float, float]], free: int, now: float, period: float) -> None:
    """So many are idle now: work took some, of each age its share, or left some."""
    before = sum(count for _, count in idle)
    if free > before + _EMPTY:
        _add(idle, now, free - before, period)
    elif free < before - _EMPTY:
        share = free / before
        idle[:] = [(since, count * share) for since, count in idle] if free else []


def _add(idle: list[tuple[float, float]], since: float, count: float, period: float) -> None:
    # Those of about the same age are one entry, so that a large fleet has no longer list than a small one.
    if idle and since - idle[-1][0] < period / 16:
        idle[-1] = (idle[-1][0], idle[-1][1] + count)
    else:
        idle.append((since, count))


def _give_up(idle: list[tuple[float, float]], most: int, before: float) -> int:
    """Let go of those that have been idle since before that time, whole ones, longest first; how many."""
    old = sum(count for since, count in idle if since <= before)
    gone = min(most, int(old + 0.5))
    left = float(max(0, gone))
    while idle and left > _EMPTY:
        since, count = idle[0]
        if count > left + _EMPTY:
            idle[0] = (since, count - left)
            break
        left -= count
        idle.pop(0)
    return max(0, gone)
