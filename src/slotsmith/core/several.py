"""Which instances to launch where there are several offerings: what the planner chooses, within the pool's limits.

With one offering, `core.demand` counts exactly; this is for the others. Two plans are made. The first has no limits: it
tells what the tasks ask for beyond what exists, and which of that they use. The second is for now: without offerings
that are left alone after a failure, and within the limits. Most of the time it is the first one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from slotsmith.core import unmet
from slotsmith.core.conditions import Conditions
from slotsmith.core.demand import NO_DEMAND, Demand
from slotsmith.core.free_capacity import free_capacity
from slotsmith.core.planning.budget import QUICK, Budget
from slotsmith.core.planning.plan import Plan
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.core.planning.solve import plan as solve
from slotsmith.core.promises import promises_of, set_aside
from slotsmith.core.spending import limits_on, money, slots_held
from slotsmith.core.stages import in_stages, quick_plan
from slotsmith.core.view import OnOffer, View
from slotsmith.model.decision import Launch, Promise, Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

_NOTHING: Final = Plan()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the tasks ask for beyond what exists, if everything could be had; `wanted` is the same in numbers."""

    problem: Problem
    plan: Plan
    wanted: Demand


class Allowance(NamedTuple):
    """At most so many instances may be launched, and `reason` says why not more; `braked`: below the pool's room."""

    instances: int
    reason: str
    braked: bool


def outlook(view: View, found: Conditions, policy: Policy, now: float, budget: Budget = QUICK) -> Outlook:
    """What the pending tasks ask for; nothing when the scheduler counts for itself."""
    zero = policy.max_zero_slot_tasks_per_agent
    aside = set_aside(view, found, zero)
    existing = (*aside.existing, *free_capacity(view, found, policy, now, aside))
    choices = _choices(view, {})
    problem = Problem((), choices, existing, aside.groups, max_zero_slot_tasks=zero)
    if not aside.tasks:
        return Outlook(problem, _NOTHING, replace(NO_DEMAND, used=aside.used) if aside.used else NO_DEMAND)
    able, never = _able(aside.tasks, problem, policy)
    problem = replace(problem, tasks=able)
    plan = solve(problem, budget) if budget.work else quick_plan(problem)
    taken = _taken(plan)
    used = {name for index, count in taken.items() for name in existing[index].ids[:count]}
    wanted = Demand(
        plan.launch_count,
        (*never, *plan.unmet),
        aside.used | used,
        sum(taken.values()),
    )
    return Outlook(problem, plan, wanted)


def excess(ahead: Outlook, launches: Sequence[Launch]) -> float:
    """Dollars per hour by which what is launched for tasks may be dearer than the cheapest there is; see `Decision`.

    0 where limits and failures have their say: those launches are planned within what is left, whatever they cost.
    """
    counts = {launch.offering: launch.count for launch in launches}
    if any(counts.get(planned.offering, 0) < planned.count for planned in ahead.plan.launches):
        return 0.0
    return ahead.plan.cost_per_hour - ahead.plan.lower_bound_per_hour


def _taken(plan: Plan) -> Counter[int]:
    """How many agents of each entry of what exists hold something."""
    taken: Counter[int] = Counter()
    for filled in plan.filled:
        if filled.existing is not None:
            taken[filled.existing] += filled.count
    return taken


def _able(
    tasks: Sequence[TaskClass], problem: Problem, policy: Policy
) -> tuple[tuple[TaskClass, ...], tuple[Unmet, ...]]:
    """The tasks without gangs that could never start at once, and those."""
    able, never = [], []
    for kind in tasks:
        reason = _never_at_once(kind, problem, policy)
        if reason:
            never.append(Unmet(kind.count, reason, kind))
        else:
            able.append(kind)
    return tuple(able), tuple(never)


def _never_at_once(kind: TaskClass, problem: Problem, policy: Policy) -> str:
    """Why no pool within its maximum could hold all members of a gang at once; empty = one could."""
    asked, most = kind.resources, policy.max_instances
    if kind.gang == 1 and not kind.spans:
        return ""
    willing = [c.offering for c in problem.choices if not unmet.wants_elsewhere(kind.constraints, c.offering)]
    per_new = max((asked.times_in(offering.capacity) for offering in willing), default=0)
    if per_new >= 1:
        existing = sum(free.count for free in problem.existing)
        there = sum(free.count * asked.times_in(free.free) for free in problem.existing)
        if kind.gang > most * per_new and kind.gang > there + max(0, most - existing) * per_new:
            return unmet.above_maximum(kind, 0, int(most * per_new), most)
        return ""
    agents = [
        asked.slots // offering.capacity.slots
        for offering in willing
        if kind.spans and offering.capacity.slots and not asked.slots % offering.capacity.slots
    ]
    if agents and kind.gang * min(agents) > most:
        return unmet.above_maximum(kind, min(agents), 0, most)
    return ""


def open_offerings(view: View, now: float) -> list[Offering]:
    """What may be launched now, cheapest first; after them, likewise, what there was no room for lately."""
    free = [each.offering for each in view.on_offer if now >= each.failures.next_attempt_at]
    scarce = short(view, now)
    return sorted(free, key=lambda offering: (offering.name in scarce, offering.price or 0.0, offering.name))


def barred(each: OnOffer, now: float) -> str:
    """Why an offering is left alone now; empty = it is not."""
    if now >= each.failures.next_attempt_at:
        return ""
    at = datetime.fromtimestamp(math.ceil(each.failures.next_attempt_at), UTC)
    return f"the last launch of it failed, the next is tried at {at:%H:%M:%S} UTC: {each.failures.message}"


def refused(view: View, now: float) -> dict[str, str]:
    """The offerings that are left alone now, by name, each with the reason."""
    return {each.offering.name: text for each in view.on_offer if (text := barred(each, now))}


def short(view: View, now: float) -> dict[str, str]:
    """The offerings, by name, that are launched only where no other will do, each with the reason."""
    found = {name: each for name, each in view.shortages.items() if now < each.until}
    return {name: f"there was no room for it lately: {each.reason}" for name, each in sorted(found.items())}


def for_tasks(
    ahead: Outlook, view: View, policy: Policy, now: float, allowed: Allowance
) -> tuple[list[Launch], tuple[Unmet, ...]]:
    """What to launch for pending tasks now, and which of them stay unmet."""
    count = ahead.plan.launch_count
    if not count:
        return [], ()
    never, scarce = refused(view, now), short(view, now)
    shut = {**scarce, **never}
    plans, left = _plans(ahead, view, policy, allowed, shut)
    if left and scarce:
        others, still_left = _plans(ahead, view, policy, allowed, never)
        if _size(still_left) < _size(left):
            shut, plans, left = never, others, still_left
    if allowed.braked or not allowed.instances:
        left = tuple(replace(each, reason=allowed.reason) for each in left)
    reason = f"pending tasks need {count} more instance{'s' if count != 1 else ''}"
    wants = {planned.offering.name for planned in ahead.plan.launches}
    for names, why in (
        (never.keys(), "whose last launch failed"),
        (shut.keys() - never.keys(), "which there was no room for lately"),
    ):
        without = sorted(wants & names)
        reason += f", without {' and '.join(without)}, {why}" if without else ""
    launches = [
        Launch(planned.offering, planned.count, reason, promises_of(plan).get(planned.offering, ()))
        for plan in plans
        for planned in plan.launches
    ]
    if allowed.braked and allowed.instances and not launches:
        # Whether instances join at all is to be found out, also for a gang that needs several of them.
        launches = one_by_one(view, policy, now, allowed.instances, reason, [])[0]
    return launches, left


def _plans(
    ahead: Outlook, view: View, policy: Policy, allowed: Allowance, shut: Mapping[str, str]
) -> tuple[list[Plan], tuple[Unmet, ...]]:
    """How to launch for the tasks without what is shut, and what that leaves unmet."""
    problem = _for_now(ahead, view, policy, allowed, shut)
    wants = {planned.offering.name for planned in ahead.plan.launches}
    if not (wants & shut.keys()) and _within(ahead.plan, problem.limits):
        return [ahead.plan], ()
    plans = list(in_stages(problem, dict(policy.group_priorities)))
    return plans, tuple(each for plan in plans for each in plan.unmet)


def _size(left: Sequence[Unmet]) -> int:
    return sum(each.count * (each.tasks.gang if each.tasks else 1) for each in left)


def places_lacking(ahead: Outlook, view: View, policy: Policy, now: float) -> int:
    """How many instances tasks need that wait for room, though a pool without idle instances would have it for them.

    Idle instances of another size than tasks need may fill the pool, or use up its money, for good: for the sake of the
    minimum or the headroom.
    """
    if not ahead.plan.launch_count:
        return 0
    shut = refused(view, now)
    there = len(view.fleet) + view.in_flight_count
    allowed = Allowance(max(0, policy.max_instances - there), "", braked=False)
    problem = _for_now(ahead, view, policy, allowed, shut)
    wants = {planned.offering.name for planned in ahead.plan.launches}
    if not (wants & shut.keys()) and _within(ahead.plan, problem.limits):
        return 0
    plans = in_stages(problem, dict(policy.group_priorities))
    left = tuple(each.tasks for plan in plans for each in plan.unmet if each.tasks)
    most = money(view, policy).most
    empty = Limits(policy.max_instances, policy.max_slots, most)
    return quick_plan(replace(problem, tasks=left, existing=(), limits=empty)).launch_count if left else 0


def for_headroom(
    ahead: Outlook,
    view: View,
    policy: Policy,
    now: float,
    allowed: Allowance,
    slots: int,
    begun: Sequence[Launch],
    reason: str,
) -> tuple[list[Launch], tuple[Unmet, ...]]:
    """What to launch beside launches that are begun so that so many more slots are free, and why not all of it."""
    never, scarce = refused(view, now), short(view, now)
    limits = _for_now(ahead, view, policy, allowed, never).limits
    for launch in begun:
        limits = replace(
            limits,
            instances=limits.instances + launch.count,
            slots=limits.slots + launch.count * launch.offering.capacity.slots,
            dollars_per_hour=limits.dollars_per_hour + launch.count * (launch.offering.price or 0.0),
        )
    # A slot is what a task of one slot takes, and nothing else of the instance.
    problem = Problem((TaskClass(Resources(1), slots),), _choices(view, {**scarce, **never}), limits=limits)
    plan = quick_plan(problem)
    if plan.unmet and scarce:
        other = quick_plan(replace(problem, choices=_choices(view, never)))
        plan = other if _size(other.unmet) < _size(plan.unmet) else plan
    why = allowed.reason if allowed.braked or not allowed.instances else ""
    largest = max(1, *(each.offering.capacity.slots for each in view.on_offer))
    left = tuple(
        Unmet(math.ceil(each.count / largest), f"{reason}, {each.count} lack: {why or each.reason}")
        for each in plan.unmet
    )
    return [Launch(planned.offering, planned.count, reason) for planned in plan.launches], left


def _for_now(ahead: Outlook, view: View, policy: Policy, allowed: Allowance, shut: Mapping[str, str]) -> Problem:
    """The tasks that could be served if everything could be had, and what can be had now."""
    tasks = tuple(kind for served in ahead.plan.served for kind in served.tasks)
    there = len(view.fleet) + view.in_flight_count
    spending = money(view, policy)
    limits = Limits(
        max_instances=there + allowed.instances,
        max_slots=policy.max_slots,
        max_dollars_per_hour=spending.most,
        instances=there,
        slots=slots_held(view) if policy.max_slots is not None else 0,
        dollars_per_hour=spending.spent,
        dollars_reason=spending.reason,
    )
    choices = _choices(view, shut)
    return replace(ahead.problem, tasks=tasks, choices=choices, limits=limits)


def _choices(view: View, shut: Mapping[str, str]) -> tuple[Choice, ...]:
    """What is on offer, cheapest first, in whatever order it comes; `shut` says by name what is left alone, and why."""
    by_price = sorted((each.offering for each in view.on_offer), key=lambda each: (each.price or 0.0, each.name))
    return tuple(Choice(offering, barred=shut.get(offering.name, "")) for offering in by_price)


def _within(plan: Plan, limits: Limits) -> bool:
    slots = sum(planned.count * planned.offering.capacity.slots for planned in plan.launches)
    return (
        plan.launch_count <= (math.inf if limits.instances_left is None else limits.instances_left)
        and slots <= (math.inf if limits.slots_left is None else limits.slots_left)
        and plan.cost_per_hour <= (math.inf if limits.dollars_left is None else limits.dollars_left)
    )


def one_by_one(
    view: View,
    policy: Policy,
    now: float,
    count: int,
    reason: str,
    begun: Sequence[Launch],
    *,
    at_least: Offering | None = None,
) -> tuple[list[Launch], str]:
    """`count` more instances of whatever is cheapest, beside launches that are begun, and why not more.

    `at_least`: only offerings that have everything that this one has.
    """
    suits = [each for each in view.on_offer if at_least is None or at_least.capacity.fits_in(each.offering.capacity)]
    launches: list[Launch] = []
    why = "; ".join(sorted(f"{each.offering.name}: {text}" for each in suits if (text := barred(each, now))))
    for offering in open_offerings(view, now):
        if count <= 0:
            break
        if offering not in [each.offering for each in suits]:
            continue
        limits = limits_on(view, policy, offering, [*begun, *launches])
        room, limit = min(limits, default=(count, ""))
        some = min(count, room)
        why = limit if some < count else why
        if some:
            launches.append(Launch(offering, some, reason))
            count -= some
    return launches, why


def merged(launches: Sequence[Launch]) -> tuple[Launch, ...]:
    """One launch for each offering, by name; what is said first stands."""
    found: dict[Offering, Launch] = {}
    for launch in launches:
        first = found.get(launch.offering)
        promises: tuple[Promise, ...] = launch.promises if first is None else (*first.promises, *launch.promises)
        count = launch.count + (0 if first is None else first.count)
        found[launch.offering] = Launch(launch.offering, count, (first or launch).reason, promises)
    return tuple(sorted(found.values(), key=lambda launch: launch.offering.name))
