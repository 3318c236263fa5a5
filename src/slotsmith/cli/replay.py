"""`slotsmith replay`: what would have been decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import JsonOption
from slotsmith.cli.output import console, plural, table, write_json
from slotsmith.text import one_line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    cases: Annotated[Path, typer.Argument(metavar="CASES.json", help="The recorded or written cases.")],
    rules: Annotated[
        str, typer.Option("--rules", metavar="RULES", help="Decide by 'slotsmith' or by 'reference'.")
    ] = "slotsmith",
    json_output: JsonOption = False,
) -> None:
    """Tell what would have been decided for recorded views of a pool.

    CASES.json holds for each case a policy and, tick by tick, what the provider listed and the scheduler said. Nothing
    is launched or terminated.
    """
    from slotsmith.core import replay as engine

    try:
        result = engine.replay(engine.load_cases(cases), rules)
    except engine.ReplayError as error:
        raise CommandError(one_line(str(error))) from error
    if json_output:
        write_json(result, indent=None)
        return
    screen = console()
    for case in result["cases"]:
        ticks = case["ticks"]
        screen.print(f"{case['name']} ({plural(len(ticks), 'tick')})")
        screen.print(table(("at", "launch", "terminate", "counted", "idle", "disconnected"), map(_row, ticks)))


def _row(tick: dict[str, Any]) -> tuple[object, ...]:
    by_reason: dict[str, list[str]] = {}
    for each in tick["terminate"]:
        by_reason.setdefault(each["reason"], []).append(each["id"])
    terminated = "; ".join(f"{reason}: {', '.join(ids)}" for reason, ids in by_reason.items())
    counts = (len(tick["counted"]), len(tick["idle"]), len(tick["disconnected"]))
    return (tick["at"], tick["launch"] or "-", terminated or "-", *counts)
