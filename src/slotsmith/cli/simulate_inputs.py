"""What the options of `slotsmith simulate` mean, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import one_pool, read
from slotsmith.text import one_line, quoted, suggestion

if TYPE_CHECKING:
    from slotsmith.config import PoolSettings
    from slotsmith.schedulers.simulated.job import Job
    from slotsmith.simulation.trial import Trial

SIMULATED: Final = "simulated"
"""The type of a provider and of a scheduler that can be simulated."""

_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """The pool with each value of one of its keys; `labels` are the values as they were written."""

    parameter: str
    labels: tuple[str, ...]
    pools: tuple[PoolSettings, ...]


def simulated_pool(file: Path, name: str | None) -> PoolSettings:
    """The pool called `name`, or the only one; its provider and its scheduler are simulated ones."""
    pool = one_pool(read(file), name, file)
    for part, kind in (("provider", pool.provider.type), ("scheduler", pool.scheduler.type)):
        if kind != SIMULATED:
            raise CommandError(
                f"{file}: pool {quoted(pool.name)} has a {part} of type {quoted(kind)}; only one of type "
                f"'{SIMULATED}' can be simulated"
            )
    if pool.schedule:
        raise CommandError(f"{file}: pool {quoted(pool.name)} has a schedule, which is not simulated: leave it out")
    return pool


def read_window(text: str) -> tuple[float, float]:
    """`START:END`, in seconds from the first submission."""
    start, _, end = text.partition(":")
    try:
        window = (float(start), float(end))
    except ValueError:
        window = (math.nan, math.nan)
    if not 0 <= window[0] < window[1] < math.inf:
        raise CommandError(
            f"--window: expected START:END in seconds, START before END, like 86400:172800; got {quoted(text)}"
        )
    return window


def check_plot_option(plot: Path) -> None:
    """Whether a chart can be drawn into this file; found out before the first run."""
    from slotsmith.simulation.plot import PlotError, check_plot

    try:
        check_plot(plot)
    except PlotError as error:
        raise CommandError(f"--plot: {one_line(str(error))}") from None


def window_of(text: str | None, jobs: Sequence[Job], trace: Path) -> tuple[float, float] | None:
    """The window that was asked for, in which some of the jobs are submitted; None = all of the trace."""
    span = read_window(text) if text is not None else None
    if span is not None and not any(span[0] <= job.submit_s < span[1] for job in jobs):
        first, last = jobs[0].submit_s, jobs[-1].submit_s
        raise CommandError(
            f"--window: no task of {trace} is submitted in {text}; its tasks are submitted from "
            f"{first:.15g} to {last:.15g} seconds"
        )
    return span


def make_trials(
    pools: Sequence[PoolSettings], trace: Path, *, window: str | None, rules: str, faults: str, seed: int
) -> list[Trial]:
    """One trial of the trace for each of `pools`, which differ in their policies only."""
    from slotsmith.providers.simulated import SimulatedSettings
    from slotsmith.simulation.trial import Trial

    jobs = read_jobs(trace)
    span = window_of(window, jobs, trace)
    provider = pools[0].provider
    assert isinstance(provider, SimulatedSettings)
    return [Trial(pool.policy(), provider, jobs, span, rules, faults, seed) for pool in pools]


def read_jobs(trace: Path) -> tuple[Job, ...]:
    """The tasks of a trace, which has some."""
    from slotsmith.simulation.trace import TraceError, read_trace

    try:
        jobs = read_trace(trace)
    except TraceError as error:
        raise CommandError(one_line(str(error))) from None
    if not jobs:
        raise CommandError(f"{trace}: has no tasks")
    return tuple(jobs)


def read_sweep(text: str, pool: PoolSettings) -> Sweep:
    """`KEY=VALUE,VALUE`: the key is one of a pool's limits and periods, and each value stands as in the file."""
    from slotsmith.config import PoolSettings
    from slotsmith.model.policy import Policy

    key, equals, values = text.partition("=")
    one_value = PoolSettings.model_fields.keys() - {"group_priorities"}
    known = [field.name for field in fields(Policy) if field.name in one_value]
    key = key.strip()
    if not equals:
        raise CommandError(
            f"--sweep: expected KEY=VALUE,VALUE like max_idle_agent_period=1m,5m,20m; got {quoted(text)}"
        )
    if key not in known:
        raise CommandError(f"--sweep: unknown key {quoted(key)}{suggestion(key, known)}")
    labels = tuple(label.strip() for label in values.split(","))
    _check_once(labels)
    return Sweep(key, labels, tuple(_changed(pool, key, label) for label in labels))


def _check_once(labels: Sequence[str]) -> None:
    twice = next((label for index, label in enumerate(labels) if label in labels[:index]), None)
    if twice is not None:
        raise CommandError(f"--sweep: the value {quoted(twice)} stands twice")


def _changed(pool: PoolSettings, key: str, text: str) -> PoolSettings:
    """The pool with another value, judged as if it stood in the file."""
    from pydantic import ValidationError

    from slotsmith.config import PoolSettings
    from slotsmith.config.explain import explain

    value: float | str = text
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < _LONGEST_NUMBER:
        value = float(text) if "." in text else int(text)
    data = pool.model_dump(mode="json") | {"provider": pool.provider, "scheduler": pool.scheduler, key: value}
    try:
        return PoolSettings.model_validate(data)
    except ValidationError as error:
        where, told = explain(error.errors(include_url=False)[0], PoolSettings, data)
        place = "" if where == (key,) else f"{where[0]}: "
        raise CommandError(f"--sweep: {key}={text}: {place}{told}") from None
