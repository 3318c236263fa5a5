"""What a command costs before it does anything: the quickest of five runs, for other work only ever adds."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.harness import Table, figure

RUNS = 5


def tables() -> Sequence[Table]:
    rows = [
        figure("slotsmith --version", _cpu_ms("--version"), target=400.0),
        figure("slotsmith config schema", _cpu_ms("config", "schema")),
    ]
    return [Table("Start of the program", rows)]


def _cpu_ms(*arguments: str) -> float:
    return min(_once(arguments) for _ in range(RUNS))


def _once(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "slotsmith", *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
