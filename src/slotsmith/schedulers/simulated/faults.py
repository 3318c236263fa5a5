"""What may go wrong at the simulated scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

Span = tuple[float, float]
"""The shortest and the longest time, in seconds; drawn evenly between them."""


@dataclass(frozen=True, slots=True)
class SchedulerFaults:
    """One chance (0 to 1) for each fault, with its times; `forgets` is a number of times per day. All are off.

    `refuses_drain` is drawn for each agent that could be released, the `..._view` for each new view, the others for
    each call.
    """

    refuses_drain: float = 0.0
    late_view: float = 0.0
    late_view_s: Span = (0.5, 60.0)
    repeated_view: float = 0.0
    stale_view: float = 0.0
    stale_view_s: Span = (0.5, 60.0)
    forgets: float = 0.0
    forgets_s: Span = (1.0, 60.0)
    reconnects_s: Span = (0.0, 60.0)
    read_error: float = 0.0
    scheduler_hang: float = 0.0
    slow_drain: float = 0.0
    slow_drain_s: Span = (0.5, 90.0)
    drain_error: float = 0.0

    def __post_init__(self) -> None:
        for name in FAULTS:
            chance = getattr(self, name)
            if not (chance >= 0 and (chance <= 1 or name == "forgets")):
                raise ValueError(f"{name} is {chance}, expected a chance from 0 to 1")
        for item in fields(self):
            if item.name.endswith("_s"):
                low, high = getattr(self, item.name)
                if not 0 <= low <= high:
                    raise ValueError(f"{item.name} is {low} to {high}, expected a span of seconds")

    @property
    def settles(self) -> float:
        """Seconds after which nothing of these faults is left once they have stopped; hanging calls hang on."""
        views = max(self.late_view_s[1], 2 * self.stale_view_s[1])
        return max(views, self.forgets_s[1] + self.reconnects_s[1], self.slow_drain_s[1])


FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "refuses_drain": "an idle agent that could be released is refused",
        "late_view": "a view arrives seconds after what it tells",
        "repeated_view": "a view arrives twice",
        "stale_view": "an older view arrives after a newer one",
        "forgets": "the scheduler restarts: agents come back one by one, running tasks and drains are lost",
        "read_error": "connecting or reading the view fails",
        "scheduler_hang": "a call never answers",
        "slow_drain": "a drain takes effect, and is answered seconds later",
        "drain_error": "a drain, or taking one back, fails, before or after it took effect",
    }
)
"""Every fault by its name, as one sentence."""

NO_SCHEDULER_FAULTS: Final = SchedulerFaults()
LIGHT: Final = SchedulerFaults(
    refuses_drain=0.02,
    late_view=0.02,
    late_view_s=(0.5, 10.0),
    repeated_view=0.02,
    stale_view=0.01,
    stale_view_s=(0.5, 10.0),
    forgets=0.5,
    forgets_s=(1.0, 20.0),
    reconnects_s=(0.0, 30.0),
    read_error=0.01,
    scheduler_hang=0.002,
    slow_drain=0.02,
    slow_drain_s=(0.5, 10.0),
    drain_error=0.01,
)
HEAVY: Final = SchedulerFaults(
    refuses_drain=0.2,
    late_view=0.2,
    repeated_view=0.1,
    stale_view=0.1,
    forgets=12.0,
    read_error=0.1,
    scheduler_hang=0.03,
    slow_drain=0.2,
    drain_error=0.1,
)
