"""Why a pending task cannot be served, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence

from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Constraints, Group, TaskClass

NO_ZERO_SLOT_TASKS = "uses no slot, and agents of this pool take no tasks without slots"


def wants_elsewhere(constraints: Constraints, offering: Offering) -> str:
    """What a task wants that instances of the offering are not; empty = they are all it wants."""
    if constraints is ANYWHERE:
        return ""
    kind, zone, market = offering.instance_type, offering.zone, offering.market
    reasons = []
    if constraints.instance_types and kind not in constraints.instance_types:
        reasons.append(f"wants instance type {_either(constraints.instance_types)}; this pool launches {kind}")
    if constraints.zones and zone not in constraints.zones:
        launches = f"launches in {zone}" if zone else "has no zones"
        reasons.append(f"wants zone {_either(constraints.zones)}; this pool {launches}")
    if constraints.markets and market not in constraints.markets:
        reasons.append(f"wants market {_either(constraints.markets)}; this pool launches {market}")
    if constraints.labels:
        labels = _all_of([f"{name}={value}" for name, value in constraints.labels])
        reasons.append(f"wants {labels}; agents of this pool have no labels")
    return "; ".join(reasons)


def too_large(tasks: TaskClass, capacity: Resources, lacking: Sequence[str]) -> str:
    """A task that asks for more than one instance has of the `lacking` kinds."""
    asked, had = dict(tasks.resources.items()), dict(capacity.items())
    who = "each member asks" if tasks.gang > 1 else "asks"
    wanted = _all_of([_amount(kind, asked[kind]) for kind in lacking])
    if len(lacking) == 1:
        has = f"{had.get(lacking[0], 0):.10g}" if had.get(lacking[0]) else "none"
    else:
        has = _all_of([_amount(kind, had.get(kind, 0)) for kind in lacking])
    return f"{who} for {wanted}; an instance of this pool has {has}"


def no_multiple(tasks: TaskClass, capacity: Resources) -> str:
    """A task that may span, but only whole instances."""
    asked, has = _amount("slots", tasks.resources.slots), capacity.slots
    return f"asks for {asked} on whole instances; an instance of this pool has {has}, which does not divide that"


def too_large_to_span(tasks: TaskClass, capacity: Resources, agents: int, lacking: Sequence[str]) -> str:
    """A spanning task whose instances would have enough slots, but not enough else."""
    asked, had = dict(tasks.resources.items()), dict((capacity * agents).items())
    slots = _amount("slots", tasks.resources.slots)
    wanted = _all_of([_amount(kind, asked[kind]) for kind in lacking])
    has = _all_of([_amount(kind, had.get(kind, 0)) for kind in lacking])
    return f"asks for {slots} and {wanted}; the {agents} instances of this pool that have its slots have {has}"


def above_maximum(tasks: TaskClass, agents_each: int, at_most: int, max_instances: int) -> str:
    """A gang that could never start at once. `agents_each`: whole instances of a member, 0 for a part of one."""
    pool = f"the pool's maximum of {_count(max_instances, 'instance')}"
    if not agents_each:
        return f"{tasks.gang} members must start together; {pool} holds {at_most}"
    if tasks.gang == 1:
        asked = _amount("slots", tasks.resources.slots)
        return f"asks for {asked} on {agents_each} whole instances at once; {pool} is less"
    return f"{tasks.gang} members on {agents_each} whole instances each must start together; {pool} is less"


def group_full(tasks: TaskClass, group: Group, promised: int) -> str:
    """A group's maximum. `promised`: slots of its pending tasks that are served before these."""
    maximum = group.max_slots or 0
    asked = tasks.resources.slots * tasks.gang
    if asked > maximum:
        return f"asks for {_slots(tasks)}; group {group.id} may use {maximum} at most"
    taken = f"{group.used_slots} used" + (f", {promised} for tasks before these" if promised else "")
    left = maximum - group.used_slots - promised
    if left > 0:
        return f"asks for {_slots(tasks)}; group {group.id} has {left} left of its maximum of {maximum} ({taken})"
    return f"group {group.id} is at its maximum of {_count(maximum, 'slot')} ({taken})"


def _slots(tasks: TaskClass) -> str:
    return _amount("slots", tasks.resources.slots * tasks.gang) + (" together" if tasks.gang > 1 else "")


def _amount(kind: str, amount: float) -> str:
    if kind == "mem_gib":
        return f"{amount:.10g} GiB of memory"
    if kind in ("slots", "cpus"):
        return f"{amount:.10g} {kind[:-1] if amount == 1 else kind}"
    return f"{amount:.10g} {kind}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


def _all_of(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
