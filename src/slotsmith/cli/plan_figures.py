"""A plan as the JSON of `slotsmith plan`, and why tasks are left over, in the words of its files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from slotsmith.cli.errors import CommandError
from slotsmith.cli.plan_places import Run, runs
from slotsmith.text import quoted, suggestion

if TYPE_CHECKING:
    from slotsmith.cli.plan_inputs import PlanInputs
    from slotsmith.core.planning.plan import Plan
    from slotsmith.model.decision import Unmet

MOST_ASSIGNMENTS: Final = 1_000_000
"""Instances that are listed one by one at the most."""


def figures(inputs: PlanInputs, plan: Plan, seconds: float, *, assignments: bool) -> dict[str, Any]:
    """The plan with the keys of `slotsmith plan --json`; `seconds` is how long it took."""
    made: dict[str, Any] = {
        "launch": [
            {
                "instance_type": planned.offering.instance_type,
                "zone": planned.offering.zone,
                "market": planned.offering.market,
                "count": planned.count,
            }
            for planned in plan.launches
        ],
        "cost_per_hour": _dollars(plan.cost_per_hour),
        "lower_bound_per_hour": _dollars(plan.lower_bound_per_hour),
        # There is no number in JSON for a bound of nothing.
        "gap": plan.gap if math.isfinite(plan.gap) else None,
        "placed": plan.placed,
        "unplaced": [
            {"task_id": name, "count": unmet.count, "reason": reason} for name, unmet, reason in unplaced(inputs, plan)
        ],
        "seconds": round(seconds, 6),
        "stopped_by": plan.stopped_by.value,
    }
    if assignments:
        made["instances"] = _instances(inputs, plan)
    return made


def unplaced(inputs: PlanInputs, plan: Plan) -> list[tuple[str, Unmet, str]]:
    """What is left over: the task's id, how many of it, and why; in the order of the file."""
    turns = {name: turn for turn, name in enumerate(inputs.tasks)} if plan.unmet else {}
    told = [(unmet.tasks.example, unmet, _reason(inputs, unmet)) for unmet in plan.unmet if unmet.tasks]
    return sorted(told, key=lambda each: turns[each[0]])


def _reason(inputs: PlanInputs, unmet: Unmet) -> str:
    """The planner speaks of a pool; here there is a catalogue, and types stand for the gpus that were asked for."""
    assert unmet.tasks is not None
    gpu_type = inputs.wanted.get(unmet.tasks.constraints)
    if gpu_type is None:
        return unmet.reason.replace("of this pool", "of the catalogue")
    known = sorted({each for each in inputs.gpu_types.values() if each})
    if gpu_type not in known:
        return f"wants gpu_type {quoted(gpu_type)}, which no offering of the catalogue has{suggestion(gpu_type, known)}"
    return unmet.reason.replace("of this pool", f"of the catalogue with gpu_type {quoted(gpu_type)}")


def _dollars(amount: float) -> float:
    """Without the last digits of a sum of prices, which are those of the computation."""
    return float(f"{amount:.12g}")


def _instances(inputs: PlanInputs, plan: Plan) -> list[dict[str, Any]]:
    total = sum(filled.count for filled in plan.filled)
    if total > MOST_ASSIGNMENTS:
        raise CommandError(
            f"--assignments: the plan has {total:,} instances, which are listed up to {MOST_ASSIGNMENTS:,} only; "
            "leave it out, or ask for one task with --explain"
        )
    return [instance for run in runs(plan) for instance in _each(inputs, run)]


def _each(inputs: PlanInputs, run: Run) -> Iterator[dict[str, Any]]:
    where: Mapping[str, str]
    if run.existing is not None:
        where = {"instance_id": inputs.problem.existing[run.existing].ids[0]}
    else:
        assert run.offering is not None
        where = {"instance_type": run.offering.instance_type}
    tasks = [{"task_id": part.task_id, "count": part.members} for part in run.parts]
    for _ in range(run.count):
        yield {**where, "tasks": tasks}
