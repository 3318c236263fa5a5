"""What the cloud lets in: its rate limits, its capacity, its quotas and its mood."""

from __future__ import annotations

import math
from typing import Final

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated.dice import Dice
from slotsmith.providers.simulated.faults import NO_LIMITS, Bucket, Limits

LIST: Final = "list"
LAUNCH: Final = "launch"
TERMINATE: Final = "terminate"


class _Level:
    """How full a token bucket is. Times are epoch seconds: periods begin with the minutes of the clock."""

    def __init__(self, bucket: Bucket, now: float) -> None:
        self._bucket = bucket
        self._left = bucket.size
        self._at = now

    def take(self, count: float, now: float) -> bool:
        """Take that many out; False = there are not enough, and nothing is taken."""
        self._refill(now)
        # More than the bucket ever holds goes through when it is full: a single call could never be made otherwise.
        if self._left < min(count, self._bucket.size):
            return False
        self._left -= count
        return True

    def _refill(self, now: float) -> None:
        bucket, before = self._bucket, self._at
        self._at = now
        if not bucket.period:
            self._left = min(bucket.size, self._left + (now - before) * bucket.refill)
        elif now // bucket.period > before // bucket.period:
            self._left = bucket.size


def _taken(level: _Level | None, count: float, now: float) -> bool:
    return level is None or not count or level.take(count, now)


class Admission:
    """Says yes, no, or how many. `quota` is how many machines may exist (None = any number)."""

    def __init__(self, limits: Limits, *, clock: Clock, dice: Dice) -> None:
        self.quota: int | None = None
        self._clock = clock
        self._dice = dice
        now = clock.now()

        def level(bucket: Bucket | None) -> _Level | None:
            return None if bucket is None else _Level(bucket, now)

        self._calls = {LIST: level(limits.list), LAUNCH: level(limits.launch), TERMINATE: level(limits.terminate)}
        self._instances = {LAUNCH: level(limits.instances), TERMINATE: level(limits.terminated)}
        self._writes = level(limits.writes)
        self._limited = limits != NO_LIMITS
        self._drained_until = -math.inf
        self._denied_until = -math.inf
        self._out_until: dict[str, float] = {}
        self._fault_quota: tuple[int, float] = (0, -math.inf)

    def stop(self) -> None:
        """Every trouble is over; only `quota` stays."""
        self._calls.clear()
        self._instances.clear()
        self._writes = None
        self._limited = False
        self._drained_until = self._denied_until = -math.inf
        self._out_until.clear()
        self._fault_quota = (0, -math.inf)

    def admit(self, what: str, instances: int = 0) -> None:
        """Let a call about so many instances in. Raises ProviderError (THROTTLED) when there were too many."""
        if not self._limited and self._dice.calm:
            return
        now = self._clock.now()
        if now >= self._drained_until and self._dice.fires("throttled"):
            self._drained_until = now + self._dice.seconds("throttled")
        writes = {LIST: 0, LAUNCH: 1}.get(what, instances)
        if (
            now < self._drained_until
            or not _taken(self._calls.get(what), 1, now)
            or not _taken(self._writes, writes, now)
        ):
            self._throttle(what, "Request limit exceeded.")
        if not _taken(self._instances.get(what), instances, now):
            self._throttle(what, "Request limit exceeded: too many instances asked for.")

    def _throttle(self, what: str, text: str) -> None:
        self._dice.struck("throttled", call=what)
        raise ProviderError(ErrorKind.THROTTLED, text)

    def permit(self, what: str) -> None:
        """Check the caller's rights. Raises ProviderError (DENIED)."""
        if self._dice.calm:
            return
        now = self._clock.now()
        if now >= self._denied_until and self._dice.fires("denied"):
            self._denied_until = now + self._dice.seconds("denied")
        if now < self._denied_until:
            self._dice.struck("denied", call=what)
            raise ProviderError(ErrorKind.DENIED, f"You are not authorized to perform this operation: {what}.")

    def grant(self, offering: Offering, count: int, existing: int) -> tuple[int, ProviderError | None]:
        """How many of `count` may be launched now, and why not all of them."""
        granted, error = self._within_quota(count, existing)
        if self._dice.calm or not granted:
            return granted, error
        return self._within_capacity(offering, granted) or (granted, error)

    def _within_capacity(self, offering: Offering, count: int) -> tuple[int, ProviderError] | None:
        dice, now = self._dice, self._clock.now()
        until = self._out_until.get(offering.name, -math.inf)
        if now >= until and dice.fires("capacity"):
            until = self._out_until[offering.name] = now + dice.seconds("capacity")
        if now < until:
            dice.struck("capacity", offering=offering.name)
            return 0, ProviderError(ErrorKind.CAPACITY, f"We currently do not have enough {offering.name} capacity.")
        if count > 1 and dice.strikes("partial", offering=offering.name):
            granted = 1 + dice.below("partial", count - 1)
            return granted, ProviderError(ErrorKind.CAPACITY, f"There was {offering.name} capacity for {granted} only.")
        return None

    def _within_quota(self, count: int, existing: int) -> tuple[int, ProviderError | None]:
        quota = math.inf if self.quota is None else self.quota
        fault = self._faulty_quota(count, existing)
        granted = max(0, int(min(count, min(quota, fault) - existing)))
        if granted >= count:
            return count, None
        if fault < quota:
            self._dice.struck("quota", quota=int(fault))
        return granted, ProviderError(ErrorKind.QUOTA, f"You may have {int(min(quota, fault))} instances.")

    def _faulty_quota(self, count: int, existing: int) -> float:
        if self._dice.calm:
            return math.inf
        now = self._clock.now()
        quota, until = self._fault_quota
        if now >= until and self._dice.fires("quota"):
            quota, until = existing + self._dice.below("quota", count), now + self._dice.seconds("quota")
            self._fault_quota = quota, until
        return quota if now < until else math.inf
