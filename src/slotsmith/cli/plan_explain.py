"""`slotsmith plan --explain TASK`: where a task goes or why it goes nowhere, and what else could hold it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from slotsmith.cli.errors import CommandError
from slotsmith.cli.output import table
from slotsmith.cli.plan_figures import unplaced
from slotsmith.cli.plan_places import Run, runs
from slotsmith.cli.plan_tables import many
from slotsmith.text import one_line, quoted, suggestion

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from slotsmith.cli.plan_inputs import PlanInputs
    from slotsmith.core.planning.plan import Plan
    from slotsmith.core.planning.problem import Choice, FreeCapacity
    from slotsmith.model.resources import Resources
    from slotsmith.model.task import TaskClass

MOST_PLACES: Final = 12
MOST_ALTERNATIVES: Final = 10
_MOST_BESIDE: Final = 4
# A search for near names takes a while, and a file may have a million of them.
_FEW_NAMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """`count` instances that each hold so many members of the task. `where` is an offering or an instance's id."""

    where: str
    existing: bool
    count: int
    members: int
    beside: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """An offering, how many members of the task one instance would hold by itself, and why not if 0."""

    name: str
    price: float
    holds: int
    why_not: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that there is to say of a task; `reasons` are those of what is not placed, with how many tasks each.

    Of `existing` instances, `roomy` have room for a member of it, were it alone.
    """

    tasks: TaskClass
    places: tuple[Place, ...]
    reasons: tuple[tuple[int, str], ...]
    alternatives: tuple[Alternative, ...]
    existing: int
    roomy: int

    @property
    def placed(self) -> int:
        return self.tasks.count - sum(count for count, _ in self.reasons)


def known_task(inputs: PlanInputs, task: str, file: Path) -> None:
    """Raises CommandError when no line of the file is called so."""
    if task not in inputs.tasks:
        near = suggestion(task, inputs.tasks) if len(inputs.tasks) <= _FEW_NAMES else ""
        raise CommandError(f"--explain: {file} has no task {quoted(task)}{near}")


def explain(inputs: PlanInputs, plan: Plan, task: str) -> Explanation:
    """What the plan does with a task of the file."""
    tasks = inputs.tasks[task]
    places = tuple(_place(inputs, run, task) for run in runs(plan) if any(part.task_id == task for part in run.parts))
    reasons = tuple((unmet.count, reason) for name, unmet, reason in unplaced(inputs, plan) if name == task)
    existing = inputs.problem.existing
    roomy = sum(tasks.resources.fits_in(each.free) and _may_use(tasks, each) for each in existing)
    return Explanation(tasks, places, reasons, tuple(_alternatives(inputs, tasks)), len(existing), roomy)


def _may_use(tasks: TaskClass, existing: FreeCapacity) -> bool:
    types = tasks.constraints.instance_types
    return not types or (existing.offering is not None and existing.offering.instance_type in types)


def as_json(told: Explanation) -> dict[str, Any]:
    """The explanation as a program wants it."""
    return {
        "task_id": told.tasks.example,
        "count": told.tasks.count,
        "placed": told.placed,
        "places": [
            {("instance_id" if place.existing else "offering"): place.where, "instances": place.count}
            | {"members_on_each": place.members}
            for place in told.places
        ],
        "unplaced": [{"count": count, "reason": reason} for count, reason in told.reasons],
        "existing": {"instances": told.existing, "with_room": told.roomy},
        "alternatives": [
            {
                "offering": other.name,
                "price_per_hour": other.price,
                "holds": other.holds,
                "why_not": list(other.why_not),
            }
            for other in told.alternatives
        ],
    }


def explanation(told: Explanation) -> Iterator[RenderableType]:
    """The explanation as a person reads it: lines and tables."""
    tasks = told.tasks
    gang = f", {tasks.gang:,} members together" if tasks.gang > 1 else ""
    each = f" each, {tasks.count:,} of them" if tasks.count > 1 else ""
    yield one_line(f"task {tasks.example}: asks for {tasks.resources}{each}{gang}")
    yield f"placed: {told.placed:,} of {many(tasks.count, 'task')}"
    for count, reason in told.reasons:
        yield one_line(f"left over: {many(count, 'task')}: {reason}")
    if told.places:
        columns = ("it goes to", "instances", "of it on each", "beside it on each")
        yield table(columns, [_place_row(place) for place in told.places[:MOST_PLACES]])
        if len(told.places) > MOST_PLACES:
            yield f"and {len(told.places) - MOST_PLACES:,} more lines like these"
    if told.existing:
        yield f"existing instances with room for it, were it alone: {told.roomy:,} of {told.existing:,}"
    if told.alternatives:
        shown = told.alternatives[:MOST_ALTERNATIVES]
        yield table(("what could hold it", "price", "by itself"), [_other_row(other) for other in shown])
        if len(told.alternatives) > len(shown):
            yield f"and {len(told.alternatives) - len(shown):,} more instance types"


def _place(inputs: PlanInputs, run: Run, task: str) -> Place:
    if run.existing is not None:
        where = inputs.problem.existing[run.existing].ids[0]
    else:
        assert run.offering is not None
        where = run.offering.name
    members = sum(part.members for part in run.parts if part.task_id == task)
    beside = tuple((part.task_id, part.members) for part in run.parts if part.task_id != task)
    return Place(where, run.existing is not None, run.count, members, beside)


def _place_row(place: Place) -> tuple[object, ...]:
    beside = [f"{count:,} of {name}" for name, count in place.beside[:_MOST_BESIDE]]
    more = len(place.beside) - len(beside)
    told = ", ".join([*beside, f"{more} more"] if more else beside) or "nothing"
    what = f"{place.where} (exists)" if place.existing else place.where
    return what, f"{place.count:,}", f"{place.members:,}", told


def _other_row(other: Alternative) -> tuple[object, ...]:
    return (
        other.name,
        f"${other.price:,.4f}",
        f"holds {other.holds:,} of it" if other.holds else "; ".join(other.why_not),
    )


def _alternatives(inputs: PlanInputs, tasks: TaskClass) -> list[Alternative]:
    """One for each instance type, where it is cheapest: what holds it, cheapest per member, then what nearly does."""
    cheapest: dict[str, Choice] = {}
    for choice in inputs.problem.choices:
        other = cheapest.get(choice.offering.instance_type)
        if other is None or _turn(choice) < _turn(other):
            cheapest[choice.offering.instance_type] = choice
    wanted = inputs.wanted.get(tasks.constraints, "")
    others = [_alternative(choice, inputs, tasks, wanted) for choice in cheapest.values()]
    return sorted(others, key=lambda other: (len(other.why_not), other.price / (other.holds or 1), other.name))


def _turn(choice: Choice) -> tuple[bool, float, str]:
    return choice.at_most == 0, choice.price, choice.offering.name


def _alternative(choice: Choice, inputs: PlanInputs, tasks: TaskClass, wanted: str) -> Alternative:
    offering = choice.offering
    why_not = _lacking(tasks.resources, offering.capacity)
    has = inputs.gpu_types[offering.instance_type]
    if wanted and has != wanted:
        why_not.append(
            f"has gpu_type {quoted(has)}, not {quoted(wanted)}" if has else f"has no gpu_type {quoted(wanted)}"
        )
    if choice.at_most == 0:
        why_not.append("max_count is 0")
    # What asks for nothing goes in without end; no more of it than there is.
    holds = 0 if why_not else int(min(tasks.resources.times_in(offering.capacity), tasks.count * tasks.gang))
    return Alternative(offering.name, choice.price, holds, tuple(why_not))


def _lacking(asked: Resources, had: Resources) -> list[str]:
    has = dict(had.items())
    return [
        f"has {_amount(kind, has[kind])}, {amount:.10g} asked"
        for kind, amount in asked.items()
        if amount > has[kind] * (1 + 1e-9)
    ]


def _amount(kind: str, amount: float) -> str:
    if kind == "mem_gib":
        return f"{amount:.10g} GiB of memory"
    return f"{amount:.10g} {'gpu' if kind == 'slots' else 'cpu'}{'s' if amount != 1 else ''}"
