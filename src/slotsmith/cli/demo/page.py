"""The demo's web page: what `slotsmith serve` offers, for as long as the demo runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from slotsmith.clock import Clock, system_secret

if TYPE_CHECKING:
    from slotsmith.config.assembly import Assembly
    from slotsmith.provisioner import Provisioner
    from slotsmith.service.metrics import Metrics
    from slotsmith.store.base import Changes


async def make_metrics(clock: Clock) -> Metrics | None:
    """What the page's figures are gathered by; None = the extra `service` is not installed."""

    def load() -> Metrics | None:
        try:
            import slotsmith.service.app  # noqa: F401 - it takes a second, and the Dask scheduler starts meanwhile
            from slotsmith.service.metrics import Metrics
        except ModuleNotFoundError:
            return None
        return Metrics(clock)

    return await asyncio.to_thread(load)


@asynccontextmanager
async def page(assembly: Assembly, metrics: Metrics) -> AsyncIterator[tuple[str, Callable[[], Provisioner]]]:
    """The address of the page, and what makes the pool that it shows. It is gone afterwards."""
    from slotsmith.config.models import ServiceSettings
    from slotsmith.service.access import Gate
    from slotsmith.service.app import make_app
    from slotsmith.service.context import Service
    from slotsmith.service.desk import Desk
    from slotsmith.service.hub import Hub
    from slotsmith.service.server import HttpServer
    from slotsmith.store.people import People
    from slotsmith.store.writer import ThreadRunner

    clock, store, loop = assembly.clock, assembly.store, asyncio.get_running_loop()
    (pool,) = assembly.config.pools
    settings = ServiceSettings(listen="127.0.0.1:0")
    hub, desk, people, run_read = Hub([pool.name]), Desk(clock), People(store), ThreadRunner()
    desk.set_out({pool.name: assembly.takes_views(pool)})
    gate = Gate(people, run_read, clock, system_secret, required=False)
    service = Service(clock, store, run_read, people, gate, desk, hub, settings.max_body_mib * 1024 * 1024)
    metrics.follow(service)
    server = HttpServer(make_app(service, metrics, settings), settings, clock)

    def committed(changes: Changes) -> None:
        loop.call_soon_threadsafe(hub.committed, changes)

    store.on_commit = committed
    serving = asyncio.create_task(server.run())
    try:
        yield server.address, desk.maker(pool.name, partial(assembly.provisioner, pool))
    finally:
        hub.close()
        server.stop()
        await serving
        store.on_commit = lambda _: None
        run_read.close()
