"""`slotsmith aws`: would a pool on EC2 work, and what could it launch?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import FAILED, CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, AnyPoolArgument, ConfigOption, JsonOption, known_name, read
from slotsmith.cli.output import write_json
from slotsmith.text import one_line

if TYPE_CHECKING:
    from slotsmith.config import Config, PoolSettings
    from slotsmith.providers.aws.check import Finding

_group = typer.Typer(help="Look at what EC2 says of a pool.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(_group, name="aws")


@_group.command("check")
def check(pool: AnyPoolArgument = None, config: ConfigOption = DEFAULT_CONFIG, json_output: JsonOption = False) -> int:
    """Ask EC2 whether it would do what the pool needs: credentials, rights, image, types, quotas, queue.

    Nothing is launched or changed. Exit status 1 = something would not work.
    """
    import asyncio

    settings = read(config)
    names = [each.name for each in settings.pools if each.provider.type == "aws"]
    if not names:
        raise CommandError(f"{config} has no pool with provider: {{type: aws}}")
    chosen = names if pool is None else [known_name(pool, names, f"{config} with provider: {{type: aws}}")]
    found = {name: asyncio.run(_findings(settings, name, quiet=json_output)) for name in chosen}
    if json_output:
        write_json({name: [asdict(each) for each in findings] for name, findings in found.items()})
    return 0 if all(each.ok for findings in found.values() for each in findings) else FAILED


@_group.command("catalog")
def catalog(
    pool: AnyPoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    offline: Annotated[
        bool, typer.Option("--offline", help="Some usual types at list prices, from the package; asks nobody.")
    ] = False,
) -> None:
    """Print what pools on EC2 may launch, with today's prices, as `slotsmith plan --catalog` reads it.

    Of several pools each type, zone and market is told once. Exit status 1 = EC2 cannot be asked.
    """
    import asyncio

    if offline:
        from slotsmith.providers.aws.lines import shipped

        typer.echo(shipped(), nl=False)
        return
    settings = read(config)
    names = [each.name for each in settings.pools if each.provider.type == "aws"]
    if not names:
        raise CommandError(f"{config} has no pool with provider: {{type: aws}}")
    chosen = names if pool is None else [known_name(pool, names, f"{config} with provider: {{type: aws}}")]
    told = [line for name in chosen for line in asyncio.run(_lines(settings, name))]
    # The heading is the same for all.
    for line in dict.fromkeys(told):
        typer.echo(line)


async def _lines(settings: Config, name: str) -> list[str]:
    from slotsmith.clock import SystemClock
    from slotsmith.providers.aws.catalogue import look_up
    from slotsmith.providers.aws.client import AwsClient
    from slotsmith.providers.aws.kept import Kept
    from slotsmith.providers.aws.lines import lines_of
    from slotsmith.providers.aws.provider import connection
    from slotsmith.providers.aws.settings import AwsSettings
    from slotsmith.providers.base import ProviderError

    pool = settings.pool(name)
    assert pool is not None
    assert isinstance(pool.provider, AwsSettings)
    clock = SystemClock()
    try:
        client = AwsClient(await connection(pool.provider), clock)
        return lines_of(await look_up(client, pool.provider, clock.now(), Kept()), pool.provider).splitlines()
    except ProviderError as error:
        raise CommandError(f"pool {name}: {one_line(str(error))}", FAILED) from error


async def _findings(settings: Config, name: str, *, quiet: bool) -> list[Finding]:
    chosen = settings.pool(name)
    assert chosen is not None
    if not quiet:
        typer.echo(f"pool {name}")
    findings = []
    async for each in _look(settings, chosen):
        findings.append(each)
        if not quiet:
            hint = f"; {each.hint}" if each.hint else ""
            typer.echo(f"  {'ok  ' if each.ok else 'FAIL'}  {each.what}: {one_line(each.text)}{hint}")
    return findings


async def _look(settings: Config, pool: PoolSettings) -> AsyncIterator[Finding]:
    from slotsmith.clock import SystemClock
    from slotsmith.providers.aws.check import Check
    from slotsmith.providers.aws.client import AwsClient
    from slotsmith.providers.aws.provider import connection
    from slotsmith.providers.aws.settings import AwsSettings

    assert isinstance(pool.provider, AwsSettings)
    clock = SystemClock()
    client = AwsClient(await connection(pool.provider), clock)
    check = Check(client, pool.provider, settings.cluster or "", pool.name, pool.max_instances, clock.now())
    async for finding in check.findings():
        yield finding
