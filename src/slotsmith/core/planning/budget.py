"""How much may be spent on a plan: counted work, and a clock for extremes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WORK_PER_SECOND: Final = 330_000
"""At least so many units are done in a second by one core of a machine of 2024 that other work keeps busy as well."""

DEFAULT_SECONDS: Final = 0.5
# The clock steps in when the machine is so much slower than the one that the units were measured on.
_CLOCK_FACTOR: Final = 8.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Units of work, counted alike on every machine, so that the answer is the same on each of them.

    `work` 0 = the first good plan, without a search for better ones. `seconds` is what the clock allows at the utmost.
    """

    work: int = int(DEFAULT_SECONDS * WORK_PER_SECOND)
    seconds: float = DEFAULT_SECONDS * _CLOCK_FACTOR

    @classmethod
    def of(cls, seconds: float) -> Budget:
        """A budget that a machine of today uses up in about so many seconds."""
        if not seconds >= 0:
            raise ValueError(f"the time to plan is {seconds} seconds, expected at least 0")
        return cls(int(min(seconds, 1e6) * WORK_PER_SECOND), seconds * _CLOCK_FACTOR)


QUICK: Final = Budget(0)
"""For a pass that cannot wait."""


class Meter:
    """Counts the work done against a budget. `clock` gives seconds and only ever goes forward."""

    def __init__(self, budget: Budget, clock: Callable[[], float] | None = None) -> None:
        self.done = 0
        self.cut_off = False
        self._budget = budget
        self._clock = clock
        self._deadline = clock() + budget.seconds if clock else 0.0

    def spend(self, work: float) -> None:
        self.done += int(work)

    @property
    def left(self) -> int:
        """Units that are left; 0 also when the clock has cut the search off."""
        if self._clock is not None and self._clock() > self._deadline:
            self.cut_off = True
        return 0 if self.cut_off else max(0, self._budget.work - self.done)
