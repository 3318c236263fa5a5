"""`slotsmith down`: a pool to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, PoolArgument
from slotsmith.cli.output import plural, say

if TYPE_CHECKING:
    from slotsmith.provisioner import Provisioner


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("down")(down)


def down(
    pool: PoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    force: Annotated[
        bool, typer.Option("--force", help="Do not wait for running tasks: they are killed with their instances.")
    ] = False,
) -> None:
    """Terminate every instance of a pool, and wait until all are gone.

    Agents finish their tasks first. The daemon must be stopped before, or it would launch again. What is listed but
    does not belong to this store is left alone (see `slotsmith adopt`).
    """
    from slotsmith.cli.session import with_pool

    ended, strays = with_pool(Path(config), pool, lambda provisioner: _down(provisioner, force))
    if strays:
        say(f"left alone: {plural(strays, 'instance')} unknown to this store; `slotsmith adopt` makes them its own")
    typer.echo(f"{plural(ended, 'instance')} terminated")


async def _down(provisioner: Provisioner, force: bool) -> tuple[int, int]:
    last: int | None = None

    def progress(left: int) -> None:
        nonlocal last
        if left != last and left:
            say(f"{provisioner.pool}: {plural(left, 'instance')} left")
        last = left

    ended = await provisioner.down(force=force, progress=progress)
    return ended, len(await provisioner.strays())
