"""How many instances to launch, what the limits leave unmet, and why."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core import headroom
from slotsmith.core.backoff import BRAKE_AFTER
from slotsmith.core.conditions import Conditions, coming_count, failed_joins, in_order
from slotsmith.core.demand import Demand, unmet_beyond
from slotsmith.core.fleet import Mask
from slotsmith.core.several import Allowance, Outlook, merged, one_by_one
from slotsmith.core.several import for_headroom as plan_for_headroom
from slotsmith.core.several import for_tasks as plan_for_tasks
from slotsmith.core.spending import limits_on
from slotsmith.core.view import View
from slotsmith.model.decision import Launch, Termination, Unmet
from slotsmith.model.instance import InstanceState
from slotsmith.model.policy import Policy

_AT_WORK: Final = (InstanceState.STARTING, InstanceState.RUNNING)


def choose_launches(
    view: View,
    found: Conditions,
    terminations: tuple[Termination, ...],
    asked: Demand | Outlook,
    policy: Policy,
    now: float,
    places_lacking: int = 0,
) -> tuple[tuple[Launch, ...], tuple[Unmet, ...], int]:
    """What to launch, what the limits leave unmet, and how many the demand asked for before limits.

    `places_lacking`: so many instances are needed by tasks that wait for the room of others, which go.
    """
    wanted = asked.wanted if isinstance(asked, Outlook) else asked
    leaving = view.fleet.mask(termination.id for termination in terminations)
    staying = int(np.count_nonzero(found.working & ~leaving)) + view.in_flight_count
    for_tasks = wanted.new_instances
    if view.info.desired_new is not None:
        coming = int(np.count_nonzero(found.recently_launched & ~leaving)) + view.in_flight_count
        for_tasks = max(0, view.info.desired_new - coming)
    for_minimum = policy.min_instances - staying
    lacking = max(0.0, -spare_slots(view, found, asked, policy, leaving))
    for_headroom = math.ceil(lacking / max(1, view.offering.capacity.slots))
    needed = max(for_tasks + for_headroom, for_minimum)
    if needed <= 0:
        return (), (), 0
    allowed, reason, braked = _allowed(view, found, policy, now)
    if view.blind and allowed > for_minimum:
        # Otherwise a scheduler that has died would be launched for as long as its agents give up and end.
        allowed, reason = max(0, for_minimum), "the scheduler cannot be heard, and what it last asked for may be over"
    if isinstance(asked, Outlook):
        if places_lacking:
            # What goes makes room for tasks, and what is launched for them will make up for it.
            lacking, for_minimum = 0.0, min(for_minimum, 0) if leaving.any() or view.draining else for_minimum
        needs = _Needs(for_tasks, int(lacking), for_minimum)
        return _of_several(view, asked, needs, Allowance(allowed, reason, braked), policy, now)
    # Under a limit the tasks may ask for fewer than the limit: a gang is begun whole or not at all.
    for_tasks_now = wanted.within(allowed).new_instances if view.info.tasks else min(for_tasks, allowed)
    if view.join_failures.failures >= BRAKE_AFTER:
        # Whether instances join at all is to be found out, also for a gang that needs several of them.
        for_tasks_now = min(for_tasks, allowed)
    count = min(allowed, max(for_tasks_now + for_headroom, for_minimum))
    unmet: tuple[Unmet, ...] = ()
    if count < needed:
        unmet = unmet_beyond(wanted, count, reason) or (Unmet(needed - count, reason),)
    if count <= 0:
        return (), unmet, needed
    reasons = [_for_tasks(for_tasks)] * (for_tasks > 0) + [_for_headroom(policy)] * (for_headroom > 0)
    why = " and ".join(reasons) if count > for_minimum else _for_minimum(policy)
    return (Launch(view.offering, count, why),), unmet, needed


def spare_slots(
    view: View, found: Conditions, asked: Demand | Outlook, policy: Policy, leaving: Mask | None = None
) -> float:
    """Slots that are free beyond the headroom once what the tasks ask for is there; see `core.headroom`."""
    if not policy.headroom_slots:
        return math.inf
    if isinstance(asked, Outlook):
        launches, wanted = asked.plan.launches, asked.wanted
        new_slots = sum(planned.count * planned.offering.capacity.slots for planned in launches)
    else:
        new_slots, wanted = asked.new_instances * view.offering.capacity.slots, asked
    return headroom.spare_slots(view, found, wanted, new_slots, policy, leaving)


class _Needs(NamedTuple):
    """Instances for tasks, slots for the headroom, and instances for the minimum, each beyond what there is."""

    for_tasks: int
    headroom_slots: int
    for_minimum: int


def _of_several(
    view: View,
    ahead: Outlook,
    needs: _Needs,
    allowed: Allowance,
    policy: Policy,
    now: float,
) -> tuple[tuple[Launch, ...], tuple[Unmet, ...], int]:
    """The same with several offerings: what the planner chooses, and the cheapest for what is only counted."""
    launches: list[Launch] = []
    unmet: tuple[Unmet, ...] = ()
    for_tasks, slots, for_minimum = needs
    if view.info.desired_new is not None:
        # The scheduler counts in instances of the first offering.
        count = min(for_tasks, allowed.instances)
        launches, why = one_by_one(view, policy, now, count, _for_tasks(for_tasks), (), at_least=view.offering)
        short = for_tasks - sum(launch.count for launch in launches)
        unmet = (Unmet(short, allowed.reason if count < for_tasks else why),) if short > 0 else ()
    else:
        # While the scheduler cannot be heard nothing is launched for tasks.
        for_them = Allowance(0, allowed.reason, True) if view.blind else allowed
        launches, unmet = plan_for_tasks(ahead, view, policy, now, for_them)
    if slots and not view.blind:
        more, left = plan_for_headroom(ahead, view, policy, now, allowed, slots, launches, _for_headroom(policy))
        launches, unmet = [*launches, *more], (*unmet, *left)
    count = sum(launch.count for launch in launches)
    missing = for_minimum - count
    if missing > 0:
        room = min(missing, allowed.instances - count)
        more, why = one_by_one(view, policy, now, room, _for_minimum(policy), launches)
        launches += more
        short = missing - sum(launch.count for launch in more)
        unmet = (*unmet, Unmet(short, allowed.reason if room < missing else why)) if short > 0 else unmet
    needed = max(for_tasks, for_minimum) if unmet else sum(launch.count for launch in launches)
    return merged(launches), unmet, needed


def _for_tasks(count: int) -> str:
    return f"pending tasks need {count} more instance{'s' if count != 1 else ''}"


def _for_headroom(policy: Policy) -> str:
    return f"the headroom is {policy.headroom_slots} slot{'s' if policy.headroom_slots != 1 else ''}"


def _for_minimum(policy: Policy) -> str:
    return f"the minimum is {policy.min_instances}"


def _allowed(view: View, found: Conditions, policy: Policy, now: float) -> Allowance:
    """How many instances may be launched now, and the reason when there are not more.

    All that is listed fills the pool until it is known to be gone, whatever its state and whoever it belongs to.
    """
    room = policy.max_instances - len(view.fleet) - view.in_flight_count
    limits = [(max(0, room), _full(view, policy))]
    failures = view.launch_failures
    if not view.others:
        # Of several offerings each has its own limits.
        limits += limits_on(view, policy, view.offering)
        if now < failures.next_attempt_at:
            limits.append((0, f"the last launch failed, the next is tried after a pause: {failures.message}"))
    if failed_joins(view, found) >= BRAKE_AFTER:
        limits.append(_braked(view, found, now))
    count, reason = min(limits, key=lambda limit: limit[0])
    return Allowance(count, reason, braked=count < room)


def _full(view: View, policy: Policy) -> str:
    text = f"the pool is at its maximum of {_instances(policy.max_instances)}"
    others = Counter(instance.state for instance in view.fleet.instances if instance.state not in _AT_WORK)
    notes = [f"{count} {state}" for state, count in sorted(others.items())]
    notes += [f"{len(view.strays)} not known to be ours"] if view.strays else []
    return f"{text} ({', '.join(notes)} among them)" if notes else text


def _instances(count: int) -> str:
    return f"{count} instance{'s' if count != 1 else ''}"


def _braked(view: View, found: Conditions, now: float) -> tuple[int, str]:
    """After several instances in a row that never joined, one at a time is tried, each after a longer pause."""
    failures = view.join_failures
    given_up = in_order(view.fleet, found.never_joined, view.fleet.launched_at)
    last = given_up[-1] if given_up else failures.last_id
    text = f"{failed_joins(view, found)} instances in a row ended without joining (the last was {last})"
    # The pause that follows from those given up in this pass begins with this pass.
    if given_up or now < failures.retry_at:
        return 0, f"{text}; one more is tried after a pause"
    return max(0, 1 - coming_count(view, found)), f"{text}; one is being tried"
