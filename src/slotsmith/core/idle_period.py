"""How long an idle agent is worth keeping, learned from how often idle ones were wanted again.

A short period saves the time that agents are idle. A long one saves boots: the time that is paid for them, and that
work waits for them, which counts as much as the instances that it waits for cost. What that comes to is reckoned for
several periods side by side (`core.shadows`). Prices need not be known: both sides are in instance-seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slotsmith.core.shadows import Moment, Shadow, followed

PERIODS: Final = (60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)
"""What may be chosen, in seconds."""
BETTER: Final = 0.995
"""A period takes the place of the present one when it comes to less than this part of what that comes to."""


def followed_each(shadows: Sequence[Shadow], moment: Moment, spare: int) -> tuple[Shadow, ...]:
    """The fleets that keep idle agents for each of `PERIODS`, at that moment; none = they begin.

    `spare` instances are kept free in each case.
    """
    old = shadows or (Shadow(moment.now),) * len(PERIODS)
    return tuple(followed(shadow, moment, spare, period) for shadow, period in zip(old, PERIODS, strict=True))


def best_period(shadows: Sequence[Shadow], present: int | None) -> int:
    """The place in `PERIODS` of what would lately have come to the least; `present` is that of the one in force."""
    best = min(range(len(PERIODS)), key=lambda place: (worth(shadows[place]), PERIODS[place]))
    if present is not None and worth(shadows[best]) >= BETTER * worth(shadows[present]):
        return present
    return best


def worth(shadow: Shadow) -> float:
    """What a fleet comes to, in instance-seconds: what is paid for, and what work has waited for."""
    return shadow.cost + shadow.held_up
