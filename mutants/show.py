"""How a run looks: a bar while it goes on, a table when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mutants.hunt import Verdict
from mutants.mutant import Mutant


class Show:
    """Tells a console how the hunt goes. May be called from several threads."""

    def __init__(self, console: Console, progress: Progress, mutants: int) -> None:
        self._console = console
        self._progress = progress
        self._all = progress.add_task("mutants", total=mutants, what="")

    @contextmanager
    def one(self, mutant: Mutant, seeds: int) -> Iterator[Ticker]:
        """A bar for one mutant, while it is hunted."""
        task = self._progress.add_task(f"  {mutant.name}", total=seeds, what="seeds")
        try:
            yield Ticker(self._progress, task)
        finally:
            self._progress.remove_task(task)

    def done(self, verdict: Verdict) -> None:
        """A line for a verdict."""
        self._progress.advance(self._all)
        if verdict.survived:
            self._console.print(f"[red]{verdict.name}: survived {verdict.tried} seeds[/]")
        else:
            text = verdict.text if len(verdict.text) <= 120 else f"{verdict.text[:117]}..."
            self._console.print(f"{verdict.name}: seed {verdict.seed}, {verdict.invariant}: {text}", markup=False)


class Ticker:
    """Moves one bar."""

    def __init__(self, progress: Progress, task: object) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, seeds: int) -> None:
        self._progress.update(self._task, completed=seeds)  # type: ignore[arg-type]


@contextmanager
def shown(console: Console, mutants: int) -> Iterator[Show]:
    """Keep the bars on the console while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield Show(console, progress, mutants)


def verdicts_table(mutants: Sequence[Mutant], verdicts: dict[str, Verdict]) -> Table:
    """Which seed found each, and which invariant told."""
    table = Table(title="Deliberate faults, and what found them")
    for heading in ("mutant", "stands for", "seed", "invariant", "seconds"):
        table.add_column(heading, justify="right" if heading in ("seed", "seconds") else "left", overflow="fold")
    for mutant in mutants:
        verdict = verdicts[mutant.name]
        seed = "" if verdict.survived else str(verdict.seed)
        invariant = f"survived {verdict.tried} seeds" if verdict.survived else verdict.invariant
        cells = (mutant.name, ", ".join(mutant.stands_for), seed, invariant, f"{verdict.seconds:.1f}")
        table.add_row(*cells, style="red" if verdict.survived else "")
    return table


def list_table(mutants: Sequence[Mutant]) -> Table:
    """What there is."""
    table = Table(title=f"{len(mutants)} deliberate faults")
    for heading in ("mutant", "stands for", "file", "what it breaks"):
        table.add_column(heading, overflow="fold")
    for mutant in mutants:
        table.add_row(mutant.name, ", ".join(mutant.stands_for), mutant.file, mutant.breaks)
    return table
