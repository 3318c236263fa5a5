"""What the benchmarks share: measuring, the machine, and the table.

A benchmark is a module of this package with a function `tables()`, which measures and returns its tables.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")

# A shorter run says more about the clock than about the work, so quick calls are made many times in one.
_SHORTEST_RUN_MS = 20.0


@dataclass(frozen=True)
class Row:
    """One figure as it is printed: what is known of others (the Go provisioner), what ours may be at most, and is."""

    what: str
    reference: str
    target: str
    ours: str
    missed: bool = False


@dataclass(frozen=True)
class Table:
    """The figures of one subject; `compared` says whose figures stand beside them."""

    subject: str
    rows: Sequence[Row]
    compared: str = "reference (Go)"

    def __str__(self) -> str:
        """As Markdown."""
        cells = [("", self.compared, "ours at most", "ours")]
        cells += [
            (row.what, row.reference, row.target, row.ours + (" (missed)" if row.missed else "")) for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        lines = [
            f"| {line[0]:<{widths[0]}} | {line[1]:>{widths[1]}} | {line[2]:>{widths[2]}} | {line[3]:>{widths[3]}} |"
            for line in cells
        ]
        rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
        return "\n".join([f"### {self.subject}", "", lines[0], rule, *lines[1:]])


def figure(
    what: str, ours: float, unit: str = "ms", *, reference: float | None = None, target: float | None = None
) -> Row:
    """A row from numbers, which knows whether the target is missed."""
    missed = target is not None and ours > target
    return Row(what, _text(reference, unit), _text(target, unit), _text(ours, unit), missed)


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if value == int(value) or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def cpu_ms(call: Callable[[], T]) -> tuple[float, T]:
    """The CPU time of one call in milliseconds, all threads of this process together, and what it returned."""
    start = time.process_time()
    result = call()
    return 1000 * (time.process_time() - start), result


def median_ms(call: Callable[[], object], runs: int = 7) -> float:
    """The CPU time of a call that can be repeated, in milliseconds: the median of several runs after a first one."""
    call()
    once, _ = cpu_ms(call)
    calls = max(1, round(_SHORTEST_RUN_MS / max(once, 1e-6)))

    def run() -> None:
        for _ in range(calls):
            call()

    # Input that was made before the measurement is not looked through by the garbage collector during it.
    gc.collect()
    gc.freeze()
    try:
        return median(cpu_ms(run)[0] for _ in range(runs)) / calls
    finally:
        gc.unfreeze()


def machine() -> str:
    """The processor, the number of cores that may be used, and the Python that runs."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)):
        model = found[1].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model}, {cores} core{'s' if cores != 1 else ''}, Python {platform.python_version()}"
