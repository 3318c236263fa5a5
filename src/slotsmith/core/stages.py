"""Plans where a limit binds and some groups go first: one plan for each priority, in what the ones before leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.planning.budget import QUICK
from slotsmith.core.planning.plan import Filled, Plan
from slotsmith.core.planning.problem import Limits, Problem
from slotsmith.core.planning.solve import plan as solve
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

# After all that exists, as what it will be once it is launched.
_JUST_PLANNED = 9
# Each is another plan, and the largest instances are those that matter.
_MOST_SIZES = 4


@lru_cache(maxsize=16)
def quick_plan(problem: Problem) -> Plan:
    """The first good plan. A pool that waits for room asks the same again and again, so the last ones are kept."""
    return solve(problem, QUICK)


def in_stages(problem: Problem, priorities: Mapping[str, int]) -> list[Plan]:
    """One plan for each priority, the highest first; a single one where there is nothing to choose."""
    levels: dict[int, list[TaskClass]] = {}
    for kind in problem.tasks:
        levels.setdefault(priority_of(kind, priorities), []).append(kind)
    plans = []
    for _, tasks in sorted(levels.items(), reverse=True):
        problem = replace(problem, tasks=tuple(tasks))
        plans.append(_most_held(problem))
        problem = replace(problem, existing=tuple(left_by(problem, plans[-1])), limits=after(problem.limits, plans[-1]))
    return plans


def _most_held(problem: Problem) -> Plan:
    """The plan within the limits that holds most.

    The planner gives a task that spans the cheapest instances, which may be too many for the limits when they are
    small: then it is tried without those, too.
    """
    plan = quick_plan(problem)
    if not any(each.tasks is not None and each.tasks.spans for each in plan.unmet):
        return plan
    plans = [plan]
    sizes = sorted({choice.offering.capacity.slots for choice in problem.choices}, reverse=True)
    for least in sizes[:_MOST_SIZES]:
        larger = tuple(choice for choice in problem.choices if choice.offering.capacity.slots >= least)
        if len(larger) < len(problem.choices):
            plans.append(quick_plan(replace(problem, choices=larger)))
    return min(plans, key=lambda each: (_slots_left(each), each.cost_per_hour))


def _slots_left(plan: Plan) -> int:
    return sum(each.count * each.tasks.gang * each.tasks.resources.slots for each in plan.unmet if each.tasks)


def priority_of(kind: TaskClass, priorities: Mapping[str, int]) -> int:
    """That of its group; 0 without one, and for groups that are not named."""
    return priorities.get(kind.group, 0) if kind.group is not None else 0


def after(limits: Limits, plan: Plan) -> Limits:
    """The limits once the launches of a plan are under way."""
    return replace(
        limits,
        instances=limits.instances + plan.launch_count,
        slots=limits.slots + sum(each.count * each.offering.capacity.slots for each in plan.launches),
        dollars_per_hour=limits.dollars_per_hour + plan.cost_per_hour,
    )


def left_by(problem: Problem, plan: Plan) -> Iterator[FreeCapacity]:
    """What the instances that exist, and those that a plan launches, have left beside what it puts on them."""
    begun = [0] * len(problem.existing)
    for filled in plan.filled:
        if filled.existing is None:
            assert filled.offering is not None
            whole = FreeCapacity(
                filled.offering.capacity, filled.count, _zero(problem, filled.offering), True, rank=_JUST_PLANNED
            )
            yield _beside(replace(whole, offering=filled.offering), filled, plan)
            continue
        entry, first = problem.existing[filled.existing], begun[filled.existing]
        begun[filled.existing] += filled.count
        part = replace(entry, count=filled.count, ids=entry.ids[first : first + filled.count])
        yield _beside(part, filled, plan)
    for entry, first in zip(problem.existing, begun, strict=True):
        if entry.count > first:
            yield replace(entry, count=entry.count - first, ids=entry.ids[first:])


def _zero(problem: Problem, offering: Offering) -> int:
    return offering.capacity.slots if problem.max_zero_slot_tasks is None else problem.max_zero_slot_tasks


def _beside(entry: FreeCapacity, filled: Filled, plan: Plan) -> FreeCapacity:
    free, zero = entry.free, entry.zero_slot_tasks
    for index, units in filled.units:
        asked = plan.served[index].tasks[0].resources
        # A task that spans takes instances whole, and is larger than each of them.
        free = free - asked * units if asked.fits_in(entry.free) else Resources()
        zero -= 0 if asked.slots else units
    return replace(entry, free=free, zero_slot_tasks=max(0, zero), whole=False)
