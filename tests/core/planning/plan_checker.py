"""Whether a plan does what it says: an independent look at problem and plan, by the words of the model alone."""

from __future__ import annotations

from collections import Counter
from math import isclose

from slotsmith.core.planning.plan import Filled, Plan
from slotsmith.core.planning.problem import Problem
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Constraints, TaskClass


def faults_of(problem: Problem, plan: Plan) -> list[str]:
    """What is wrong with the plan, as sentences; empty = nothing."""
    faults = [
        *_counts(problem, plan),
        *_rooms(problem, plan),
        *_units(plan),
        *_existing(problem, plan),
        *_launches(problem, plan),
        *_limits(problem, plan),
        *_groups(problem, plan),
        *_costs(problem, plan),
    ]
    # What lies nowhere cannot be handed out.
    return faults or _assignments(plan)


def _key(tasks: TaskClass) -> tuple[object, ...]:
    asked = tasks.resources
    plain = (asked.slots, asked.cpus, asked.mem_gib, asked.extras)
    return plain, tasks.gang, tasks.group, tasks.spans, tasks.constraints, tasks.example


def _counts(problem: Problem, plan: Plan) -> list[str]:
    """Every task is served or unmet, with a reason."""
    asked, told = Counter[object](), Counter[object]()
    for tasks in problem.tasks:
        asked[_key(tasks)] += tasks.count
    for served in plan.served:
        for tasks in served.tasks:
            told[_key(tasks)] += tasks.count
    for unmet in plan.unmet:
        assert unmet.tasks is not None
        told[_key(unmet.tasks)] += unmet.count
    faults = [f"{key}: {asked[key]} asked, {told[key]} told" for key in asked | told if asked[key] != told[key]]
    return faults + [f"{unmet} has no reason" for unmet in plan.unmet if not unmet.reason.strip()]


def _example(plan: Plan, index: int) -> TaskClass:
    return plan.served[index].tasks[0]


def _rooms(problem: Problem, plan: Plan) -> list[str]:
    faults = []
    for filled in plan.filled:
        capacity, zero_slots, offering = _capacity(problem, filled)
        used, zero = Counter[str](), 0
        whole = [index for index, _ in filled.units if _is_whole(plan, index)]
        if whole and len(filled.units) > 1:
            faults.append(f"{filled} holds something beside a task that takes it whole")
        for index, units in filled.units:
            tasks = _example(plan, index)
            if not _allowed(tasks.constraints, offering):
                faults.append(f"{tasks} is on {offering}")
            parts = plan.served[index].units // tasks.gang if index in whole else 1
            for name, amount in tasks.resources.items():
                used[name] += amount * units / parts
            zero += 0 if tasks.resources.slots else units
            if index in whole and (units != 1 or capacity.slots * parts != tasks.resources.slots):
                faults.append(f"{tasks} takes {units} of {filled}, which it may not")
        had = dict(capacity.items())
        for name, amount in used.items():
            if amount > had.get(name, 0.0) * (1 + 1e-9) + 1e-9:
                faults.append(f"{filled} holds {amount} {name} and has {had.get(name, 0.0)}")
        if zero_slots is not None and zero > zero_slots:
            faults.append(f"{filled} holds {zero} tasks without slots, at most {zero_slots}")
    return faults


def _is_whole(plan: Plan, index: int) -> bool:
    served = plan.served[index]
    return served.units > served.tasks[0].gang


def _capacity(problem: Problem, filled: Filled) -> tuple[Resources, int | None, Offering | None]:
    if filled.existing is None:
        assert filled.offering is not None
        return filled.offering.capacity, problem.max_zero_slot_tasks, filled.offering
    free = problem.existing[filled.existing]
    only = problem.choices[0].offering if len(problem.choices) == 1 else None
    zero = None if problem.max_zero_slot_tasks is None else free.zero_slot_tasks
    return free.free, zero, free.offering or only


def _allowed(where: Constraints, offering: Offering | None) -> bool:
    if where == Constraints():
        return True
    return (
        offering is not None
        and not where.labels
        and (not where.instance_types or offering.instance_type in where.instance_types)
        and (not where.zones or offering.zone in where.zones)
        and (not where.markets or offering.market in where.markets)
    )


def _units(plan: Plan) -> list[str]:
    """What lies on the instances is all that is served; a task that spans lies on instances of one offering."""
    lying = Counter[int]()
    offerings: dict[int, set[object]] = {}
    for filled in plan.filled:
        for index, units in filled.units:
            lying[index] += units * filled.count
            if _is_whole(plan, index) and filled.existing is None:
                offerings.setdefault(index, set()).add(filled.offering)
    faults = [
        f"{served}: {lying[index]} units lie somewhere"
        for index, served in enumerate(plan.served)
        if lying[index] != served.count * served.units
    ]
    return faults + [
        f"{_example(plan, index)} is on {len(on)} offerings" for index, on in offerings.items() if len(on) > 1
    ]


def _existing(problem: Problem, plan: Plan) -> list[str]:
    used = Counter[int]()
    faults = []
    for filled in plan.filled:
        if filled.existing is not None:
            used[filled.existing] += filled.count
            if any(_is_whole(plan, index) for index, _ in filled.units) and not problem.existing[filled.existing].whole:
                faults.append(f"{filled} is taken whole and is at work")
    return faults + [
        f"{count} agents of entry {index} are used, there are {problem.existing[index].count}"
        for index, count in used.items()
        if count > problem.existing[index].count
    ]


def _launches(problem: Problem, plan: Plan) -> list[str]:
    open_choices = {choice.offering: choice for choice in problem.choices if not choice.barred}
    filled, launched = Counter[Offering](), Counter[Offering]()
    for row in plan.filled:
        if row.existing is None and row.offering is not None:
            filled[row.offering] += row.count
    for planned in plan.launches:
        launched[planned.offering] += planned.count
    faults = [f"{offering.name} may not be launched" for offering in launched if offering not in open_choices]
    for offering, count in launched.items():
        choice = open_choices.get(offering)
        if choice is not None and choice.at_most is not None and count > choice.at_most:
            faults.append(f"{count} of {offering.name}, at most {choice.at_most}")
    for offering in filled | launched:
        idle = launched[offering] - filled[offering]
        if idle < 0 or (idle and not problem.limits.min_instances):
            faults.append(f"{launched[offering]} of {offering.name} launched, {filled[offering]} hold something")
    idle = launched.total() - filled.total()
    if idle and problem.limits.instances + launched.total() > problem.limits.min_instances:
        faults.append(f"{idle} instances hold nothing, more than the minimum asks for")
    return faults


def _limits(problem: Problem, plan: Plan) -> list[str]:
    limits = problem.limits
    count = sum(planned.count for planned in plan.launches)
    slots = sum(planned.count * planned.offering.capacity.slots for planned in plan.launches)
    dollars = sum(planned.count * (planned.offering.price or 0.0) for planned in plan.launches)
    faults = []
    if count and limits.max_instances is not None and count + limits.instances > limits.max_instances:
        faults.append(f"{count} instances launched over the maximum")
    if slots and limits.max_slots is not None and slots + limits.slots > limits.max_slots:
        faults.append(f"{slots} slots launched over the maximum")
    most = limits.max_dollars_per_hour
    if dollars and most is not None and dollars + limits.dollars_per_hour > most * (1 + 1e-9):
        faults.append(f"${dollars} per hour launched over the maximum")
    return faults


def _groups(problem: Problem, plan: Plan) -> list[str]:
    used = Counter[str]()
    for served in plan.served:
        for tasks in served.tasks:
            if tasks.group is not None:
                used[tasks.group] += tasks.count * tasks.gang * tasks.resources.slots
    return [
        f"group {group.id} would use {group.used_slots + used[group.id]} slots of {group.max_slots}"
        for group in problem.groups
        if group.max_slots is not None and used[group.id] and group.used_slots + used[group.id] > group.max_slots
    ]


def _costs(problem: Problem, plan: Plan) -> list[str]:
    cost = sum(planned.count * (planned.offering.price or 0.0) for planned in plan.launches)
    faults = []
    if not isclose(cost, plan.cost_per_hour, rel_tol=1e-9, abs_tol=1e-9):
        faults.append(f"costs {cost}, says {plan.cost_per_hour}")
    if not 0 <= plan.lower_bound_per_hour <= cost * (1 + 1e-9) + 1e-9:
        faults.append(f"costs {cost} with a bound of {plan.lower_bound_per_hour}")
    return faults


def _assignments(plan: Plan) -> list[str]:
    """Handed out one by one, each instance's tasks make up the same."""
    if sum(filled.count for filled in plan.filled) > 2_000:
        return []
    single = Counter[object]()
    for assigned in plan.assignments():
        for tasks in assigned.tasks:
            if tasks.gang == 1 and not tasks.spans:
                single[_key(tasks)] += tasks.count
    expected = Counter[object]()
    for served in plan.served:
        for tasks in served.tasks:
            if tasks.gang == 1 and not tasks.spans:
                expected[_key(tasks)] += tasks.count
    return [f"{key}: {single[key]} assigned of {expected[key]}" for key in expected if single[key] != expected[key]]
