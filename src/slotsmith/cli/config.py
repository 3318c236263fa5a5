"""`slotsmith config`: is the file right, and what does it say with its defaults?"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, read
from slotsmith.cli.output import plural, write_json
from slotsmith.text import one_line

if TYPE_CHECKING:
    from slotsmith.config import Config
    from slotsmith.config.assembly import Connections

CONNECT_DEADLINE = 15.0
"""Seconds for which a provider or a scheduler may keep `config check --connect` waiting."""

_group = typer.Typer(help="Check and show the configuration.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(_group, name="config")


@_group.command("check")
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the providers and schedulers that the file names.")
    ] = False,
) -> None:
    """Say whether the configuration can be used. Every problem is told, each in one line with its file and line."""
    settings = read(config)
    if connect:
        _connect(settings, config)
    pools = ", ".join(f"{pool.name} ({pool.scheduler.type} on {pool.provider.type})" for pool in settings.pools)
    typer.echo(f"{config}: ok, {plural(len(settings.pools), 'pool')}: {pools}")


@_group.command("show")
def show(config: ConfigOption = DEFAULT_CONFIG, json_output: JsonOption = False) -> None:
    """Print the configuration with its defaults, secrets hidden."""
    from slotsmith.config import public_view

    view = public_view(read(config))
    if json_output:
        write_json(view)
        return
    _write_yaml(view, sys.stdout)


@_group.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(metavar="MASTER_YAML", help="A Determined master.yaml.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write it, readable by you alone; never replaced."
        ),
    ] = None,
) -> None:
    """Write the resource pools of a Determined master.yaml as a configuration of slotsmith, secrets in clear."""
    from slotsmith.config import private_view

    view = private_view(read(file))
    if output is None:
        _write_yaml(view, sys.stdout)
        return
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}") from None
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        _write_yaml(view, stream)


@_group.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors that complete and check YAML."""
    from slotsmith.config import json_schema

    write_json(json_schema())


def _write_yaml(view: dict[str, Any], stream: TextIO) -> None:
    from ruamel.yaml import YAML

    from slotsmith.config.environment import escape

    yaml = YAML(typ="safe", pure=True)
    # Its stubs know only the values that these are given by its own constructor.
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    yaml.dump(escape(view), stream)


def _connect(settings: Config, file: Path) -> None:
    import asyncio

    from slotsmith import logs

    logs.setup(settings.log.format, "error")
    problems = asyncio.run(_try_all(settings))
    if problems:
        raise CommandError("\n".join(f"{file}: {problem}" for problem in problems))


async def _try_all(settings: Config) -> list[str]:
    import asyncio

    from slotsmith.clock import SystemClock
    from slotsmith.config.assembly import make_connections

    clock = SystemClock()

    async def of_pool(index: int) -> list[str]:
        pool = settings.pools[index]
        try:
            connections = make_connections(settings, pool, clock=clock)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; here all of it is told, not raised
            return [f"pools[{index}]: pool '{pool.name}' cannot be set up: {_text(error)}"]
        return await _try(connections, f"pools[{index}]")

    tried = await asyncio.gather(*(of_pool(index) for index in range(len(settings.pools))))
    return [problem for problems in tried for problem in problems]


async def _try(connections: Connections, key: str) -> list[str]:
    """The provider and the scheduler of a pool, at once; one line for each that does not answer well."""
    import asyncio

    async def ask(part: str, setup: Callable[[], Awaitable[None]]) -> str | None:
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await setup()
        except TimeoutError:
            return f"{key}.{part}: no answer within {CONNECT_DEADLINE:g} seconds"
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; here all of it is told, not raised
            return f"{key}.{part}: {_text(error)}"
        return None

    answers = await asyncio.gather(
        ask("provider", connections.provider.setup), ask("scheduler", connections.scheduler.setup)
    )
    try:
        async with asyncio.timeout(CONNECT_DEADLINE):
            await connections.close()
    except Exception:  # noqa: BLE001, S110 - what could not be opened may not close well either, and is told already
        pass
    return [answer for answer in answers if answer is not None]


def _text(error: Exception) -> str:
    from slotsmith.cli.errors import as_failure

    return one_line(str(error) if as_failure(error) else f"{type(error).__name__}: {error}")
