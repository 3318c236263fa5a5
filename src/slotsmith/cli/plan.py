"""`slotsmith plan`: the cheapest launches that hold a list of tasks."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import JsonOption
from slotsmith.cli.output import console, say, write_json
from slotsmith.clock import SystemClock
from slotsmith.text import one_line

if TYPE_CHECKING:
    from slotsmith.cli.plan_inputs import PlanInputs
    from slotsmith.core.planning.plan import Plan

DEFAULT_SECONDS = 0.5

# The first plan of a large problem takes its seconds whatever the budget; a busy machine is no reason to cut it off.
_LEAST_CUT_OFF = 10.0

WITHOUT_SOLVER = (
    "highspy is not installed: this is the quick plan, with its bound, improved without a linear program; "
    "pip install 'slotsmith[plan]' for cheaper plans and a tighter bound"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", short_help="Tell the cheapest launches that hold a list of tasks.")(plan)


def plan(
    tasks: Annotated[
        Path,
        typer.Option(
            "--tasks", metavar="TASKS.csv", help="The tasks: gpus,cpus,mem_gib[,task_id,count,gang,gpu_type]."
        ),
    ],
    catalog: Annotated[
        Path,
        typer.Option(
            "--catalog",
            metavar="CATALOG.csv",
            help="What can be launched: instance_type,gpus,cpus,mem_gib,price_per_hour"
            "[,zone,market,max_count,gpu_type].",
        ),
    ],
    fleet: Annotated[
        Path | None,
        typer.Option(
            "--fleet",
            metavar="FLEET.csv",
            help="What existing instances have free, used first: instance_id,gpus,cpus,mem_gib[,gpu_type].",
        ),
    ] = None,
    max_seconds: Annotated[
        float,
        typer.Option(
            "--max-seconds",
            metavar="S",
            help="Search for better plans with the work that about so many seconds hold; 0 = take the first good one.",
        ),
    ] = DEFAULT_SECONDS,
    assignments: Annotated[
        bool, typer.Option("--assignments", help="With --json: also tell which tasks lie on which instance.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option("--explain", metavar="TASK", help="Tell where this task goes, or why it goes nowhere."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell which instances to launch so that all tasks have a place, at the least cost per hour.

    Also tells the least cost that is possible (a bound that is proved), and what is left over and why. The files are
    CSV with a header, compressed when their names end in .gz; an empty field is 0. Nothing is launched. The same files
    give the same plan on every machine.
    """
    _check(max_seconds, assignments, json_output)
    from slotsmith.cli.plan_explain import known_task
    from slotsmith.cli.plan_inputs import read_inputs

    with _progress(f"reading {tasks.name}"):
        inputs = read_inputs(tasks, catalog, fleet)
    if task is not None:
        known_task(inputs, task, tasks)
    with _progress(f"planning {inputs.task_count:,} tasks, with a budget of {max_seconds:g} s"):
        made, seconds = _plan(inputs, max_seconds)
    if json_output:
        write_json(_json(inputs, made, seconds, assignments=assignments, task=task))
    else:
        _print(inputs, made, seconds, task)
    if made.gap and max_seconds and find_spec("highspy") is None:
        say(f"slotsmith: {WITHOUT_SOLVER}")


def _check(max_seconds: float, assignments: bool, json_output: bool) -> None:
    if not (max_seconds >= 0 and math.isfinite(max_seconds)):
        raise CommandError(f"--max-seconds: expected a number of seconds of at least 0, got {max_seconds:g}")
    if assignments and not json_output:
        raise CommandError("--assignments needs --json; --explain TASK tells people where a task goes")


def _plan(inputs: PlanInputs, max_seconds: float) -> tuple[Plan, float]:
    """The plan, and how many seconds it took."""
    from slotsmith.core.planning import solve
    from slotsmith.core.planning.budget import Budget

    clock = SystemClock()
    begun = clock.now()
    budget = Budget.of(max_seconds)
    budget = replace(budget, seconds=max(budget.seconds, _LEAST_CUT_OFF))
    made = solve.plan(inputs.problem, budget, clock.now)
    return made, clock.now() - begun


def _json(inputs: PlanInputs, made: Plan, seconds: float, *, assignments: bool, task: str | None) -> dict[str, Any]:
    from slotsmith.cli.plan_explain import as_json, explain
    from slotsmith.cli.plan_figures import figures

    told = figures(inputs, made, seconds, assignments=assignments)
    if task is not None:
        told["explain"] = as_json(explain(inputs, made, task))
    return told


def _print(inputs: PlanInputs, made: Plan, seconds: float, task: str | None) -> None:
    from slotsmith.cli.plan_explain import explain, explanation
    from slotsmith.cli.plan_tables import report

    screen = console()
    parts = report(inputs, made, seconds) if task is None else explanation(explain(inputs, made, task))
    for part in parts:
        screen.print(part)


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """While it lasts, what is going on and for how long, on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(one_line(what), total=None)
        yield
