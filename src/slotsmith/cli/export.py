"""`slotsmith export`: what a pool was shown, as a file for `slotsmith replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slotsmith.cli.books import Source, open_readable, start_of
from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, PoolArgument, StoreOption
from slotsmith.cli.output import write_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    pool: PoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    store: StoreOption = None,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 6h, 1d, 7d.")] = "1d",
) -> None:
    """Print what a pool has seen, as JSON for `slotsmith replay`.

    So a changed policy can be tried on yesterday: edit the `config` of the cases, and replay them.
    """
    from slotsmith.core.recording import fold

    start = start_of(since)
    source = Source.of(Path(config), store)
    with open_readable(source.url) as books:
        name = source.one(books, pool)
        rows = books.recorded_views(name, since=start)
    cases = fold(name, rows)
    if not cases["cases"]:
        raise CommandError(f"nothing is on record of pool '{name}' in the last {since}", 1)
    write_json(cases, indent=None)
