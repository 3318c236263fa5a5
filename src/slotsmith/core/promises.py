"""What instances on their way were launched for, and what of it still waits for them.

Where there are several offerings, a plan puts tasks together on the instances that it launches. The next pass must not
put them together in another way, in which they take more room: so what each instance was launched for is set aside on
it, as far as it still waits, until its agent has got work. From then on the scheduler has decided what lies where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.conditions import Conditions
from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.fleet import IDLE_AGENT, NO_AGENT, Mask
from slotsmith.core.planning.plan import Filled, Plan
from slotsmith.core.view import View
from slotsmith.model.decision import Held, Promise
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Group, TaskClass

CONNECTED: Final = 0
STARTING: Final = 2
REQUESTED: Final = 3
"""Ranks of what exists, as in `core.free_capacity`: what is surest to be there comes first."""


@dataclass(frozen=True, slots=True, eq=False)
class SetAside:
    """`tasks` are those for which nothing is set aside, and `groups` count what is.

    `existing` is what the instances with something set aside have left beside it; `rows` (of the fleet) and
    `in_flight` (by token) say which they are, and `used` are their ids.
    """

    tasks: tuple[TaskClass, ...]
    groups: tuple[Group, ...]
    existing: tuple[FreeCapacity, ...]
    rows: Mask
    in_flight: Counter[str]
    used: frozenset[str]


class _Place(NamedTuple):
    """An instance on its way; `row` is -1 for one that is not listed yet."""

    rank: int
    token: str
    row: int
    capacity: Resources
    offering: Offering


def promises_of(plan: Plan) -> dict[Offering, tuple[Promise, ...]]:
    """What each launch of a plan is for, by offering."""
    found: dict[Offering, list[Promise]] = {}
    for filled in plan.filled:
        if filled.offering is not None and filled.existing is None:
            found.setdefault(filled.offering, []).append(Promise(filled.count, _held(plan, filled)))
    return {offering: tuple(promises) for offering, promises in found.items()}


def _held(plan: Plan, filled: Filled) -> tuple[Held, ...]:
    return tuple(
        Held(_kind(plan.served[index].tasks[0]), units, plan.served[index].units) for index, units in filled.units
    )


def _kind(tasks: TaskClass) -> TaskClass:
    """What tells tasks apart that are placed alike: all but their number, group and example."""
    return replace(tasks, count=1, group=None, example="")


def set_aside(view: View, found: Conditions, max_zero_slot_tasks: int) -> SetAside:
    """Keep for pending tasks what was launched for them and has not had work yet."""
    info, nothing = view.info, np.zeros(len(view.fleet), np.bool_)
    if not view.promised or not info.tasks:
        return SetAside(info.tasks, info.groups, (), nothing, Counter(), frozenset())
    places = _places(view, found)
    waiting: Counter[TaskClass] = Counter()
    for tasks in info.tasks:
        waiting[_kind(tasks)] += tasks.count
    filled = list(_matched(view, places, waiting))
    units = _units(filled, waiting)
    rows, in_flight, existing, used = nothing, Counter[str](), [], set()
    for place, promise in filled:
        given = [held._replace(units=min(held.units, units[held.tasks, held.of])) for held in promise.members]
        given = [held for held in given if held.units]
        left = _left(place, given, max_zero_slot_tasks)
        if not given or left is None:
            continue
        for held in given:
            units[held.tasks, held.of] -= held.units
        if place.row < 0:
            in_flight[place.token] += 1
            existing.append(left)
        else:
            rows[place.row] = True
            used.add(view.fleet.instances[place.row].id)
            existing.append(left)
    done = _tasks_done(filled, waiting, units)
    left_over, groups = _without(info.tasks, info.groups, done)
    return SetAside(left_over, groups, tuple(existing), rows, in_flight, frozenset(used))


def _places(view: View, found: Conditions) -> dict[str, list[_Place]]:
    """The instances of each launch that are on their way or have had no work yet, surest first."""
    fleet = view.fleet
    fresh = (fleet.agent == IDLE_AGENT) & (fleet.idle_since == fleet.joined_at)
    unused = found.counted & (fresh | ((fleet.agent == NO_AGENT) & found.recently_launched))
    agents = {agent.name: agent for agent in view.info.agents if not agent.draining} if fresh.any() else {}
    places: dict[str, list[_Place]] = {}
    for row in np.flatnonzero(unused).tolist():
        instance = fleet.instances[row]
        offering = view.known(instance.offering) if instance.token in view.promised else None
        if offering is None:
            continue
        rank, capacity = STARTING, instance.capacity or offering.capacity
        if fleet.agent[row] == IDLE_AGENT:
            agent = agents.get(instance.agent_name)
            if (
                agent is None
                or agent.zero_slot_tasks
                or (agent.used is not None and any(dict(agent.used.items()).values()))
            ):
                continue
            rank, capacity = CONNECTED, agent.capacity or capacity
        elif found.pending[row]:
            rank = REQUESTED
        places.setdefault(instance.token, []).append(_Place(rank, instance.token, row, capacity, offering))
    for launch in view.in_flight:
        offering = view.known(launch.offering) if launch.token in view.promised else None
        if offering is not None:
            place = _Place(STARTING, launch.token, -1, offering.capacity, offering)
            places.setdefault(launch.token, []).extend([place] * launch.count)
    return places


def _any(resources: Resources) -> bool:
    return any(amount for _, amount in resources.items())


def _matched(
    view: View, places: dict[str, list[_Place]], waiting: Counter[TaskClass]
) -> Iterable[tuple[_Place, Promise]]:
    """Each instance with what one of its launch is for, in an order that does not depend on that of the listing."""
    for token in sorted(places):
        # Those that have had work already are no places any more, and what they were for does not wait any more.
        promises = sorted(view.promised[token], key=lambda each: not all(waiting[held.tasks] for held in each.members))
        promises = [each for each in promises for _ in range(each.count)]

        def turn(place: _Place) -> tuple[int, str]:
            return place.rank, view.fleet.instances[place.row].id if place.row >= 0 else ""

        yield from zip(sorted(places[token], key=turn), promises, strict=False)


def _units(filled: Sequence[tuple[_Place, Promise]], waiting: Counter[TaskClass]) -> Counter[tuple[TaskClass, int]]:
    """How much may be set aside for each kind of task: for whole tasks only, and for no more of them than wait."""
    units: Counter[tuple[TaskClass, int]] = Counter()
    for _, promise in filled:
        for held in promise.members:
            units[held.tasks, held.of] += held.units
    left = waiting.copy()
    for (kind, of), count in units.items():
        tasks = min(left[kind], count // of)
        left[kind] -= tasks
        units[kind, of] = tasks * of
    return units


def _tasks_done(
    filled: Sequence[tuple[_Place, Promise]], waiting: Counter[TaskClass], left: Counter[tuple[TaskClass, int]]
) -> Counter[TaskClass]:
    """For how many tasks of each kind everything that they need is set aside."""
    done: Counter[TaskClass] = Counter()
    for (kind, of), count in _units(filled, waiting).items():
        done[kind] += (count - left[kind, of]) // of
    return done


def _left(place: _Place, given: Sequence[Held], max_zero_slot_tasks: int) -> FreeCapacity | None:
    """What an instance has beside what is set aside on it; None when it has not got so much."""
    asked, zero, whole = Resources(), max_zero_slot_tasks, False
    for held in given:
        if not held.tasks.resources.fits_in(place.capacity):
            whole = True  # a task that spans takes the instance as a whole
        else:
            asked = asked + held.tasks.resources * held.units
            zero -= 0 if held.tasks.resources.slots else held.units
    if whole:
        return FreeCapacity(Resources(), 1, 0, whole=False, rank=place.rank, offering=place.offering)
    if zero < 0 or not asked.fits_in(place.capacity):
        return None
    return FreeCapacity(place.capacity - asked, 1, zero, whole=False, rank=place.rank, offering=place.offering)


def _without(
    tasks: Sequence[TaskClass], groups: Sequence[Group], done: Counter[TaskClass]
) -> tuple[tuple[TaskClass, ...], tuple[Group, ...]]:
    """The tasks without those that have something set aside, whose slots their groups count as used."""
    left, used, kept = done.copy(), Counter[str](), []
    for kind in sorted(tasks, key=lambda each: (each.group is not None, each.group or "", each.example, each.count)):
        count = min(kind.count, left[_kind(kind)])
        left[_kind(kind)] -= count
        used[kind.group or ""] += count * kind.gang * kind.resources.slots
        if count < kind.count:
            kept.append(replace(kind, count=kind.count - count) if count else kind)
    counted = tuple(replace(group, used_slots=group.used_slots + used[group.id]) for group in groups)
    return tuple(kept), counted
