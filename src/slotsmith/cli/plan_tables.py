"""What `slotsmith plan` tells people: what to launch, what it costs, what is left over and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from slotsmith.cli.output import table
from slotsmith.cli.plan_figures import unplaced

if TYPE_CHECKING:
    from rich.console import RenderableType

    from slotsmith.cli.plan_inputs import PlanInputs
    from slotsmith.core.planning.plan import Plan
    from slotsmith.model.offering import Offering

MOST_REASONS: Final = 20
"""Reasons that are told one by one."""

_MOST_NAMES: Final = 5


def report(inputs: PlanInputs, plan: Plan, seconds: float) -> Iterator[RenderableType]:
    """The plan as tables and lines."""
    if plan.launches:
        yield launch_table(inputs, plan)
    yield table(("figure", "value", ""), _figures(inputs, plan, seconds))
    if plan.unmet:
        yield from _left_over(inputs, plan)


def launch_table(inputs: PlanInputs, plan: Plan) -> RenderableType:
    """A line for each offering, dearest in sum first. What an instance has stands there too: in a catalogue of
    hundreds, the cheapest gpus may be of a kind that nobody thought of."""
    rows = [
        (
            planned.offering.instance_type,
            planned.offering.zone or "-",
            planned.offering.market or "-",
            f"{planned.count:,}",
            _has(planned.offering, inputs.gpu_types.get(planned.offering.instance_type, "")),
            _dollars(planned.offering.price or 0.0),
            _dollars(planned.count * (planned.offering.price or 0.0)),
        )
        for planned in sorted(
            plan.launches, key=lambda each: (-each.count * (each.offering.price or 0.0), each.offering.name)
        )
    ]
    return table(("launch", "zone", "market", "count", "each has", "price", "cost per hour"), rows)


def _has(offering: Offering, gpu_type: str) -> str:
    """`4 T4, 48 cpus, 192 GiB`."""
    capacity = offering.capacity
    gpus = [f"{capacity.slots:,} {gpu_type}" if gpu_type else many(capacity.slots, "gpu")] if capacity.slots else []
    cpus = f"{capacity.cpus:,.10g} cpu{'s' if capacity.cpus != 1 else ''}"
    return ", ".join([*gpus, cpus, f"{capacity.mem_gib:,.10g} GiB"])


def many(count: int, word: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _figures(inputs: PlanInputs, plan: Plan, seconds: float) -> Iterator[tuple[str, str, str]]:
    yield "cost per hour", _dollars(plan.cost_per_hour), many(plan.launch_count, "instance")
    yield "least possible", _dollars(plan.lower_bound_per_hour), "proved: nothing that holds the same tasks costs less"
    if plan.gap:
        yield "gap", f"{100 * plan.gap:.2f} %", "the plan costs at most so much above the least possible"
    else:
        yield "gap", "none", "no plan is cheaper"
    yield "placed", f"{plan.placed:,} of {many(inputs.task_count, 'task')}", ""
    if inputs.problem.existing:
        yield "existing instances used", *_fleet_used(inputs, plan)
    yield "search", f"{seconds:.2f} s", _ENDS[plan.stopped_by.value]


_ENDS: Final = {
    "optimal": "ended: nothing is cheaper",
    "work": "found nothing cheaper with its budget of work",
    "clock": "cut off by the clock: another machine may find another plan",
}


def _fleet_used(inputs: PlanInputs, plan: Plan) -> tuple[str, str]:
    """How many existing instances get something, and how much of what all of them have free."""
    existing = inputs.problem.existing
    used = {"gpus": 0.0, "cpus": 0.0, "GiB of memory": 0.0}
    for filled in plan.filled:
        if filled.existing is None:
            continue
        for index, units in filled.units:
            asked = plan.served[index].tasks[0].resources
            for name, amount in zip(used, (asked.slots, asked.cpus, asked.mem_gib), strict=True):
                used[name] += units * filled.count * amount
    free = [each.free for each in existing]
    had = (sum(each.slots for each in free), sum(each.cpus for each in free), sum(each.mem_gib for each in free))
    told = [
        f"{taken:,.10g} of {whole:,.10g} {name}"
        for (name, taken), whole in zip(used.items(), had, strict=True)
        if whole
    ]
    count = len({filled.existing for filled in plan.filled if filled.existing is not None})
    return f"{count:,} of {len(existing):,}", ", ".join(told)


def _left_over(inputs: PlanInputs, plan: Plan) -> Iterator[RenderableType]:
    by_reason: dict[str, list[tuple[str, int]]] = {}
    for name, unmet, reason in unplaced(inputs, plan):
        by_reason.setdefault(reason, []).append((name, unmet.count))
    rows = []
    for reason, tasks in list(by_reason.items())[:MOST_REASONS]:
        names = [name for name, _ in tasks[:_MOST_NAMES]]
        more = [f"{len(tasks) - len(names):,} more"] if len(tasks) > len(names) else []
        rows.append((", ".join([*names, *more]), f"{sum(count for _, count in tasks):,}", reason))
    yield table(("left over", "tasks", "because"), rows)
    if len(by_reason) > MOST_REASONS:
        yield f"and {many(len(by_reason) - MOST_REASONS, 'more reason')}; --json has them all"


def _dollars(amount: float) -> str:
    return f"${amount:,.4f}"
