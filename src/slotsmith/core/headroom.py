"""Slots that are kept free for work that has not come yet."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator
from typing import Final

import numpy as np

from slotsmith.core.conditions import Conditions
from slotsmith.core.demand import Demand
from slotsmith.core.fleet import NO_AGENT, Mask
from slotsmith.core.view import View
from slotsmith.model.policy import Policy

_ALL: Final = np.bool_(True)


def spare_slots(
    view: View, found: Conditions, wanted: Demand, new_slots: int, policy: Policy, leaving: Mask | None = None
) -> float:
    """How many slots are free beyond the headroom when all pending tasks have their place; below 0 = so many lack.

    `new_slots` are those of the instances that the tasks call for; `leaving` go. Infinite where no headroom is asked
    for, or while nobody knows what is free.
    """
    if not policy.headroom_slots or view.blind:
        return math.inf
    staying = np.bool_(True) if leaving is None else ~leaving
    free = free_slots(view, found, staying)
    coming = _coming_slots(view, found.recently_launched & staying)
    if view.info.desired_new is not None:
        # The scheduler counts what is coming against what it asks for.
        return free + max(0, coming - view.info.desired_new * view.offering.capacity.slots) - policy.headroom_slots
    pending = sum(kind.count * kind.gang * kind.resources.slots for kind in view.info.tasks)
    never = sum(
        each.count * each.tasks.gang * each.tasks.resources.slots for each in wanted.unschedulable if each.tasks
    )
    return free + coming + new_slots - (pending - never) - policy.headroom_slots


def beyond_headroom(view: View, ids: Iterable[str], spare: float, in_any_case: Container[str] = ()) -> Iterator[str]:
    """Those of the ids that can go, one after the other, so that the headroom stays; `spare` as `spare_slots` says."""
    for instance_id in ids:
        slots = _slots(view, view.fleet.rows[instance_id])
        if slots <= spare or instance_id in in_any_case:
            yield instance_id
            spare -= slots


def slots_of(view: View, ids: Iterable[str]) -> int:
    """The slots of these instances together."""
    return sum(_slots(view, view.fleet.rows[instance_id]) for instance_id in ids)


def free_slots(view: View, found: Conditions, staying: Mask | np.bool_ = _ALL) -> int:
    """The free slots of connected agents, before anything that is pending is placed on them."""
    connected = found.counted & (view.fleet.agent != NO_AGENT) & staying
    agents = {agent.name: agent for agent in view.info.agents if not agent.draining}
    free = 0
    for row in np.flatnonzero(connected).tolist():
        agent = agents.get(view.fleet.instances[row].agent_name)
        if agent is not None:
            total = agent.capacity.slots if agent.capacity else _slots(view, row)
            # A scheduler that tells no amounts leaves only this to go by: idle is all free, busy is all taken.
            used = agent.used.slots if agent.used is not None else 0 if agent.idle else total
            free += max(0, total - used)
    return free


def _coming_slots(view: View, rows: Mask) -> int:
    listed = sum(_slots(view, row) for row in np.flatnonzero(rows).tolist())
    return listed + sum(
        launch.count * (view.known(launch.offering) or view.offering).capacity.slots for launch in view.in_flight
    )


def _slots(view: View, row: int) -> int:
    instance = view.fleet.instances[row]
    return (instance.capacity or (view.known(instance.offering) or view.offering).capacity).slots
