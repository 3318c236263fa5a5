"""What commands print: JSON for programs, tables and lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from slotsmith.reports.words import ago, moment, plural, span
from slotsmith.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["ago", "console", "moment", "plural", "say", "span", "table", "write_json"]

# What is not a terminal has no width of its own; wide enough that no line of ours is broken.
_WIDTH_OF_FILES = 160


def write_json(data: Any, *, indent: int | None = 2) -> None:
    """One JSON document, with a line's end, to standard output."""
    json.dump(data, sys.stdout, indent=indent, ensure_ascii=False)
    sys.stdout.write("\n")


def say(text: str) -> None:
    """A line about what is going on, on standard error, where it mixes with no result."""
    print(one_line(text), file=sys.stderr, flush=True)


def console() -> Console:
    """Standard output for tables. Nothing in what is printed is taken for markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(width=width, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; cells are cleaned of anything that could upset a terminal."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(one_line(str(cell)) for cell in row))
    return made
