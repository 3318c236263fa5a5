"""What the demo tells: lines as things happen, a live picture where there is a terminal, and the summary."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from slotsmith.model.agent import Agent
from slotsmith.model.record import StatisticsSpan

_COLOURS = {"busy": "green", "idle": "yellow", "starting": "cyan", "disconnected": "red", "none": "dim"}
_STEPS = 10
_WIDTH_OF_FILES = 140


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended. Slot-seconds are the tasks' own time, paid seconds those of the instances.

    `reasons` has a line for each instance: its id, why it was launched, and why it was terminated.
    """

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
        self._tasks = tasks
        width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
        # A terminal breaks no line within a word, and a file breaks none at all.
        self._console = Console(highlight=False, soft_wrap=width is not None, width=width)
        self._progress = Progress(
            TextColumn("tasks"), BarColumn(), MofNCompleteColumn(), TextColumn("done, {task.fields[waiting]} waiting")
        )
        self._bar = self._progress.add_task("tasks", total=tasks, waiting=0)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._steps_told = 0

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

    def draw(
        self,
        seconds: float,
        done: int,
        waiting: int,
        summary: Mapping[str, Any] | None,
        agents: Mapping[str, Agent],
    ) -> None:
        """The picture as it is now; where there is no terminal, a line whenever another part of the tasks is done."""
        self._progress.update(self._bar, completed=done, waiting=waiting)
        if not self._console.is_terminal:
            step = done * _STEPS // self._tasks
            if step > self._steps_told:
                self._steps_told = step
                self.line(seconds, f"{done} of {self._tasks} tasks are done, {waiting} wait")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("instance", "is", "its agent is", "slots in use", "and goes because"):
            table.add_column(column)
        for instance in (summary or {}).get("instances", ()):
            agent, ending = agents.get(instance["id"]), instance["termination"]
            # The scheduler's word is newer than the summary's.
            does = instance["agent"] if agent is None else "idle" if agent.idle else "busy"
            colour = _COLOURS.get(does, "default")
            goes = ending["reason"] if ending else ""
            table.add_row(instance["id"], instance["state"], f"[{colour}]{does}[/{colour}]", _slots(agent), goes)
        self._live.update(Group(self._progress, table))

    def summary(self, outcome: Outcome) -> None:
        """The figures at the end, and the reasons."""
        paid = sum(span.seconds(0) for span in outcome.spans)
        least = outcome.slot_seconds / outcome.slots
        ratio = f", {paid / least:.1f} times the least possible" if least else ""
        verdict = "equal" if outcome.found == outcome.expected else "DIFFERENT"
        figures = (
            ("tasks done", f"{outcome.done} of {outcome.tasks} in {outcome.seconds:.1f} s"),
            ("primes found", f"{outcome.found:,}; by the direct computation {outcome.expected:,}: {verdict}"),
            ("agents launched", str(len(outcome.spans))),
            ("agent killed half-way", outcome.killed or "none"),
            ("instance-seconds paid", f"{paid:.0f}{ratio}"),
            ("least possible", f"{least:.0f} (the tasks took {outcome.slot_seconds:.0f} slot-seconds)"),
        )
        self._print_table("Summary", ("", ""), figures)
        self._print_table("Why", ("instance", "launched because", "terminated because"), outcome.reasons)
        self._console.print()

    def last_line(self, done: int, tasks: int, wrong: int, left: int) -> None:
        """What scripts read."""
        print(f"done {done}/{tasks} tasks, wrong {wrong}, processes left {left}", flush=True)

    def _print_table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left", box=None, show_header=any(columns), pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)


def _slots(agent: Agent | None) -> str:
    """How many of an agent's slots are in use."""
    if agent is None or agent.used is None or agent.capacity is None:
        return ""
    return f"{agent.used.slots} of {agent.capacity.slots}"
