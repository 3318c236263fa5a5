"""The instances of a fleet, sorted by the condition that they are in; and who comes first among those in one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotsmith.core.fleet import BUSY_AGENT, NO_AGENT, Fleet, Floats, Mask
from slotsmith.core.view import View
from slotsmith.model.decision import StateSets
from slotsmith.model.instance import InstanceState
from slotsmith.model.policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The rows of the fleet by condition; `counted` and all below it leave out what is draining or a stray.

    `reclaimed`: what the provider takes away soon, and nobody has asked to drain yet; it is in no other of them.
    """

    reclaimed: Mask
    counted: Mask
    stopped: Mask
    pending: Mask
    recently_launched: Mask
    never_joined: Mask
    idle: Mask
    long_idle: Mask
    disconnected: Mask
    disconnected_since: Floats
    long_disconnected: Mask

    @property
    def working(self) -> Mask:
        """What serves demand now or soon, and so counts toward the minimum."""
        mask: Mask = self.counted & ~self.disconnected & ~self.never_joined
        return mask


def conditions(view: View, policy: Policy, now: float) -> Conditions:
    """Sort every listed instance into its condition at `now`."""
    fleet = view.fleet
    nothing = np.zeros(len(fleet), np.bool_)
    ours = ~fleet.mask(view.draining | view.strays) if view.draining or view.strays else ~nothing
    # Whatever is placed there now is lost with it: it serves nobody any more, though its agent may be at work.
    reclaimed = fleet.can_have_agent & fleet.reclaimed & ours if fleet.reclaimed.any() else nothing
    ours &= ~reclaimed
    counted, silent = fleet.counted & ours, fleet.agent == NO_AGENT
    # A listing may lag behind the scheduler: what has an agent is no request any more.
    pending = fleet.is_in(InstanceState.PENDING_REQUEST) & ours & silent
    awaited = counted & silent & ~pending
    disconnected = starting = never_joined = long_disconnected = nothing
    disconnected_since, heard = fleet.missing_since, not view.blind
    if awaited.any():
        starting_ends, joined = fleet.launched_at + policy.max_agent_starting_period, fleet.joined
        # First seen when its starting period was over already: whether it ever joined is not known, so it gets the
        # disconnect period, from when we first saw it, like one that did.
        found_late = ~joined & (fleet.first_seen >= starting_ends)
        starting = awaited & ~joined & ~found_late & (starting_ends > now)
        if heard:
            disconnected = awaited & (joined | found_late)
            disconnected_since = np.where(joined, fleet.missing_since, fleet.first_seen)
            never_joined = awaited & ~disconnected & ~starting
            long_disconnected = disconnected & (now > disconnected_since + policy.max_agent_disconnect_period)
    idle = counted & np.isfinite(fleet.idle_since)
    return Conditions(
        reclaimed=reclaimed,
        counted=counted,
        # One that was stopped and works again was started by somebody, and the listing lags.
        stopped=fleet.is_in(InstanceState.STOPPED) & ours & (fleet.agent != BUSY_AGENT),
        pending=pending,
        recently_launched=pending | starting,
        never_joined=never_joined,
        idle=idle,
        long_idle=idle & (now > fleet.idle_since + policy.max_idle_agent_period) if heard else nothing,
        disconnected=disconnected,
        disconnected_since=disconnected_since,
        long_disconnected=long_disconnected,
    )


def state_sets(view: View, policy: Policy, now: float) -> StateSets:
    """The conditions as sorted ids, for people and for `replay`."""
    fleet, found = view.fleet, conditions(view, policy, now)

    def ids(mask: Mask) -> tuple[str, ...]:
        return tuple(sorted(fleet.ids(mask)))

    return StateSets(
        counted=ids(found.counted),
        pending=ids(found.pending),
        recently_launched=ids(found.recently_launched),
        stopped=ids(found.stopped),
        idle=fleet.clocks(found.idle, fleet.idle_since),
        disconnected=fleet.clocks(found.disconnected, found.disconnected_since),
        long_idle=ids(found.long_idle),
        long_disconnected=ids(found.long_disconnected),
    )


def coming_count(view: View, found: Conditions) -> int:
    """Instances on their way: pending, starting, or asked for and not listed yet."""
    return int(np.count_nonzero(found.recently_launched)) + view.in_flight_count


def failed_joins(view: View, found: Conditions) -> int:
    """Instances in a row that ended without joining, with those that are given up on now."""
    return view.join_failures.failures + int(np.count_nonzero(found.never_joined))


def in_order(fleet: Fleet, mask: Mask, since: Floats) -> list[str]:
    """The ids of a mask, longest `since` first, then by launch time, then by id."""
    rows = mask.nonzero()[0]
    if not rows.size:
        return []
    keys = sorted((float(since[row]), float(fleet.launched_at[row]), fleet.instances[row].id) for row in rows)
    return [instance_id for _, _, instance_id in keys]


def newest_first(fleet: Fleet, mask: Mask) -> list[str]:
    rows = mask.nonzero()[0]
    keys = sorted((-float(fleet.launched_at[row]), fleet.instances[row].id) for row in rows)
    return [instance_id for _, instance_id in keys]
