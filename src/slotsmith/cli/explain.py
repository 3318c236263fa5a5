"""`slotsmith explain`: why the fleet is as it is, what is unmet and why, and what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slotsmith.cli.books import Source, open_readable
from slotsmith.cli.options import DEFAULT_CONFIG, AnyPoolArgument, ConfigOption, JsonOption, StoreOption
from slotsmith.cli.output import write_json
from slotsmith.clock import SystemClock
from slotsmith.reports.history import history as history_of
from slotsmith.reports.narrative import narrate
from slotsmith.text import one_line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    pool: AnyPoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    store: StoreOption = None,
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="How many past decisions to tell.")] = 10,
    json_output: JsonOption = False,
) -> None:
    """Say why the fleet is as it is, and what comes next and when.

    Tells why each instance is there, what is unmet and why, what was decided before, and what will happen if nothing
    else does. Reads the store only.
    """
    source = Source.of(Path(config), store)
    now = SystemClock().now()
    with open_readable(source.url) as books:
        reports = [source.report(books, name) for name in source.names(books, pool)]
        histories = [history_of(books, report.name, last) for report in reports]
    if json_output:
        parts = zip(reports, histories, strict=True)
        write_json({"at": now, "pools": [report.as_json(now) | history for report, history in parts]})
        return
    for index, (report, history) in enumerate(zip(reports, histories, strict=True)):
        if index:
            typer.echo()
        for line in narrate(report, history, now):
            indent = len(line) - len(line.lstrip())
            typer.echo(" " * indent + one_line(line))
