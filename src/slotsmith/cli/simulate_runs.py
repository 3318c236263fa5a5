"""Replays of a trace with a progress bar: one in this process, several side by side in their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slotsmith.simulation.trial import Trial, TrialResult


def run_one(trial: Trial, label: str) -> TrialResult:
    """The result of one trial."""
    from slotsmith.simulation.trial import run_trial
    from slotsmith.simulation.world import collect_rarely

    collect_rarely()
    with _bars([label]) as progress:
        return run_trial(trial, lambda share: progress(0, share))


def run_several(trials: Sequence[Trial], labels: Sequence[str]) -> list[Mapping[str, Any]]:
    """The figures of several, in their order."""
    from slotsmith.cli.side_by_side import side_by_side
    from slotsmith.simulation.trial import run_for_figures

    with _bars(labels) as progress:
        return side_by_side(run_for_figures, trials, progress=progress)


@contextmanager
def _bars(labels: Sequence[str]) -> Iterator[Callable[[int, float], None]]:
    """A bar on standard error for each label, when that is a terminal; moved by an index and a share from 0 to 1."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks = [bars.add_task(label, total=1.0, start=False) for label in labels]

        def progress(index: int, share: float) -> None:
            if not bars.tasks[index].started:
                bars.start_task(tasks[index])
            bars.update(tasks[index], completed=share)

        yield progress
