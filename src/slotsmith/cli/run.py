"""`slotsmith run`: the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, read

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from slotsmith.config import Config
    from slotsmith.config.assembly import Assembly

PRUNE_PERIOD = 3600.0
"""Seconds between two clean-ups of the store."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look once, print what would be done, and change nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON to standard output.")] = False,
) -> int:
    """Keep all pools of the configuration as large as they need to be.

    Ends cleanly on SIGTERM and on Ctrl-C; instances stay, and the next run finds them again. A second signal ends it
    at once.
    """
    from slotsmith import logs

    settings = read(config)
    if dry_run:
        from slotsmith.cli.preview import preview

        return preview(settings, json_output)
    if json_output:
        raise CommandError("--json needs --dry-run: the daemon itself prints nothing, its log has a form of its own")
    logs.setup(settings.log.format, settings.log.level)
    _serve(settings, config)
    return 0


def _serve(settings: Config, file: Path) -> None:
    import asyncio

    from slotsmith.cli.books import open_writable
    from slotsmith.config.assembly import Assembly

    with open_writable(settings.store.url) as store, store.lock(), Assembly(settings, store) as assembly:
        refused = asyncio.run(_run(assembly))
    if refused:
        raise CommandError("\n".join(f"{file}: pool '{pool}': {error}" for pool, error in refused.items()))


async def _run(assembly: Assembly) -> dict[str, str]:
    from slotsmith.cli.daemon import Daemon

    pools = {pool.name: pool for pool in assembly.config.pools}
    daemon = Daemon({name: partial(assembly.provisioner, pool) for name, pool in pools.items()}, assembly.clock)
    async with keeping_books(assembly, sorted(pools)):
        return await daemon.run()


@asynccontextmanager
async def keeping_books(assembly: Assembly, pools: Sequence[str]) -> AsyncIterator[None]:
    """Look after the store while pools run, and log that they do."""
    import asyncio

    import structlog

    log: FilteringBoundLogger = structlog.get_logger("slotsmith.daemon")
    log.info("running", pools=pools)
    pruning = asyncio.create_task(_prune_for_ever(assembly, log))
    try:
        yield
    finally:
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        log.info("stopped")


async def _prune_for_ever(assembly: Assembly, log: FilteringBoundLogger) -> None:
    """Tell of pools that nobody looks after; then, every hour, forget what is older than `store.keep`."""
    from slotsmith.store.base import StoreError

    store, clock = assembly.store, assembly.clock
    while True:
        try:
            for pool in await assembly.run_store(lambda: _orphans(assembly)):
                log.warning("a pool with instances is not in the file; they stay until `slotsmith down`", pool=pool)
            before = clock.now() - assembly.config.store.keep
            await assembly.run_store(partial(store.prune, before))
        except StoreError as error:
            log.warning("the store could not be cleaned up, trying again in an hour", error=str(error))
        await clock.sleep(PRUNE_PERIOD)


def _orphans(assembly: Assembly) -> list[str]:
    configured = {pool.name for pool in assembly.config.pools}
    return [name for name in assembly.store.pools() if name not in configured and assembly.store.load(name).instances]
