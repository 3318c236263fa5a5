"""Why a task stays unmet, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence

from slotsmith.core import unmet
from slotsmith.core.planning.problem import Choice, Limits, Problem
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

# A person reads a few names; more of them say no more.
_MOST_NAMED = 3


def never(problem: Problem, tasks: TaskClass) -> str:
    """Why no offering that may be had now could hold one of these tasks, and nothing that exists does."""
    if not problem.choices:
        return "no offering may be launched"
    willing = [choice for choice in problem.choices if not unmet.wants_elsewhere(tasks.constraints, choice.offering)]
    if not willing:
        return _elsewhere(problem, tasks)
    large = [choice for choice in willing if _could_hold(problem, tasks, choice.offering.capacity)]
    if large:
        return _not_to_be_had(large)
    if not tasks.resources.slots and problem.max_zero_slot_tasks == 0:
        return unmet.NO_ZERO_SLOT_TASKS
    return _too_large(willing, tasks)


def _could_hold(problem: Problem, tasks: TaskClass, capacity: Resources) -> bool:
    asked = tasks.resources
    if not asked.slots and problem.max_zero_slot_tasks == 0:
        return False
    if asked.fits_in(capacity):
        return True
    if not (tasks.spans and capacity.slots and asked.slots % capacity.slots == 0):
        return False
    return asked.fits_in(capacity * (asked.slots // capacity.slots))


def _elsewhere(problem: Problem, tasks: TaskClass) -> str:
    if len(problem.choices) == 1:
        return unmet.wants_elsewhere(tasks.constraints, problem.choices[0].offering)
    where = tasks.constraints
    wanted = [
        f"{what} {' or '.join(names)}"
        for what, names in (("instance type", where.instance_types), ("zone", where.zones), ("market", where.markets))
        if names
    ]
    wanted += [f"{name}={value}" for name, value in where.labels]
    return f"wants {' and '.join(wanted)}; no offering of this pool is that"


def _not_to_be_had(choices: Sequence[Choice]) -> str:
    told = [f"{choice.offering.name}: {choice.barred or 'no more may be had'}" for choice in choices]
    more = f"; and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return "; ".join(told[:_MOST_NAMED]) + more


def _too_large(choices: Sequence[Choice], tasks: TaskClass) -> str:
    names = list(dict(tasks.resources.items()))
    had = {name: max(_amount(choice.offering.capacity, name) for choice in choices) for name in names}
    lacking = [name for name, amount in tasks.resources.items() if amount > had[name]]
    if len(choices) == 1:
        capacity = choices[0].offering.capacity
        if tasks.spans and "slots" in lacking and capacity.slots:
            agents, rest = divmod(tasks.resources.slots, capacity.slots)
            if rest:
                return unmet.no_multiple(tasks, capacity)
            over = [name for name, amount in tasks.resources.items() if amount > agents * had[name]]
            return unmet.too_large_to_span(tasks, capacity, agents, over)
        return unmet.too_large(tasks, capacity, lacking)
    if not lacking:
        return f"asks for {tasks.resources}; no single offering of this pool has all of that"
    asked = " and ".join(_told(name, _amount(tasks.resources, name)) for name in lacking)
    most = " and ".join(_told(name, had[name]) if had[name] else "none" for name in lacking)
    who = "each member asks" if tasks.gang > 1 else "asks"
    return f"{who} for {asked}; the largest offering of this pool has {most}"


def _amount(resources: Resources, name: str) -> float:
    return dict(resources.items()).get(name, 0.0)


def _told(name: str, amount: float) -> str:
    if name == "mem_gib":
        return f"{amount:.10g} GiB of memory"
    return f"{amount:.10g} {name[:-1] if name in ('slots', 'cpus') and amount == 1 else name}"


def over_limits(problem: Problem, bought: Sequence[tuple[Offering, int]], tasks: TaskClass) -> str:
    """Why no more is launched for tasks that offerings could hold."""
    limits = problem.limits
    fitting = [choice for choice in problem.open_choices if _willing(problem, tasks, choice)]
    counts = {(offering.instance_type, offering.zone, offering.market): count for offering, count in bought}
    left = [choice for choice in fitting if choice.at_most is None or counts.get(_place(choice), 0) < choice.at_most]
    if fitting and not left:
        told = [f"no more than {choice.at_most} of {choice.offering.name}" for choice in fitting[:_MOST_NAMED]]
        barred = [choice for choice in problem.choices if choice.barred and _willing(problem, tasks, choice)]
        return "; ".join([*(f"{what} may be had" for what in told), *([_not_to_be_had(barred)] if barred else [])])
    if not fitting:
        return f"no room is left on what exists, and nothing more may be launched for it: {never(problem, tasks)}"
    return _limit(limits, bought, left, tasks)


def _willing(problem: Problem, tasks: TaskClass, choice: Choice) -> bool:
    if unmet.wants_elsewhere(tasks.constraints, choice.offering):
        return False
    return _could_hold(problem, tasks, choice.offering.capacity)


def _limit(limits: Limits, bought: Sequence[tuple[Offering, int]], fitting: Sequence[Choice], tasks: TaskClass) -> str:
    instances = limits.instances + sum(count for _, count in bought)
    slots = limits.slots + sum(offering.capacity.slots * count for offering, count in bought)
    dollars = limits.dollars_per_hour + sum((offering.price or 0.0) * count for offering, count in bought)
    together = f"{tasks.gang} members must start together; " if tasks.gang > 1 else ""
    reasons = []
    if limits.max_instances is not None and (together or instances >= limits.max_instances):
        reasons.append(f"the pool's maximum of {_many(limits.max_instances, 'instance')}")
    least = min(choice.offering.capacity.slots for choice in fitting)
    if limits.max_slots is not None and (together or slots + least > limits.max_slots):
        reasons.append(f"the pool's maximum of {_many(limits.max_slots, 'slot')}")
    cheapest = min(choice.price for choice in fitting)
    if limits.max_dollars_per_hour is not None and (together or dollars + cheapest > limits.max_dollars_per_hour):
        spent = f"${dollars:,.2f} of it is spent"
        maximum = f"the pool's maximum of ${limits.max_dollars_per_hour:,.2f} per hour ({spent})"
        reasons.append(limits.dollars_reason or maximum)
    if not reasons:
        return f"{together}the pool's limits leave no room for it"
    return f"{together}over {' and '.join(reasons)}"


def _place(choice: Choice) -> tuple[str, str, str]:
    return choice.offering.instance_type, choice.offering.zone, choice.offering.market


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"
