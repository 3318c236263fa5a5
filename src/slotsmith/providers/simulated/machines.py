"""A machine of the simulated cloud, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering


@dataclass(slots=True, eq=False)
class Machine:
    """The truth about one machine (or, while it is pending, one spot request). Times are epoch seconds.

    It is paid for from `paid_from` (None: not yet) to `paid_until` (None: still), each time for at least `min_billing`
    seconds; `earlier` holds the stretches before it was stopped and started again. `launched_at` is what the cloud
    tells, by a clock that may be wrong. `gone_at` is when it ended (None: it exists).
    """

    id: str
    token: str
    offering: Offering
    agent_name: str
    created_at: float
    min_billing: float
    state: InstanceState
    launched_at: float
    paid_from: float | None = None
    paid_until: float | None = None
    earlier: list[tuple[float, float]] = field(default_factory=list)
    gone_at: float | None = None
    connected: bool = False
    detail: str = ""
    reclaimed: bool = False

    # What the listing needs to know; see `listing`.
    row: Instance | None = None
    kept_row: Instance | None = None
    hidden: int = 0
    held: int = 0
    unreadable: int = 0
    shown_since: float | None = None
    # What the machine's life needs to know; see `life`.
    starts: int = 0
    cancelled: bool = False

    def alive(self) -> bool:
        """Whether it exists, in whatever state."""
        return self.gone_at is None

    @property
    def paid(self) -> bool:
        """Whether it is being paid for now."""
        return self.paid_from is not None and self.paid_until is None

    def billed(self, now: float) -> float:
        """Seconds on the bill if everything ended now."""
        return sum(max(min(until, now) - start, self.min_billing) for start, until in self._stretches() if start <= now)

    def billed_between(self, start: float, end: float) -> float:
        """Seconds on the bill that lie between two times; a minimum lies right behind the start it is paid for."""
        total = 0.0
        for since, until in self._stretches():
            total += max(0.0, min(max(until, since + self.min_billing), end) - max(since, start))
        return total

    def _stretches(self) -> Iterator[tuple[float, float]]:
        yield from self.earlier
        if self.paid_from is not None:
            yield self.paid_from, math.inf if self.paid_until is None else self.paid_until
