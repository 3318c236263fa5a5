"""Limits by time of day: the policy in force at a moment, and until when it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from slotsmith.core.steering import with_limits
from slotsmith.model.policy import Policy, Window


class Schedule:
    """A pool's policy over time. Where windows overlap, the one that stands last in the list has its way.

    Between two changes nothing is calculated, so that a pass costs no more than without a schedule.
    """

    def __init__(self, policy: Policy, windows: Sequence[Window] = (), move_windows: Sequence[Window] = ()) -> None:
        """`move_windows`: the times at which moves for the sake of the price may begin; none = at any time."""
        self._base = policy
        self._windows = tuple(windows)
        self._move_windows = tuple(move_windows) if policy.consolidation else ()
        self._from = math.inf
        self._until = -math.inf
        self._plain = policy
        self._limits: Mapping[str, float] = {}
        self._policy = policy

    def steer(self, limits: Mapping[str, float]) -> None:
        """Limits that are set by hand, by name; they stand over the file's and over those of any window."""
        self._limits = dict(limits)
        self._policy = with_limits(self._plain, self._limits)

    def at(self, now: float) -> Policy:
        """The policy in force."""
        if (self._windows or self._move_windows) and not self._from <= now < self._until:
            self._resolve(now)
        return self._policy

    def unsteered(self, now: float) -> Policy:
        """The policy that would be in force if nothing was set by hand."""
        self.at(now)
        return self._plain

    def next_change(self, now: float) -> float | None:
        """When another policy may be in force, epoch seconds; None = never. A month's money is new with the month."""
        policy = self.at(now)
        changes = [self._until] if math.isfinite(self._until) else []
        if policy.max_dollars_per_month is not None:
            changes.append(next_month(now))
        return min(changes, default=None)

    def _resolve(self, now: float) -> None:
        policy, until = self._base, math.inf
        for window in self._windows:
            begun, begins = _begins(window, now + 1.0, before=True), _begins(window, now)
            until = min(until, math.inf if begins is None else begins)
            if begun is None or now >= begun + window.lasts:
                continue
            until = min(until, begun + window.lasts)
            least, most = window.min_instances, window.max_instances
            policy = replace(
                policy,
                min_instances=policy.min_instances if least is None else least,
                max_instances=policy.max_instances if most is None else most,
            )
        if self._move_windows and policy.consolidation is not None:
            begins, ends = self._moves_begin(now)
            policy = replace(policy, consolidation=replace(policy.consolidation, begins=begins))
            until = min(until, ends)
        # Each window is checked by itself; where two overlap, the maximum is what must not be passed.
        least = min(policy.min_instances, policy.max_instances)
        self._plain = replace(policy, min_instances=least)
        self._policy = with_limits(self._plain, self._limits)
        self._from, self._until = now, until

    def _moves_begin(self, now: float) -> tuple[bool, float]:
        """Whether moves may begin now, and until when that is so."""
        inside, until = False, math.inf
        for window in self._move_windows:
            begun, next_one = _begins(window, now + 1.0, before=True), _begins(window, now)
            until = min(until, math.inf if next_one is None else next_one)
            if begun is not None and now < begun + window.lasts:
                inside, until = True, min(until, begun + window.lasts)
        return inside, until


def _begins(window: Window, now: float, *, before: bool = False) -> float | None:
    """The next time it begins, or the last one before, strictly; None = there is none."""
    from cronsim import CronSim

    moment = datetime.fromtimestamp(math.floor(now), ZoneInfo(window.zone))
    found = next(CronSim(window.cron, moment, reverse=before), None)
    return None if found is None else found.timestamp()


def month_of(now: float) -> float:
    """When the month began, UTC, in epoch seconds."""
    moment = datetime.fromtimestamp(now, UTC)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()


def next_month(now: float) -> float:
    """When the month ends."""
    moment = datetime.fromtimestamp(now, UTC)
    year, month = divmod(moment.year * 12 + moment.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
