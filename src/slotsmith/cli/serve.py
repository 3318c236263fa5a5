"""`slotsmith serve`: the daemon with its HTTP API, metrics and web page."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, read
from slotsmith.cli.output import say

if TYPE_CHECKING:
    from slotsmith.config import Config
    from slotsmith.config.assembly import Assembly
    from slotsmith.config.models import ServiceSettings
    from slotsmith.replicas.candidate import Candidate
    from slotsmith.service.metrics import Metrics
    from slotsmith.store.base import Changes

NEEDS_EXTRA = 'the service needs more packages: pip install "slotsmith[service]"'


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Listen here, not where the file says; port 0 = any."),
    ] = None,
) -> int:
    """Run the pools with an HTTP API, metrics and a web page.

    Like `run`, ends cleanly on SIGTERM and on Ctrl-C; instances stay. Beyond this machine tokens are needed
    (see `slotsmith token`). SIGHUP takes in changed pools; what the file says of the service needs a restart.
    """
    from slotsmith import logs

    settings = read(config)
    where = settings.service if listen is None else _listening(settings.service, listen)
    if where.everywhere and where.address is None and settings.store.url.startswith("postgresql"):
        problem = "expected the URL at which other replicas reach this one, as it listens at every address"
        raise CommandError(f"{config}: service.address: {problem}")
    try:
        import_module("slotsmith.service.app")
        import_module("uvloop")
    except ModuleNotFoundError as error:
        raise CommandError(f"{NEEDS_EXTRA} ({error.name} is missing)") from None
    logs.setup(settings.log.format, settings.log.level)
    refused = _serve(settings, where, config)
    if refused:
        raise CommandError("\n".join(f"{config}: pool '{pool}': {error}" for pool, error in refused.items()))
    return 0


def _listening(settings: ServiceSettings, listen: str) -> ServiceSettings:
    from pydantic import ValidationError

    try:
        return type(settings).model_validate({**settings.model_dump(), "listen": listen})
    except ValidationError as error:
        raise CommandError(f"--listen: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _serve(settings: Config, where: ServiceSettings, file: Path) -> dict[str, str]:
    # Half as fast again as asyncio's own loop, in which a push is mostly that: reading, writing, and waking.
    import uvloop

    from slotsmith.cli.books import open_writable
    from slotsmith.cli.replicating import owning
    from slotsmith.cli.run import traced
    from slotsmith.clock import SystemClock
    from slotsmith.config.assembly import Assembly
    from slotsmith.provisioner.worker_process import WorkerProcess
    from slotsmith.service.metrics import Metrics
    from slotsmith.service.server import ServiceError

    clock = SystemClock()
    metrics = Metrics(clock)
    with (
        traced(settings, metrics) as watch,
        open_writable(settings.store.url) as store,
        owning(store, clock) as candidate,
        Assembly(settings, store, clock=clock, watch=watch, replica=candidate, searcher=WorkerProcess()) as assembly,
    ):
        try:
            return uvloop.run(_run(assembly, where, metrics, file, candidate))
        except ServiceError as error:
            raise CommandError(str(error)) from None


async def _run(
    assembly: Assembly, where: ServiceSettings, metrics: Metrics, file: Path, candidate: Candidate | None
) -> dict[str, str]:
    import asyncio

    from slotsmith.cli.daemon import Plan
    from slotsmith.cli.replicating import taking_turns
    from slotsmith.cli.run import keeping_books, make_daemon
    from slotsmith.clock import system_secret
    from slotsmith.service.access import Gate
    from slotsmith.service.app import make_app
    from slotsmith.service.context import Service
    from slotsmith.service.desk import Desk
    from slotsmith.service.following import following
    from slotsmith.service.hub import Hub
    from slotsmith.service.server import HttpServer
    from slotsmith.store.people import People
    from slotsmith.store.writer import ThreadRunner

    clock, store, loop = assembly.clock, assembly.store, asyncio.get_running_loop()
    hub, desk = Hub(), Desk(clock)
    people = People(store)
    run_read = ThreadRunner()
    gate = Gate(people, run_read, clock, system_secret, required=where.require_tokens or not where.on_loopback)
    service = Service(clock, store, run_read, people, gate, desk, hub, where.max_body_mib * 1024 * 1024, candidate)
    metrics.follow(service)
    if candidate is not None:
        gate.peer_secret = lambda: candidate.lease.secret if candidate.lease is not None else ""
    server = HttpServer(make_app(service, metrics, where), where, clock)

    def committed(changes: Changes) -> None:
        loop.call_soon_threadsafe(hub.committed, changes)

    store.on_commit = committed

    def plans(assembly: Assembly) -> dict[str, Plan]:
        pools = {pool.name: pool for pool in assembly.config.pools}
        hub.follow(pools)
        desk.set_out({name: assembly.takes_views(pool) for name, pool in pools.items()})
        return {name: Plan(pool, desk.maker(name, partial(assembly.provisioner, pool))) for name, pool in pools.items()}

    daemon = make_daemon(assembly, file, plans, resting=candidate is not None)
    serving = asyncio.create_task(server.run())
    serving.add_done_callback(lambda _: daemon.stop())
    say(f"serving on {server.address}")
    try:
        async with (
            keeping_books(assembly, candidate),
            following(service, store),
            taking_turns(candidate, daemon, assembly, address=where.address or server.address, on_rest=desk.clear),
        ):
            return await daemon.run()
    finally:
        hub.close()
        server.stop()
        await serving
        store.on_commit = lambda _: None
        run_read.close()
