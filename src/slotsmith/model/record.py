"""What is kept of an instance between passes and across restarts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slotsmith.model.decision import Reason
from slotsmith.model.instance import Instance, InstanceState


class Phase(StrEnum):
    """How far a termination has come. It is done when the instance is no longer listed."""

    DRAINING = "draining"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class TerminationRecord:
    """A termination under way. `attempts` counts terminate calls, `last_attempt_at` is when the last one was made."""

    reason: Reason
    since: float
    phase: Phase
    attempts: int = 0
    last_attempt_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance in the books. All times are epoch seconds; None = it has not happened, or is over.

    `joined_at`: when its agent was first seen; `idle_since` and `missing_since`: the clocks of the idle and the
    disconnect period; `activity`: its agent's when the idle clock began, None while that does not run (or in what
    an older version wrote); `gone_at`: when a listing first lacked it (the record is history from then on).
    """

    instance: Instance
    first_seen: float
    joined_at: float | None = None
    idle_since: float | None = None
    missing_since: float | None = None
    activity: int | None = None
    termination: TerminationRecord | None = None
    gone_at: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One line of an instance's history. `before` is None for its first appearance, `after` None when it is gone."""

    instance_id: str
    at: float
    before: InstanceState | None
    after: InstanceState | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class StatisticsSpan:
    """One stretch of paid time of an instance: from `start` to `end` (None = still going), epoch seconds.

    `price` is in dollars per hour, None when it was not known.
    """

    pool: str
    instance_id: str
    slots: int
    start: float
    end: float | None = None
    price: float | None = None

    def seconds(self, now: float) -> float:
        """Paid seconds up to `now`."""
        return max(0.0, (now if self.end is None else self.end) - self.start)

    def dollars(self, since: float, now: float, *, unpriced: float = 0.0) -> float:
        """What it has cost from `since` on; `unpriced` is taken where its own price is not known."""
        price = unpriced if self.price is None else self.price
        return price * max(0.0, (now if self.end is None else self.end) - max(self.start, since)) / 3600.0
