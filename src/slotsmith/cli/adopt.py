"""`slotsmith adopt`: says whose the instances are that nobody has on record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, PoolArgument
from slotsmith.cli.output import console, moment, plural, table
from slotsmith.clock import SystemClock

if TYPE_CHECKING:
    from slotsmith.provisioner import Provisioner


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("adopt")(adopt)


def adopt(
    pool: PoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take instances that are listed and not on record into the books.

    They carry the tags of this cluster and pool, but this store has never heard of them. Once adopted they count, and
    are terminated like all others when nobody needs them. The daemon must be stopped before.
    """
    from slotsmith.cli.session import with_pool

    adopted = with_pool(Path(config), pool, lambda provisioner: _adopt(provisioner, yes))
    typer.echo(f"{plural(adopted, 'instance')} adopted")


async def _adopt(provisioner: Provisioner, yes: bool) -> int:
    strays = await provisioner.strays()
    if strays:
        now = SystemClock().now()
        rows = [(each.id, each.state.value, moment(each.launched_at, now), each.offering or "-") for each in strays]
        console().print(table(("instance", "state", "launched", "offering"), rows))
        if not yes:
            _confirm(f"Adopt {plural(len(strays), 'instance')} into pool '{provisioner.pool}'?")
    return await provisioner.adopt()


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("nobody is there to ask: say --yes to adopt them")
    typer.confirm(question, abort=True, err=True)
