"""What a pool's owner has asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slotsmith.model.foresight import Target


@dataclass(frozen=True, slots=True)
class Consolidation:
    """When an instance makes way for something cheaper.

    At most `max_at_once` instances are on their way out for this at a time, and at most `max_share` of those at work.
    A move begins when what it saves over `horizon` (seconds) is more than what it costs at the worst: a new instance
    for a whole starting period; and where work has to be moved, `move_cost` (dollars) and the old one until it is given
    up on. `begins`: whether one may begin now; what has begun goes on in any case. `dry_run`: moves are only told of.
    """

    max_at_once: int = 1
    max_share: float = 1.0
    horizon: float = 8 * 3600.0
    move_cost: float = 0.0
    dry_run: bool = False
    begins: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits and periods of one pool; all periods in seconds.

    `max_slots` and the dollars limit launches only, and count all that is listed or in flight; None = no limit.
    `headroom_slots` are kept free beyond what pending tasks take; with `foresight` they and the idle period are
    learned. `group_priorities` say which groups' tasks are served first when a limit binds: the higher number, 0 for a
    group that is not named. Without `consolidation`, nothing makes way for the sake of its price.
    """

    min_instances: int = 0
    max_instances: int = 5
    max_idle_agent_period: float = 1200.0
    max_agent_starting_period: float = 1200.0
    max_agent_disconnect_period: float = 600.0
    launch_error_timeout: float = 600.0
    launch_error_retries: int = 3
    max_zero_slot_tasks_per_agent: int = 100
    max_slots: int | None = None
    max_dollars_per_hour: float | None = None
    max_dollars_per_month: float | None = None
    headroom_slots: int = 0
    group_priorities: tuple[tuple[str, int], ...] = ()
    foresight: Target | None = None
    consolidation: Consolidation | None = None


LEARNED: Final = ("headroom_slots", "max_idle_agent_period")
"""What foresight sets, from one pass to the next."""


@dataclass(frozen=True, slots=True)
class Window:
    """Other limits for `lasts` seconds from each moment that `cron` names in a time zone; None = as at other times."""

    cron: str
    zone: str
    lasts: float
    min_instances: int | None = None
    max_instances: int | None = None
