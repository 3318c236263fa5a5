"""What a pool's owner asks of foresight, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    """How much spare is worth: the least waiting for at most `max_extra_cost`, a share of what the pool would cost.

    With `wait_p95`, in seconds: as little as it takes for 95 of 100 tasks to wait no longer than that. `spare`: whether
    any is held at all; `idle_period`: whether it is learned how long idle agents are kept.
    """

    max_extra_cost: float = 0.001
    wait_p95: float | None = None
    spare: bool = True
    idle_period: bool = False


DEFAULT_TARGET: Final = Target()
MOST_EXTRA_COST: Final = 0.10
"""For a target in waiting, where nobody says what it may cost."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What foresight asks of a pass, and what it tells people; all estimates are of about the last week.

    `headroom_slots` are to be kept free, and idle agents go after `idle_period` seconds. `holds`: spare is held at all;
    `why` is a sentence, None where none is asked for. `why_so_long` is one of an idle period that is learned.
    `boot_time` in seconds, None = no instance has joined yet. `wait_share` and `cost_share` are
    waiting and cost with what was done, as a share of those without. Since it began, `used` times work found room that
    would not have been there, `saved_seconds` of waiting of tasks were saved, for `extra_instance_seconds`.
    """

    headroom_slots: int
    idle_period: float
    holds: bool
    why: str | None
    why_so_long: str | None = None
    boot_time: float | None = None
    wait_share: float | None = None
    cost_share: float | None = None
    used: int = 0
    saved_seconds: float = 0.0
    extra_instance_seconds: float = 0.0
