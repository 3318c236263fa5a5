"""The commands by name. Each module adds its own, and imports what is heavy only when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from slotsmith import __version__
from slotsmith.cli.adopt import register as register_adopt
from slotsmith.cli.advise import register as register_advise
from slotsmith.cli.aws import register as register_aws
from slotsmith.cli.config import register as register_config
from slotsmith.cli.demo import register as register_demo
from slotsmith.cli.down import register as register_down
from slotsmith.cli.explain import register as register_explain
from slotsmith.cli.export import register as register_export
from slotsmith.cli.gcp import register as register_gcp
from slotsmith.cli.plan import register as register_plan
from slotsmith.cli.replay import register as register_replay
from slotsmith.cli.run import register as register_run
from slotsmith.cli.serve import register as register_serve
from slotsmith.cli.simulate import register as register_simulate
from slotsmith.cli.status import register as register_status
from slotsmith.cli.token import register as register_token

app = typer.Typer(
    name="slotsmith",
    help="Keeps a fleet of agents exactly as large as a scheduler's pending tasks need.",
    epilog="Exit status: 0 = done, 1 = the run failed, 2 = bad usage or bad input, 130 = interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: tuple[Callable[[typer.Typer], None], ...] = (
    register_demo,
    register_run,
    register_serve,
    register_status,
    register_explain,
    register_down,
    register_adopt,
    register_export,
    register_replay,
    register_simulate,
    register_advise,
    register_plan,
    register_token,
    register_config,
    register_aws,
    register_gcp,
)
"""Each adds a command or a group; the help lists them in this order."""

for register in COMMANDS:
    register(app)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"slotsmith {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""
