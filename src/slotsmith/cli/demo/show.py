"""What the demo tells: lines as things happen, a live picture where there is a terminal, and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from slotsmith.model.record import Move, StatisticsSpan

_COLOURS = {"busy": "green", "idle": "yellow", "starting": "cyan", "disconnected": "red", "none": "dim"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended. Slot-seconds are the tasks' own time, paid seconds those of the instances."""

    tasks: int
    done: int
    wrong: int
    found: int
    expected: int
    slot_seconds: float
    slots: int
    spans: Sequence[StatisticsSpan]
    reasons: Sequence[tuple[str, str, str]]
    killed: str
    seconds: float


class Show:
    """Prints to standard output; on a terminal the picture below the lines is drawn anew each time."""

    def __init__(self, tasks: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("tasks"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[waiting]} waiting")
        )
        self._bar = self._progress.add_task("tasks", total=tasks, waiting=0)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._told: Counter[str] = Counter()

    def __enter__(self) -> Show:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def line(self, seconds: float, text: str) -> None:
        """One thing that has happened, `seconds` after the start."""
        self._console.print(f"[dim]{seconds:6.1f}s[/dim]  {text}")

    def move(self, seconds: float, move: Move) -> None:
        """One line of an instance's history."""
        before, after = move.before or "new", move.after or "gone"
        note = f"  [dim]({move.note})[/dim]" if move.note else ""
        self.line(seconds, f"{move.instance_id}: {before} -> {after}{note}")

    def draw(self, done: int, waiting: int, summary: Mapping[str, Any] | None, processing: Mapping[str, int]) -> None:
        """The picture as it is now."""
        self._progress.update(self._bar, completed=done, waiting=waiting)
        if not self._console.is_terminal:
            return
        table = Table(box=None, pad_edge=False)
        for column in ("agent", "instance is", "agent is", "tasks on it", "why it goes"):
            table.add_column(column)
        for instance in (summary or {}).get("instances", ()):
            agent, ending = instance["agent"], instance["termination"]
            colour = _COLOURS.get(agent, "")
            shown = f"[{colour}]{agent}[/{colour}]" if colour else agent
            tasks = str(processing.get(instance["id"], 0))
            table.add_row(instance["id"], instance["state"], shown, tasks, ending["reason"] if ending else "")
        self._live.update(Group(self._progress, table))

    def summary(self, outcome: Outcome) -> None:
        """The figures at the end, and the reasons."""
        paid = sum(span.seconds(0) for span in outcome.spans)
        least = outcome.slot_seconds / outcome.slots
        table = Table(title="Summary", box=None, title_justify="left", show_header=False)
        table.add_row("tasks done", f"{outcome.done} of {outcome.tasks} in {outcome.seconds:.1f}s")
        verdict = "equal" if outcome.found == outcome.expected else "DIFFERENT"
        table.add_row("primes found", f"{outcome.found}; by the direct computation {outcome.expected}: {verdict}")
        table.add_row("agents launched", str(len(outcome.spans)))
        table.add_row("instance-seconds paid", f"{paid:.0f}")
        table.add_row(
            "least possible", f"{least:.0f} (the tasks' {outcome.slot_seconds:.0f} slot-seconds, packed full)"
        )
        table.add_row("agent killed half-way", outcome.killed or "none")
        self._console.print()
        self._console.print(table)
        why = Table(title="Why", box=None, title_justify="left")
        for column in ("instance", "launched because", "terminated because"):
            why.add_column(column)
        for row in outcome.reasons:
            why.add_row(*row)
        self._console.print()
        self._console.print(why)
        self._console.print()

    def last_line(self, done: int, tasks: int, wrong: int, left: int) -> None:
        """What scripts read."""
        print(f"done {done}/{tasks} tasks, wrong {wrong}, processes left {left}", flush=True)
