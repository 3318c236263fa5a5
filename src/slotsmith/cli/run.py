"""`slotsmith run`: the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, read

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from slotsmith.cli.daemon import Daemon, Plan
    from slotsmith.config import Config
    from slotsmith.config.assembly import Assembly, Watch
    from slotsmith.replicas.candidate import Candidate

PRUNE_PERIOD = 3600.0
"""Seconds between two clean-ups of the store."""
LOOK_AGAIN = 10.0
"""Seconds between two looks of a replica that waits, whether it leads and has to clean up."""


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
    at once. SIGHUP takes in a changed file; one that is not right is refused whole.
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
    from slotsmith.cli.replicating import owning
    from slotsmith.clock import SystemClock
    from slotsmith.config.assembly import UNWATCHED, Assembly
    from slotsmith.provisioner.worker_process import WorkerProcess

    clock = SystemClock()
    with (
        traced(settings, UNWATCHED) as watch,
        open_writable(settings.store.url) as store,
        owning(store, clock) as candidate,
        Assembly(settings, store, clock=clock, watch=watch, replica=candidate, searcher=WorkerProcess()) as assembly,
    ):
        refused = asyncio.run(_run(assembly, file, candidate))
    if refused:
        raise CommandError("\n".join(f"{file}: pool '{pool}': {error}" for pool, error in refused.items()))


@contextmanager
def traced(settings: Config, inner: Watch) -> Iterator[Watch]:
    """What tells of all that the pools do: `inner`, and the collector that the file names, if it names one."""
    from slotsmith.tracing import MISSING, tracing_to

    try:
        tracing = tracing_to(settings.traces, inner)
    except ModuleNotFoundError as error:
        raise CommandError(f"{MISSING} ({error.name} is missing)") from None
    try:
        yield tracing or inner
    finally:
        if tracing is not None:
            tracing.close()


async def _run(assembly: Assembly, file: Path, candidate: Candidate | None) -> dict[str, str]:
    from slotsmith.cli.replicating import taking_turns

    daemon = make_daemon(assembly, file, _plans, resting=candidate is not None)
    async with keeping_books(assembly, candidate), taking_turns(candidate, daemon, assembly):
        return await daemon.run()


@asynccontextmanager
async def keeping_books(assembly: Assembly, candidate: Candidate | None) -> AsyncIterator[None]:
    """Look after the store while pools run; of several replicas the one that leads does."""
    import asyncio

    import structlog

    log: FilteringBoundLogger = structlog.get_logger("slotsmith.daemon")
    pruning = asyncio.create_task(_prune_for_ever(assembly, candidate, log))
    try:
        yield
    finally:
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        log.info("stopped")


def make_daemon(
    assembly: Assembly, file: Path, plans: Callable[[Assembly], dict[str, Plan]], *, resting: bool = False
) -> Daemon:
    """A daemon for what `plans` makes of the configuration, now and whenever the file is read again.

    For the last step before it runs: what is loaded by then stays as long as the program does.
    """
    import gc

    import structlog

    from slotsmith.cli.daemon import Daemon

    # To look through all of it takes the collector 0.2 s, in which no push is answered; and what a push makes and drops
    # is hardly ever in a circle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    log: FilteringBoundLogger = structlog.get_logger("slotsmith.daemon")
    return Daemon(
        plans(assembly),
        assembly.clock,
        lambda: plans(assembly) if _reload(assembly, file, log) else None,
        resting=resting,
    )


def _plans(assembly: Assembly) -> dict[str, Plan]:
    from slotsmith.cli.daemon import Plan

    return {pool.name: Plan(pool, partial(assembly.provisioner, pool)) for pool in assembly.config.pools}


def _reload(assembly: Assembly, file: Path, log: FilteringBoundLogger) -> bool:
    """Take the file in again, whole or not at all; whether it was taken in."""
    from slotsmith import logs
    from slotsmith.config import ConfigError, load_config

    try:
        new = load_config(file)
    except ConfigError as error:
        for problem in str(error).splitlines():
            log.error("the changed configuration is refused, the old one goes on", problem=problem)
        return False
    for key in ("cluster", "store", "service", "traces"):
        if getattr(new, key) != getattr(assembly.config, key):
            problem = f"{file}: {key}: it can only be changed by a restart"
            log.error("the changed configuration is refused, the old one goes on", problem=problem)
            return False
    for note in new.notes:
        log.info("the configuration is read in part", note=note)
    logs.setup(new.log.format, new.log.level)
    assembly.config = new
    return True


async def _prune_for_ever(assembly: Assembly, candidate: Candidate | None, log: FilteringBoundLogger) -> None:
    """Tell of pools that nobody looks after; then, every hour, forget what is older than `store.keep`."""
    from slotsmith.store.base import StoreError

    store, clock = assembly.store, assembly.clock
    while True:
        if candidate is not None and candidate.lease is None:
            await clock.sleep(LOOK_AGAIN)
            continue
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
