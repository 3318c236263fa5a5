"""`slotsmith gcp`: is everything there that pools on GCE will need?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import DONE, FAILED, CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, known_name, read
from slotsmith.cli.output import write_json

if TYPE_CHECKING:
    from slotsmith.config import Config, PoolSettings
    from slotsmith.providers.gcp.checking import Finding

_group = typer.Typer(help="Google Compute Engine.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(_group, name="gcp")


@_group.callback()
def _root() -> None:
    """A group, though it has one command."""


@_group.command("check")
def check(
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="One pool; all on GCE when it is left out.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json_output: JsonOption = False,
) -> int:
    """Try what the pools on GCE need: credentials, zones, machine types, image, network, quotas. Nothing is launched.

    The exit status is 1 when something is bad. What is short works, but not for as many instances as the pool may have.
    """
    import asyncio

    settings = read(config)
    found = asyncio.run(_check_all(settings, _pools(settings, pool, config)))
    if json_output:
        write_json(
            {
                "pools": {
                    name: [{"state": f.state, "what": f.what, "text": f.text} for f in each]
                    for name, each in found.items()
                }
            }
        )
    else:
        for name, each in found.items():
            for finding in each:
                typer.echo(f"{finding.state:5}  {name}: {finding.what}: {finding.text}")
    return FAILED if any(finding.state == "bad" for each in found.values() for finding in each) else DONE


def _pools(settings: Config, name: str | None, file: Path) -> list[PoolSettings]:
    pools = [pool for pool in settings.pools if pool.provider.type == "gcp"]
    if name is not None:
        chosen = known_name(name, [pool.name for pool in settings.pools], str(file))
        pools = [pool for pool in pools if pool.name == chosen]
    if not pools:
        raise CommandError(f"{file}: {f'pool {name!r} is not on GCE' if name else 'no pool is on GCE'}")
    return pools


async def _check_all(settings: Config, pools: list[PoolSettings]) -> dict[str, list[Finding]]:
    from slotsmith.clock import SystemClock
    from slotsmith.config.assembly import state_dir
    from slotsmith.providers.base import ProviderContext
    from slotsmith.providers.gcp import GcpSettings

    try:
        from slotsmith.providers.gcp.checking import check_pool
    except ModuleNotFoundError as error:
        raise CommandError(f"GCE needs the package {error.name!r}: pip install 'slotsmith[gcp]'") from None
    found: dict[str, list[Finding]] = {}
    for pool in pools:
        assert isinstance(pool.provider, GcpSettings)
        where = state_dir(settings.store.url, pool.name)
        context = ProviderContext(settings.cluster or "", pool.name, where, SystemClock(), lambda: None)
        found[pool.name] = [each async for each in check_pool(pool.provider, context, pool.max_instances)]
    return found
