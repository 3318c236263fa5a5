"""What pending tasks can use without a launch, on agents and on its way; and what they ask for beyond that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from slotsmith.core.conditions import Conditions, coming_count, in_order
from slotsmith.core.demand import NO_DEMAND, Demand, FreeCapacity, demand
from slotsmith.core.fleet import NO_AGENT, Mask
from slotsmith.core.view import View
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources

_NOTHING: Final = Resources()

# An idle agent that pending tasks fit on is kept for them this many idle periods in all: a scheduler that has placed
# nothing on it for that long does not see the fit that we see.
KEPT_IDLE_PERIODS: Final = 2.0


def demand_beyond(view: View, found: Conditions, policy: Policy, now: float) -> Demand:
    """What the pending tasks ask for beyond what exists; none when the scheduler counts for itself."""
    if not view.info.tasks:
        return NO_DEMAND
    return demand(
        view.info.tasks,
        view.info.groups,
        free_capacity(view, found, policy, now),
        view.offering,
        max_instances=policy.max_instances,
        max_zero_slot_tasks=policy.max_zero_slot_tasks_per_agent,
    )


def free_capacity(view: View, found: Conditions, policy: Policy, now: float) -> list[FreeCapacity]:
    """What could take pending tasks without a launch, ranked by the order in which it is to be used.

    Agents that stay come first, so that one about to be given up is only kept when nothing else is there; requests
    that are not even granted come last, so that one nobody needs shows up as unused.
    """
    fleet, capacity, zero_slot_tasks = view.fleet, view.offering.capacity, policy.max_zero_slot_tasks_per_agent
    connected = found.counted & (fleet.agent != NO_AGENT)
    kept = found.long_idle & ~fleet.mask(out_of_patience(view, found, policy, now))
    agents = {agent.name: agent for agent in view.info.agents if not agent.draining}

    def coming(count: int, ids: Sequence[str], rank: int) -> list[FreeCapacity]:
        whole = FreeCapacity(capacity, count, zero_slot_tasks, whole=True, ids=tuple(ids), rank=rank)
        return [whole] if count else []

    def free(mask: Mask, rank: int, *, named: bool) -> list[FreeCapacity]:
        # Connectors share the objects of equal amounts, so most agents are known by those without a calculation.
        alike: dict[tuple[int, int, int, bool], tuple[Resources, Resources, list[int]]] = {}
        for row in np.flatnonzero(mask).tolist():
            instance = fleet.instances[row]
            agent = agents.get(instance.agent_name)
            if agent is None:
                continue
            total = agent.capacity or instance.capacity or capacity
            # A scheduler that tells no amounts leaves only this to go by: idle is all free, busy is all taken.
            used = agent.used if agent.used is not None else _NOTHING if agent.idle else total
            kind = (id(total), id(used), agent.zero_slot_tasks, agent.idle)
            if kind not in alike:
                alike[kind] = (total, used, [])
            alike[kind][2].append(row)
        by_room: dict[tuple[Resources, int, bool], list[int]] = {}
        for (_, _, zero, idle), (total, used, rows) in alike.items():
            by_room.setdefault((total - used, zero_slot_tasks - zero, idle), []).extend(rows)

        def ids(rows: list[int]) -> tuple[str, ...]:
            return tuple(fleet.instances[row].id for row in sorted(rows)) if named else ()

        return [
            FreeCapacity(left, len(rows), max(0, zero), whole=idle, ids=ids(rows), rank=rank)
            for (left, zero, idle), rows in by_room.items()
        ]

    starting = int(np.count_nonzero(found.recently_launched & ~found.pending)) + view.in_flight_count
    pending = in_order(fleet, found.pending, fleet.launched_at)
    return [
        *free(connected & ~found.long_idle, rank=0, named=False),
        *free(kept, rank=1, named=True),
        *coming(starting, (), rank=2),
        *coming(len(pending), pending, rank=3),
    ]


def out_of_patience(view: View, found: Conditions, policy: Policy, now: float) -> list[str]:
    """Idle agents that go whatever is pending, because nothing pending was placed on them for too long.

    While others are on their way none goes: a gang may wait for them, and would lose its first agents to the last.
    """
    if coming_count(view, found):
        return []
    patience = KEPT_IDLE_PERIODS * policy.max_idle_agent_period
    fleet = view.fleet
    waited = found.long_idle & (now > fleet.idle_since + patience)
    spare = int(np.count_nonzero(found.working)) - policy.min_instances
    return in_order(fleet, waited, fleet.idle_since)[: max(0, spare)] if waited.any() else []
