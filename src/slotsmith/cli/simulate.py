"""`slotsmith simulate`: what a policy would have cost on a trace, and how a seed of the swarm went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotsmith.cli.errors import DONE, FAILED, CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from slotsmith.cli.output import console, write_json
from slotsmith.text import one_line

if TYPE_CHECKING:
    from slotsmith.cli.simulate_inputs import Sweep
    from slotsmith.config import PoolSettings
    from slotsmith.simulation.trial import Trial, TrialResult


class Rules(StrEnum):
    """By whose rules the pool is run."""

    SLOTSMITH = "slotsmith"
    REFERENCE = "reference"


class Faults(StrEnum):
    """How much goes wrong."""

    NONE = "none"
    LIGHT = "light"
    HEAVY = "heavy"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate", short_help="Tell what a policy would have cost on a trace of tasks.")(simulate)


def simulate(
    config: ConfigOption = DEFAULT_CONFIG,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="TRACE.csv.gz", help="The tasks, as CSV, compressed or not.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="NAME", help="The pool; may be left out when there is only one.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="START:END", help="Give the figures of this part of the trace, in seconds."),
    ] = None,
    rules: Annotated[
        Rules | None, typer.Option("--rules", help="Decide by these rules. [default: slotsmith]", show_default=False)
    ] = None,
    faults: Annotated[
        Faults | None, typer.Option("--faults", help="How much goes wrong. [default: none]", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Draw all chance from this seed. [default: 0]"),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", metavar="KEY=V,V", help="Run once with each value: max_idle_agent_period=1m,5m,20m."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the run or the sweep: out.html or out.png.")
    ] = None,
    json_output: JsonOption = False,
) -> int:
    """Run the real provisioner in virtual time against a simulated cloud and scheduler.

    With --trace: what the pool's policy would have cost on these tasks, and how long they would have waited. With
    --seed alone: replays that seed of the swarm, and tells what happened in it. The same seed gives the same digest
    everywhere. The exit status is 1 when a promise was broken.
    """
    if trace is None:
        _no_trace_needed(pool=pool, window=window, rules=rules, faults=faults, sweep=sweep, plot=plot)
        if seed is None:
            raise CommandError("say --trace FILE to replay a trace, or --seed N to replay a seed of the swarm")
        from slotsmith.cli.simulate_seed import replay_seed

        return replay_seed(seed, json_output)
    request = _Request(config, trace, pool, window, rules or Rules.SLOTSMITH, faults or Faults.NONE, seed or 0, plot)
    return _sweep(request, sweep, json_output) if sweep is not None else _run(request, json_output)


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked for, as it was written."""

    config: Path
    trace: Path
    pool: str | None
    window: str | None
    rules: Rules
    faults: Faults
    seed: int
    plot: Path | None

    @property
    def circumstances(self) -> str:
        """What the figures hold for, for people."""
        part = f", window {self.window} s" if self.window else ""
        return f"{self.trace.name}{part}, rules {self.rules}, faults {self.faults}, seed {self.seed}"


def _no_trace_needed(**options: object) -> None:
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        raise CommandError(f"--{given} needs --trace: a seed of the swarm draws all of this itself")


def _run(request: _Request, json_output: bool) -> int:
    from slotsmith.cli.simulate_inputs import simulated_pool
    from slotsmith.cli.simulate_runs import run_one
    from slotsmith.cli.simulate_tables import digest_line, run_table, violation_lines

    pool = simulated_pool(request.config, request.pool)
    (trial,) = _trials(request, [pool])
    result = run_one(trial, pool.name)
    figures = result.figures
    if json_output:
        write_json(figures)
    else:
        screen = console()
        screen.print(f"pool {pool.name}: {request.circumstances}")
        screen.print(run_table(figures))
        for line in violation_lines(figures):
            screen.print(one_line(line))
        screen.print(digest_line(figures))
    if request.plot:
        _plot_run(request, pool.name, result)
    return FAILED if figures["violations"] else DONE


def _sweep(request: _Request, text: str, json_output: bool) -> int:
    from slotsmith.cli.simulate_inputs import read_sweep, simulated_pool
    from slotsmith.cli.simulate_runs import run_several
    from slotsmith.cli.simulate_tables import sweep_table, violation_lines

    pool = simulated_pool(request.config, request.pool)
    sweep = read_sweep(text, pool)
    trials = _trials(request, sweep.pools)
    runs = run_several(trials, [f"{sweep.parameter}={label}" for label in sweep.labels])
    if json_output:
        named = zip(sweep.labels, runs, strict=True)
        write_json({"sweep": [{"parameter": sweep.parameter, "value": label} | dict(run) for label, run in named]})
    else:
        screen = console()
        screen.print(f"pool {pool.name}: {request.circumstances}")
        screen.print(sweep_table(sweep.parameter, sweep.labels, runs))
        for label, run in zip(sweep.labels, runs, strict=True):
            for line in violation_lines(run):
                screen.print(one_line(f"{label}: {line}"))
    if request.plot:
        _plot_sweep(request, pool.name, sweep, runs)
    return FAILED if any(run["violations"] for run in runs) else DONE


def _plot_run(request: _Request, pool: str, result: TrialResult) -> None:
    from slotsmith.simulation.plot import PlotError, plot_course

    assert request.plot is not None
    hours, wait = result.figures["instance_hours"], result.figures["wait_s"]["mean"]
    title = f"Pool {pool}: {hours:,.0f} instance-hours, mean wait {wait:,.1f} s"
    try:
        plot_course(result.course, request.plot, title=title, subtitle=request.circumstances)
    except PlotError as error:
        raise CommandError(one_line(str(error)), FAILED) from error


def _plot_sweep(request: _Request, pool: str, sweep: Sweep, runs: Sequence[Mapping[str, Any]]) -> None:
    from slotsmith.cli.simulate_tables import sweep_points
    from slotsmith.simulation.plot import PlotError, plot_sweep

    assert request.plot is not None
    unit, points = sweep_points(sweep.labels, runs)
    title, subtitle = f"Pool {pool}", request.circumstances
    try:
        plot_sweep(points, request.plot, parameter=sweep.parameter, unit=unit, title=title, subtitle=subtitle)
    except PlotError as error:
        raise CommandError(one_line(str(error)), FAILED) from error


def _trials(request: _Request, pools: Sequence[PoolSettings]) -> list[Trial]:
    """What is to be run. All that can be wrong with the options is found here, before the first run."""
    from slotsmith.cli.simulate_inputs import check_plot_option, make_trials

    if request.plot:
        check_plot_option(request.plot)
    return make_trials(
        pools,
        request.trace,
        window=request.window,
        rules=request.rules.value,
        faults=request.faults.value,
        seed=request.seed,
    )
