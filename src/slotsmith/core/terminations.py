"""Which instances to terminate, and why."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from typing import Final

import numpy as np

from slotsmith.core.conditions import Conditions, coming_count, in_order, newest_first
from slotsmith.core.consolidation import NOT_CONSOLIDATED, Consolidated
from slotsmith.core.demand import Demand
from slotsmith.core.fleet import Fleet
from slotsmith.core.headroom import beyond_headroom, slots_of
from slotsmith.core.view import View
from slotsmith.model.decision import Reason, Termination
from slotsmith.model.policy import Policy

# These go whatever the maximum is, and are not among those that are counted against it.
_NOT_COUNTED: Final = (Reason.STOPPED, Reason.RECLAIMED)


def choose_terminations(
    view: View,
    found: Conditions,
    wanted: Demand,
    policy: Policy,
    spare_slots: float = math.inf,
    places_lacking: int = 0,
    given_up_on: Container[str] = (),
    moves: Consolidated = NOT_CONSOLIDATED,
) -> tuple[Termination, ...]:
    """Rules in order; what an earlier rule has chosen keeps its reason and no longer counts for a later one.

    `spare_slots` are free beyond the headroom: for want of use, no more than that goes. But where tasks wait for the
    room of another kind of instance, as many go as they need, and what they need takes their place. `given_up_on`: idle
    agents on which the scheduler has placed nothing of what fits there; they serve neither tasks nor the headroom. What
    `moves` has chosen goes before the longest idle.
    """
    fleet = view.fleet
    chosen: dict[str, Reason] = {}

    def choose(ids: Iterable[str], reason: Reason, spare: float = math.inf) -> None:
        for instance_id in ids:
            if spare <= 0:
                return
            if instance_id not in chosen:
                chosen[instance_id] = reason
                spare -= 1

    # One whose agent is there was kept: its listing lags, or the view does, and asking at once tells nothing new.
    stopped = (i for i in in_order(fleet, found.stopped, fleet.launched_at) if i not in view.kept)
    choose(stopped, Reason.STOPPED)
    choose((i for i in in_order(fleet, found.reclaimed, fleet.launched_at) if i not in view.kept), Reason.RECLAIMED)
    choose(in_order(fleet, found.long_disconnected, found.disconnected_since), Reason.LONG_DISCONNECTED)
    choose(in_order(fleet, found.never_joined, fleet.launched_at), Reason.NEVER_JOINED)

    for instance_id, reason in moves.going.items():
        choose((instance_id,), reason)
    # A replacement on its way serves nobody beside what it replaces.
    working = int(np.count_nonzero(found.working)) - len(moves.going) - moves.extra
    spare_slots -= slots_of(view, moves.going) + moves.extra_slots if math.isfinite(spare_slots) else 0
    if places_lacking:
        spare_slots = math.inf
    if found.long_idle.any() and max(places_lacking, working - policy.min_instances) > 0:
        held = wanted.used | view.kept | moves.held
        unneeded: Iterable[str] = (i for i in in_order(fleet, found.long_idle, fleet.idle_since) if i not in held)
        unneeded = beyond_headroom(view, unneeded, spare_slots, given_up_on)
        choose(unneeded, Reason.LONG_IDLE, max(places_lacking, working - policy.min_instances))
        gone = (instance_id for instance_id, reason in chosen.items() if reason is Reason.LONG_IDLE)
        spare_slots -= slots_of(view, gone) if math.isfinite(spare_slots) else 0

    over = int(np.count_nonzero(found.counted)) - policy.max_instances
    over -= sum(reason not in _NOT_COUNTED for reason in chosen.values())
    if over > 0:
        choose((i for i in _over_maximum_order(fleet, found) if i not in view.kept), Reason.OVER_MAXIMUM, over)

    surplus: Iterable[str] = (i for i in _surplus_requests(view, found, wanted, policy, chosen) if i not in moves.held)
    surplus = beyond_headroom(view, surplus, spare_slots)
    choose(surplus, Reason.NOT_NEEDED)
    return tuple(Termination(instance_id, reason) for instance_id, reason in chosen.items())


def _over_maximum_order(fleet: Fleet, found: Conditions) -> Iterable[str]:
    """Who goes first when the pool is over its maximum: those whose going costs least."""
    yield from in_order(fleet, found.pending, fleet.launched_at)
    yield from in_order(fleet, found.idle, fleet.idle_since)
    yield from in_order(fleet, found.disconnected, found.disconnected_since)
    yield from newest_first(fleet, found.recently_launched)
    yield from newest_first(fleet, found.counted)


def _surplus_requests(
    view: View, found: Conditions, wanted: Demand, policy: Policy, chosen: dict[str, Reason]
) -> list[str]:
    """Pending requests that neither demand nor the minimum needs any more, newest first."""
    pending = [i for i in newest_first(view.fleet, found.pending) if i not in chosen and i not in view.kept]
    if not pending or view.blind:
        return []  # whether tasks wait for them is not known
    if view.info.desired_new is not None:
        coming = coming_count(view, found) - sum(i in chosen for i in view.fleet.ids(found.recently_launched))
        unneeded = min(len(pending), max(0, coming - view.info.desired_new))
        pending = pending[:unneeded]
    else:
        pending = [i for i in pending if i not in wanted.used]
    gone = sum(1 for i in view.fleet.ids(found.working) if i in chosen)
    above_minimum = int(np.count_nonzero(found.working)) + view.in_flight_count - gone - policy.min_instances
    return pending[: max(0, above_minimum)]
