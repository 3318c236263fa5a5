"""What pending tasks can use without a launch, on agents and on its way; and what they ask for beyond that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from slotsmith.core.conditions import Conditions, coming_count, in_order
from slotsmith.core.demand import NO_DEMAND, Demand, FreeCapacity, demand
from slotsmith.core.fleet import NO_AGENT, Mask
from slotsmith.core.headroom import beyond_headroom, free_slots
from slotsmith.core.promises import SetAside
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
        priorities=dict(policy.group_priorities),
    )


def free_capacity(
    view: View, found: Conditions, policy: Policy, now: float, aside: SetAside | None = None
) -> list[FreeCapacity]:
    """What could take pending tasks without a launch, ranked by the order in which it is to be used.

    Agents that stay come first, so that one about to be given up is only kept when nothing else is there; requests
    that are not even granted come last, so that one nobody needs shows up as unused. What has something set `aside` on
    it is left out.
    """
    fleet, capacity, zero_slot_tasks = view.fleet, view.offering.capacity, policy.max_zero_slot_tasks_per_agent
    others = np.True_ if aside is None else ~aside.rows
    several = bool(view.others)
    connected = found.counted & (fleet.agent != NO_AGENT) & others
    kept = found.long_idle & ~fleet.mask(out_of_patience(view, found, policy, now))
    agents = {agent.name: agent for agent in view.info.agents if not agent.draining}

    def coming(count: int, ids: Sequence[str], rank: int) -> list[FreeCapacity]:
        whole = FreeCapacity(capacity, count, zero_slot_tasks, whole=True, ids=tuple(ids), rank=rank)
        return [whole] if count else []

    def free(mask: Mask, rank: int, *, named: bool) -> list[FreeCapacity]:
        # Connectors share the objects of equal amounts, so most agents are known by those without a calculation.
        alike: dict[tuple[int, int, int, bool, str], tuple[Resources, Resources, list[int]]] = {}
        for row in np.flatnonzero(mask).tolist():
            instance = fleet.instances[row]
            agent = agents.get(instance.agent_name)
            if agent is None:
                continue
            total = agent.capacity or instance.capacity or _capacity_of(view, instance.offering)
            # A scheduler that tells no amounts leaves only this to go by: idle is all free, busy is all taken.
            used = agent.used if agent.used is not None else _NOTHING if agent.idle else total
            kind = (id(total), id(used), agent.zero_slot_tasks, agent.idle, instance.offering if several else "")
            if kind not in alike:
                alike[kind] = (total, used, [])
            alike[kind][2].append(row)
        by_room: dict[tuple[Resources, int, bool, str], list[int]] = {}
        for (_, _, zero, idle, offering), (total, used, rows) in alike.items():
            by_room.setdefault((total - used, zero_slot_tasks - zero, idle, offering), []).extend(rows)

        def ids(rows: list[int]) -> tuple[str, ...]:
            return tuple(fleet.instances[row].id for row in sorted(rows)) if named else ()

        return [
            FreeCapacity(
                left, len(rows), max(0, zero), idle, ids(rows), rank, view.known(offering) if several else None
            )
            for (left, zero, idle, offering), rows in by_room.items()
        ]

    booting, requested = found.recently_launched & ~found.pending & others, found.pending & others
    if several:
        in_flight = Counter() if aside is None else aside.in_flight
        on_their_way = list(_coming_of_several(view, booting, requested, in_flight, zero_slot_tasks))
    else:
        starting = int(np.count_nonzero(booting)) + view.in_flight_count
        pending = in_order(fleet, requested, fleet.launched_at)
        on_their_way = [
            *coming(starting, (), rank=2),
            *coming(len(pending), pending, rank=3),
        ]
    return [
        *free(connected & ~found.long_idle, rank=0, named=False),
        *free(kept & others, rank=1, named=True),
        *on_their_way,
    ]


def _capacity_of(view: View, offering: str) -> Resources:
    return (view.known(offering) or view.offering).capacity


def _coming_of_several(
    view: View, starting: Mask, pending: Mask, aside: Counter[str], zero_slot_tasks: int
) -> Iterator[FreeCapacity]:
    """What is on its way, each of its own offering, but for so many of each launch (by token) that are not listed."""
    fleet = view.fleet
    counts: Counter[tuple[str, Resources]] = Counter()
    for row in np.flatnonzero(starting).tolist():
        instance = fleet.instances[row]
        counts[instance.offering, instance.capacity or _capacity_of(view, instance.offering)] += 1
    for launch in view.in_flight:
        counts[launch.offering, _capacity_of(view, launch.offering)] += launch.count - aside[launch.token]
    for (name, capacity), count in counts.items():
        if count > 0:
            yield FreeCapacity(capacity, count, zero_slot_tasks, whole=True, rank=2, offering=view.known(name))
    requests: dict[tuple[str, Resources], list[str]] = {}
    for name in in_order(fleet, pending, fleet.launched_at):
        instance = fleet.instances[fleet.rows[name]]
        kind = (instance.offering, instance.capacity or _capacity_of(view, instance.offering))
        requests.setdefault(kind, []).append(name)
    for (name, capacity), ids in requests.items():
        offering = view.known(name)
        yield FreeCapacity(capacity, len(ids), zero_slot_tasks, True, tuple(ids), rank=3, offering=offering)


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
    if not waited.any():
        return []
    longest = in_order(fleet, waited, fleet.idle_since)
    if policy.headroom_slots:
        # What is kept for the headroom has been idle for long, and that says nothing about the scheduler.
        longest = list(beyond_headroom(view, longest, free_slots(view, found) - policy.headroom_slots))
    return longest[: max(0, spare)]
