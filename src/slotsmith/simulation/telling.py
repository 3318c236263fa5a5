"""What a swarm tells people: how far it is, what it has exercised, and how a promise was broken."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from slotsmith.simulation.coverage import IMPOSSIBLE, faults, transitions, unexpected
from slotsmith.simulation.draw import draw
from slotsmith.simulation.shrink import Shrunk, shrink

if TYPE_CHECKING:
    from slotsmith.simulation.swarm import Summary

_LINES: Final = 60
"""Lines of a timeline that are shown; the whole comes with `slotsmith simulate --seed`."""
_MOST_FAILURES: Final = 20


@contextmanager
def follow(seeds: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, when that is a terminal; what it gives is told what is done and has failed."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task("seeds", total=seeds)

        def progress(done: int, failed: int) -> None:
            bars.update(task, completed=done, description=f"seeds, {failed} failed" if failed else "seeds")

        yield progress


def tell_summary(summary: Summary) -> None:
    """What was run and exercised, on standard output."""
    print(
        f"{summary.seeds:,} seeds, {summary.events:,} events in {summary.hours:,.0f} virtual hours, "
        f"{summary.generations:,} starts of the program; digest {summary.digest[:16]}"
    )
    _tell_counts("faults, and how often each came", faults(), summary.coverage, "fault ")
    _tell_counts("moves, and how often each was seen", transitions(), summary.coverage, "")
    others = unexpected(summary.coverage)
    if others:
        print("moves outside the tables: " + ", ".join(f"{what} {summary.coverage[what]:,}" for what in others))
    for what, why in IMPOSSIBLE.items():
        print(f"not possible here: {what}: {why}")
    if summary.missing:
        print("NEVER SEEN, which is an error: " + ", ".join(summary.missing))
    by_promise = Counter(promise for _, promise, _ in summary.failures)
    told = ", ".join(f"{promise} {count}" for promise, count in sorted(by_promise.items()))
    print(f"{len(summary.failures)} seeds broke a promise: {told}" if told else "no promise was broken")


def _tell_counts(title: str, names: Sequence[str], coverage: Counter[str], prefix: str) -> None:
    print(f"{title}:")
    cells = [f"{name.removeprefix(prefix)} {coverage[name]:,}" for name in names]
    width = max(map(len, cells)) + 2
    columns = max(1, 120 // width)
    for start in range(0, len(cells), columns):
        print("  " + "".join(cell.ljust(width) for cell in cells[start : start + columns]).rstrip())


def tell_failures(summary: Summary, most_shrunk: int) -> None:
    """The seeds that failed, and some of them as small as they can be made."""
    for seed, _, text in summary.failures[:_MOST_FAILURES]:
        print(f"seed {seed}: {text}")
    if len(summary.failures) > _MOST_FAILURES:
        print(f"and {len(summary.failures) - _MOST_FAILURES} more")
    for seed, promise, _ in summary.failures[:most_shrunk]:
        if promise != "world":
            print(f"\nmaking seed {seed} small ...", file=sys.stderr)
            tell_shrunk(shrink(draw(seed)))


def tell_shrunk(shrunk: Shrunk) -> None:
    """A failure made small: what is left of the scenario, and the end of its timeline."""
    scenario, outcome = shrunk.scenario, shrunk.outcome
    on = [name for name, chance in scenario.cloud_faults.chances().items() if chance.rate]
    print(f"\nseed {scenario.seed}, after {shrunk.runs} runs still failing with")
    print(f"  {len(scenario.jobs)} tasks, {scenario.policy}")
    print(f"  cloud: {', '.join(on) or 'no faults'}; scheduler: {scenario.scheduler_faults}")
    print(f"  program: {scenario.crashes}; store: {scenario.store_faults}")
    print(f"  strays at {scenario.strays}, policies {scenario.policies}, views by {scenario.delivery.value}")
    left_out = max(0, len(outcome.timeline) - _LINES)
    print(
        f"the shortest prefix that fails has {outcome.events} events"
        + (f"; {left_out} lines left out" * bool(left_out))
    )
    for line in outcome.timeline[left_out:]:
        print(f"  {line}")
    for violation in outcome.violations:
        print(f"broken: {violation}")
