"""`slotsmith advise`: what a pool could change, what that would have cost, and how long tasks would have waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotsmith.cli.errors import DONE, FAILED, CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, PoolArgument, StoreOption
from slotsmith.cli.output import console, span, write_json
from slotsmith.text import one_line, quoted

if TYPE_CHECKING:
    from slotsmith.config import PoolSettings
    from slotsmith.providers.simulated import SimulatedSettings
    from slotsmith.schedulers.simulated import Job
    from slotsmith.simulation.advice import Advice, Choice, Figures
    from slotsmith.simulation.history import History

# Agents that joined before the record began are not there when it is replayed: the first figures mean nothing.
_SKIPPED_S = 3600.0
_SKIPPED_SHARE = 0.1
_JOIN_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("advise", short_help="Tell what a pool could change, and what that would save.")(advise)


def advise(
    pool: PoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="TRACE.csv.gz", help="The tasks, as CSV, compressed or not.")
    ] = None,
    from_store: Annotated[
        bool, typer.Option("--from-store", help="Take the tasks that the pool itself has had, from its record.")
    ] = False,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 6h, 1d, 7d.")] = "7d",
    store: StoreOption = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="START:END", help="Judge by this part of the trace, in seconds."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw cost against wait: out.html or out.png.")
    ] = None,
    json_output: JsonOption = False,
) -> int:
    """Try other settings on the tasks that were, and name those that would have been better.

    Each is a simulation, as `slotsmith simulate` makes it: other idle periods or a learned one, a learned headroom, one
    market or one instance type alone. With --trace the tasks are those of a file, with --from-store those that the pool
    itself has had. What a pool of a real cloud may launch, at what price and how fast, is taken from its record.
    """
    if (trace is None) == (not from_store):
        raise CommandError("say --trace FILE or --from-store: where the tasks come from")
    if window is not None and trace is None:
        raise CommandError("--window needs --trace; --since says how much of the record is taken")
    from slotsmith.cli.options import one_pool, read
    from slotsmith.cli.simulate_inputs import check_plot_option
    from slotsmith.cli.simulate_runs import run_several
    from slotsmith.simulation.advice import advised, choices
    from slotsmith.simulation.trial import Trial

    if plot is not None:
        check_plot_option(plot)
    settings = one_pool(read(config), pool, config)
    asked = _Asked(settings, config, store, since)
    work = _traced(asked, trace, window) if trace is not None else _remembered(asked)
    tried = choices(settings.policy(), work.provider)
    trials = [Trial(each.policy, each.provider, work.jobs, work.window, whole=False) for each in tried]
    runs = run_several(trials, [each.label for each in tried])
    advice = advised(runs)
    if json_output:
        write_json(_as_json(tried, runs, advice))
    else:
        _tell(f"pool {settings.name}: {work.told}", tried, runs, advice)
    if plot is not None:
        _plot(plot, settings.name, work.told, tried, runs)
    return FAILED if any(run["violations"] for run in runs) else DONE


@dataclass(frozen=True, slots=True)
class _Asked:
    """The pool, and where its record is."""

    pool: PoolSettings
    config: Path
    store: str | None
    since: str


@dataclass(frozen=True, slots=True)
class _Work:
    """What every choice is tried on; `told` says it to people."""

    jobs: tuple[Job, ...]
    provider: SimulatedSettings
    window: tuple[float, float] | None
    told: str


def _traced(asked: _Asked, trace: Path, window: str | None) -> _Work:
    from slotsmith.cli.simulate_inputs import read_jobs, window_of

    jobs = read_jobs(trace)
    part = f", window {window} s" if window else ""
    provider = _provider(asked, None)
    return _Work(jobs, provider, window_of(window, jobs, trace), f"{trace.name}{part}, {_launched(provider)}")


def _remembered(asked: _Asked) -> _Work:
    history = _history(asked)
    if history.unseen:
        raise CommandError(f"the scheduler of pool {quoted(asked.pool.name)} tells no tasks: use --trace", FAILED)
    if not history.jobs:
        raise CommandError(f"pool {quoted(asked.pool.name)} has had no tasks in the last {asked.since}", FAILED)
    provider = _provider(asked, history)
    window = (min(_SKIPPED_S, _SKIPPED_SHARE * history.seconds), history.seconds)
    told = f"{len(history.jobs):,} tasks in {span(history.seconds)} on record, {_launched(provider)}"
    return _Work(history.jobs, provider, window, told)


def _launched(provider: SimulatedSettings) -> str:
    return f"instances are up within {span(provider.boot_time + provider.join_time)}"


def _history(asked: _Asked) -> History:
    from slotsmith.cli.books import Source, open_readable, start_of
    from slotsmith.core.recording import fold
    from slotsmith.simulation.history import history_of

    start = start_of(asked.since)
    with open_readable(Source.of(asked.config, asked.store).url) as books:
        rows = books.recorded_views(asked.pool.name, since=start)
    cases = fold(asked.pool.name, rows)["cases"]
    if not cases:
        raise CommandError(f"nothing is on record of pool {quoted(asked.pool.name)} in the last {asked.since}", FAILED)
    return history_of(cases)


def _provider(asked: _Asked, history: History | None) -> SimulatedSettings:
    """The cloud that the pool is tried in: the simulated one that it has, or one like the real one on its record."""
    from slotsmith.providers.simulated import SimulatedSettings, SimulatedType

    if isinstance(asked.pool.provider, SimulatedSettings):
        return asked.pool.provider
    history = history or _history(asked)
    types = tuple(
        SimulatedType(
            name=each.instance_type,
            slots=each.capacity.slots,
            cpus=each.capacity.cpus,
            mem_gib=each.capacity.mem_gib,
            price_per_hour=each.price,
            zone=each.zone,
            market="spot" if each.market == "spot" else "on-demand",
        )
        for each in history.offerings
    )
    default = SimulatedSettings(type="simulated", instance_types=types)
    starting = history.starting_s or default.boot_time + default.join_time
    # Nothing happens behind the back of this pool, so that it need not look often.
    return default.model_copy(
        update={
            "boot_time": max(0.0, starting - _JOIN_S),
            "join_time": min(_JOIN_S, starting),
            "poll_period": 300.0,
        }
    )


def _as_json(tried: Sequence[Choice], runs: Sequence[Figures], advice: Sequence[Advice]) -> dict[str, Any]:
    why = {each.index: each.why for each in advice}
    told = [
        {"choice": choice.label, "advised": why.get(index)} | dict(run)
        for index, (choice, run) in enumerate(zip(tried, runs, strict=True))
    ]
    return {"choices": told}


def _tell(circumstances: str, tried: Sequence[Choice], runs: Sequence[Figures], advice: Sequence[Advice]) -> None:
    from slotsmith.cli.simulate_tables import choices_table, violation_lines
    from slotsmith.simulation.advice import cost_of

    screen = console()
    screen.print(circumstances)
    screen.print(choices_table([each.label for each in tried], runs))
    for choice, run in zip(tried, runs, strict=True):
        for line in violation_lines(run):
            screen.print(one_line(f"{choice.label}: {line}"))
    now = runs[0]
    if not advice:
        screen.print("Nothing that was tried would have been better than the pool as it is.")
        return
    screen.print("Worth taking:")
    for each in advice:
        run = runs[each.index]
        cost = cost_of(run) / cost_of(now) - 1 if cost_of(now) else 0.0
        change = f"cost {100 * cost:+.1f} %, mean wait {run['wait_s']['mean']:,.1f} s"
        before = f"instead of {now['wait_s']['mean']:,.1f} s"
        screen.print(one_line(f"- {tried[each.index].label}: {each.why} ({change} {before})"))


def _plot(plot: Path, pool: str, told: str, tried: Sequence[Choice], runs: Sequence[Figures]) -> None:
    from slotsmith.cli.simulate_tables import sweep_points
    from slotsmith.simulation.plot import PlotError, plot_sweep

    unit, points = sweep_points([each.label for each in tried], runs)
    try:
        plot_sweep(points, plot, parameter="choice", unit=unit, title=f"Pool {pool}", subtitle=told, joined=False)
    except PlotError as error:
        raise CommandError(one_line(str(error)), FAILED) from error
