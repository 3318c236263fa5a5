"""The scale decider: which instances to terminate, how many to launch, what stays unmet, and why.

A pass goes through the rules in the order of this file: sort the fleet into conditions, choose terminations, count
what is needed, then see what the limits allow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slotsmith.core.backoff import BRAKE_AFTER
from slotsmith.core.demand import NO_DEMAND, Demand, FreeCapacity, demand, unmet_beyond
from slotsmith.core.fleet import BUSY_AGENT, NO_AGENT, Fleet, Floats, Mask
from slotsmith.model.decision import Decision, Launch, Reason, StateSets, Termination, Unmet
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import NO_JOIN_FAILURES, NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo

_NOTHING: Final = Resources()

# An idle agent that pending tasks fit on is kept for them this many idle periods in all: a scheduler that has placed
# nothing on it for that long does not see the fit that we see.
_KEPT_IDLE_PERIODS: Final = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """All that one decision is made from.

    `draining` are instances whose termination is under way, `strays` those that are listed under our tags but not
    known to be ours: both fill the pool, and are otherwise left alone. `kept` are those that the scheduler has lately
    refused to give up. `blind`: the scheduler cannot be heard, so nothing is concluded from an agent's silence or
    idleness, and nothing but the minimum is launched.
    """

    fleet: Fleet
    info: ScalingInfo
    offering: Offering
    in_flight: tuple[InFlight, ...] = ()
    draining: frozenset[str] = frozenset()
    strays: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    launch_failures: LaunchFailures = NO_LAUNCH_FAILURES
    join_failures: JoinFailures = NO_JOIN_FAILURES
    blind: bool = False

    @property
    def in_flight_count(self) -> int:
        return sum(launch.count for launch in self.in_flight)


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The rows of the fleet by condition; `counted` and all below it leave out what is draining or a stray."""

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
    ours = ~fleet.mask(view.draining | view.strays) if view.draining or view.strays else np.True_
    counted = fleet.counted & ours
    # A listing may lag behind the scheduler: what has an agent is no request any more.
    pending = fleet.is_in(InstanceState.PENDING_REQUEST) & ours & (fleet.agent == NO_AGENT)
    awaited = counted & ~pending & (fleet.agent == NO_AGENT)
    starting_ends = fleet.launched_at + policy.max_agent_starting_period
    # First seen when its starting period was over already: whether it ever joined is not known, so it gets the
    # disconnect period, from when we first saw it, like one that did.
    joined = fleet.joined
    found_late = ~joined & (fleet.first_seen >= starting_ends)
    heard = np.bool_(not view.blind)
    disconnected = awaited & (joined | found_late) & heard
    disconnected_since = np.where(joined, fleet.missing_since, fleet.first_seen)
    starting = awaited & ~joined & ~found_late & (starting_ends > now)
    never_joined = awaited & ~disconnected & ~starting & heard
    idle = counted & np.isfinite(fleet.idle_since)
    long_idle = idle & (now > fleet.idle_since + policy.max_idle_agent_period)
    long_disconnected = disconnected & (now > disconnected_since + policy.max_agent_disconnect_period)
    return Conditions(
        counted=counted,
        # One that was stopped and works again was started by somebody, and the listing lags.
        stopped=fleet.is_in(InstanceState.STOPPED) & ours & (fleet.agent != BUSY_AGENT),
        pending=pending,
        recently_launched=pending | starting,
        never_joined=never_joined,
        idle=idle,
        long_idle=long_idle & heard,
        disconnected=disconnected,
        disconnected_since=disconnected_since,
        long_disconnected=long_disconnected,
    )


def decide(view: View, policy: Policy, now: float) -> Decision:
    """What to do at `now` (epoch seconds). The same view, policy and time always give the same decision."""
    found = conditions(view, policy, now)
    wanted = _demand(view, found, policy, now)
    terminations = _terminations(view, found, wanted, policy)
    launches, unmet, needed = _launches(view, found, terminations, wanted, policy, now)
    return Decision(
        at=now,
        launches=launches,
        terminations=terminations,
        unmet=(*wanted.unschedulable, *unmet),
        desired_new=needed,
        next_deadline=_next_deadline(view, found, policy, now),
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


def _demand(view: View, found: Conditions, policy: Policy, now: float) -> Demand:
    """What the pending tasks ask for beyond what exists; none when the scheduler counts for itself."""
    if not view.info.tasks:
        return NO_DEMAND
    return demand(
        view.info.tasks,
        view.info.groups,
        _free_capacity(view, found, policy, now),
        view.offering,
        max_instances=policy.max_instances,
        max_zero_slot_tasks=policy.max_zero_slot_tasks_per_agent,
    )


def _free_capacity(view: View, found: Conditions, policy: Policy, now: float) -> list[FreeCapacity]:
    """What could take pending tasks without a launch, ranked by the order in which it is to be used.

    Agents that stay come first, so that one about to be given up is only kept when nothing else is there; requests
    that are not even granted come last, so that one nobody needs shows up as unused.
    """
    fleet, capacity, zero_slot_tasks = view.fleet, view.offering.capacity, policy.max_zero_slot_tasks_per_agent
    connected = found.counted & (fleet.agent != NO_AGENT)
    kept = found.long_idle & ~fleet.mask(_out_of_patience(view, found, policy, now))
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
    pending = _in_order(fleet, found.pending, fleet.launched_at)
    return [
        *free(connected & ~found.long_idle, rank=0, named=False),
        *free(kept, rank=1, named=True),
        *coming(starting, (), rank=2),
        *coming(len(pending), pending, rank=3),
    ]


def _out_of_patience(view: View, found: Conditions, policy: Policy, now: float) -> list[str]:
    """Idle agents that go whatever is pending, because nothing pending was placed on them for too long.

    While others are on their way none goes: a gang may wait for them, and would lose its first agents to the last.
    """
    if _coming(view, found):
        return []
    patience = _KEPT_IDLE_PERIODS * policy.max_idle_agent_period
    fleet = view.fleet
    waited = found.long_idle & (now > fleet.idle_since + patience)
    spare = int(np.count_nonzero(found.working)) - policy.min_instances
    return _in_order(fleet, waited, fleet.idle_since)[: max(0, spare)] if waited.any() else []


def _in_order(fleet: Fleet, mask: Mask, since: Floats) -> list[str]:
    """The ids of a mask, longest `since` first, then by launch time, then by id."""
    rows = mask.nonzero()[0]
    if not rows.size:
        return []
    keys = sorted((float(since[row]), float(fleet.launched_at[row]), fleet.instances[row].id) for row in rows)
    return [instance_id for _, _, instance_id in keys]


def _newest_first(fleet: Fleet, mask: Mask) -> list[str]:
    rows = mask.nonzero()[0]
    keys = sorted((-float(fleet.launched_at[row]), fleet.instances[row].id) for row in rows)
    return [instance_id for _, instance_id in keys]


def _terminations(view: View, found: Conditions, wanted: Demand, policy: Policy) -> tuple[Termination, ...]:
    """Rules in order; what an earlier rule has chosen keeps its reason and no longer counts for a later one."""
    fleet = view.fleet
    chosen: dict[str, Reason] = {}

    def choose(ids: Iterable[str], reason: Reason, spare: float = math.inf) -> None:
        for instance_id in ids:
            if spare <= 0:
                return
            if instance_id not in chosen:
                chosen[instance_id] = reason
                spare -= 1

    choose(_in_order(fleet, found.stopped, fleet.launched_at), Reason.STOPPED)
    choose(_in_order(fleet, found.long_disconnected, found.disconnected_since), Reason.LONG_DISCONNECTED)
    choose(_in_order(fleet, found.never_joined, fleet.launched_at), Reason.NEVER_JOINED)

    working = int(np.count_nonzero(found.working))
    if found.long_idle.any() and working > policy.min_instances:
        held = wanted.used | view.kept
        unneeded = (i for i in _in_order(fleet, found.long_idle, fleet.idle_since) if i not in held)
        choose(unneeded, Reason.LONG_IDLE, working - policy.min_instances)

    over = int(np.count_nonzero(found.counted)) - policy.max_instances
    over -= sum(reason is not Reason.STOPPED for reason in chosen.values())
    if over > 0:
        choose((i for i in _over_maximum_order(fleet, found) if i not in view.kept), Reason.OVER_MAXIMUM, over)

    surplus = _surplus_requests(view, found, wanted, policy, chosen)
    choose(surplus, Reason.NOT_NEEDED)
    return tuple(Termination(instance_id, reason) for instance_id, reason in chosen.items())


def _over_maximum_order(fleet: Fleet, found: Conditions) -> Iterable[str]:
    """Who goes first when the pool is over its maximum: those whose going costs least."""
    yield from _in_order(fleet, found.pending, fleet.launched_at)
    yield from _in_order(fleet, found.idle, fleet.idle_since)
    yield from _in_order(fleet, found.disconnected, found.disconnected_since)
    yield from _newest_first(fleet, found.recently_launched)
    yield from _newest_first(fleet, found.counted)


def _surplus_requests(
    view: View, found: Conditions, wanted: Demand, policy: Policy, chosen: dict[str, Reason]
) -> list[str]:
    """Pending requests that neither demand nor the minimum needs any more, newest first."""
    pending = [i for i in _newest_first(view.fleet, found.pending) if i not in chosen]
    if not pending:
        return []
    if view.info.desired_new is not None:
        coming = _coming(view, found) - sum(i in chosen for i in view.fleet.ids(found.recently_launched))
        unneeded = min(len(pending), max(0, coming - view.info.desired_new))
        pending = pending[:unneeded]
    else:
        pending = [i for i in pending if i not in wanted.used]
    gone = sum(1 for i in view.fleet.ids(found.working) if i in chosen)
    above_minimum = int(np.count_nonzero(found.working)) + view.in_flight_count - gone - policy.min_instances
    return pending[: max(0, above_minimum)]


def _coming(view: View, found: Conditions) -> int:
    """Instances on their way: pending, starting, or asked for and not listed yet."""
    return int(np.count_nonzero(found.recently_launched)) + view.in_flight_count


def _launches(
    view: View,
    found: Conditions,
    terminations: tuple[Termination, ...],
    wanted: Demand,
    policy: Policy,
    now: float,
) -> tuple[tuple[Launch, ...], tuple[Unmet, ...], int]:
    """What to launch, what the limits leave unmet, and how many the demand asked for before limits."""
    leaving = view.fleet.mask(termination.id for termination in terminations)
    staying = int(np.count_nonzero(found.working & ~leaving)) + view.in_flight_count
    for_tasks = wanted.new_instances
    if view.info.desired_new is not None:
        coming = int(np.count_nonzero(found.recently_launched & ~leaving)) + view.in_flight_count
        for_tasks = max(0, view.info.desired_new - coming)
    for_minimum = policy.min_instances - staying
    needed = max(for_tasks, for_minimum)
    if needed <= 0:
        return (), (), 0
    allowed, reason = _allowed(view, found, policy, now)
    if view.blind and allowed > for_minimum:
        # Otherwise a scheduler that has died would be launched for as long as its agents give up and end.
        allowed, reason = max(0, for_minimum), "the scheduler cannot be heard, and what it last asked for may be over"
    # Under a limit the tasks may ask for fewer than the limit: a gang is begun whole or not at all.
    for_tasks_now = wanted.within(allowed).new_instances if view.info.tasks else min(for_tasks, allowed)
    if view.join_failures.failures >= BRAKE_AFTER:
        # Whether instances join at all is to be found out, also for a gang that needs several of them.
        for_tasks_now = min(for_tasks, allowed)
    count = min(allowed, max(for_tasks_now, for_minimum))
    unmet: tuple[Unmet, ...] = ()
    if count < needed:
        unmet = unmet_beyond(wanted, count, reason) or (Unmet(needed - count, reason),)
    if count <= 0:
        return (), unmet, needed
    for_tasks_why = f"pending tasks need {for_tasks} more instance{'s' if for_tasks != 1 else ''}"
    why = for_tasks_why if count > for_minimum else f"the minimum is {policy.min_instances}"
    return (Launch(view.offering, count, why),), unmet, needed


def _allowed(view: View, found: Conditions, policy: Policy, now: float) -> tuple[int, str]:
    """How many instances may be launched now, and the reason when there are not more.

    All that is listed fills the pool until it is known to be gone, whatever its state and whoever it belongs to.
    """
    room = policy.max_instances - len(view.fleet) - view.in_flight_count
    limits = [(max(0, room), _full(view, policy))]
    failures = view.launch_failures
    if now < failures.next_attempt_at:
        limits.append((0, f"the last launch failed, the next is tried after a pause: {failures.message}"))
    given_up = view.fleet.ids(found.never_joined)
    if view.join_failures.failures + len(given_up) >= BRAKE_AFTER:
        limits.append(_braked(view, found, given_up, now))
    return min(limits, key=lambda limit: limit[0])


def _full(view: View, policy: Policy) -> str:
    text = f"the pool is at its maximum of {_instances(policy.max_instances)}"
    others = Counter(instance.state for instance in view.fleet.instances if instance.state not in _AT_WORK)
    notes = [f"{count} {state}" for state, count in sorted(others.items())]
    notes += [f"{len(view.strays)} not known to be ours"] if view.strays else []
    return f"{text} ({', '.join(notes)} among them)" if notes else text


def _instances(count: int) -> str:
    return f"{count} instance{'s' if count != 1 else ''}"


_AT_WORK: Final = (InstanceState.STARTING, InstanceState.RUNNING)


def _braked(view: View, found: Conditions, given_up: list[str], now: float) -> tuple[int, str]:
    """After several instances in a row that never joined, one at a time is tried, each after a longer pause."""
    failures = view.join_failures
    in_a_row, last = failures.failures + len(given_up), given_up[-1] if given_up else failures.last_id
    text = f"{in_a_row} instances in a row ended without joining (the last was {last})"
    # The pause that follows from those given up in this pass begins with this pass.
    if given_up or now < failures.retry_at:
        return 0, f"{text}; one more is tried after a pause"
    return max(0, 1 - _coming(view, found)), f"{text}; one is being tried"


def _next_deadline(view: View, found: Conditions, policy: Policy, now: float) -> float | None:
    """The earliest time at which a period or a back-off that runs now is over."""
    fleet = view.fleet
    first_wait = found.recently_launched & ~found.pending
    times = [
        *_earliest(fleet.idle_since, found.idle & ~found.long_idle, policy.max_idle_agent_period, now),
        *_earliest(fleet.idle_since, found.long_idle, _KEPT_IDLE_PERIODS * policy.max_idle_agent_period, now),
        *_earliest(found.disconnected_since, found.disconnected, policy.max_agent_disconnect_period, now),
        *_earliest(fleet.launched_at, first_wait, policy.max_agent_starting_period, now),
        *(time for time in (view.launch_failures.next_attempt_at, view.join_failures.retry_at) if time > now),
    ]
    return min(times, default=None)


def _earliest(since: Floats, mask: Mask, period: float, now: float) -> list[float]:
    running = since[mask]
    if not running.size:
        return []
    ends = running + period
    ends = ends[ends >= now]
    return [float(ends.min())] if ends.size else []
