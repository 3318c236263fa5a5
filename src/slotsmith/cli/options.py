"""Options and arguments that several commands share, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.text import quoted, suggestion

if TYPE_CHECKING:
    from slotsmith.config import Config, PoolSettings

DEFAULT_CONFIG = Path("slotsmith.yaml")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration file.", envvar="SLOTSMITH_CONFIG"),
]
PoolArgument = Annotated[
    str | None, typer.Argument(metavar="[POOL]", help="The resource pool; may be left out when there is only one.")
]
AnyPoolArgument = Annotated[
    str | None, typer.Argument(metavar="[POOL]", help="The resource pool; all of them when it is left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="The store's URL, instead of the one that the configuration names."),
]


def read(path: Path) -> Config:
    """The configuration at `path`; what its reader wants told goes to standard error. Raises `ConfigError`."""
    from slotsmith.config import load_config

    config = load_config(path)
    for note in config.notes:
        typer.echo(f"slotsmith: {path}: {note}", err=True)
    return config


def one_pool(config: Config, name: str | None, file: Path) -> PoolSettings:
    """The pool called `name`, or the only one."""
    names = [pool.name for pool in config.pools]
    if name is None and len(names) > 1:
        raise CommandError(f"{file} has {len(names)} pools, say which: {', '.join(names)}")
    chosen = names[0] if name is None else known_name(name, names, str(file))
    pool = config.pool(chosen)
    assert pool is not None
    return pool


def known_name(name: str, names: Sequence[str], place: str) -> str:
    """`name`, when it is one of `names`; `place` is where they come from."""
    if name in names:
        return name
    if not names:
        raise CommandError(f"no pool {quoted(name)} in {place}, which has none")
    raise CommandError(f"no pool {quoted(name)} in {place}{suggestion(name, names, 'it has')}")
