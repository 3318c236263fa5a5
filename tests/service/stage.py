"""The whole service in the test's own event loop: real pools and store, a provider that does what a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from provisioner.world import FakeProvider
from slotsmith.clock import SystemClock, system_ids, system_secret
from slotsmith.config.models import ServiceSettings
from slotsmith.model.policy import Policy
from slotsmith.model.steering import Action
from slotsmith.provisioner import Provisioner
from slotsmith.schedulers.base import SchedulerContext
from slotsmith.schedulers.push import PushScheduler, PushSettings
from slotsmith.service.access import Gate, hash_of, written
from slotsmith.service.app import make_app
from slotsmith.service.context import Service
from slotsmith.service.desk import Desk
from slotsmith.service.hub import Hub
from slotsmith.service.metrics import Metrics
from slotsmith.store.people import People, Role, Token
from slotsmith.store.sql import SqlStore, open_store
from slotsmith.store.writer import InlineRunner
from waiting import PATIENCE

JSON = {"Content-Type": "application/json"}


@dataclass
class Stage:
    """One service: its pool is called `gpu`, and `cpu` has a scheduler that is read."""

    client: httpx.AsyncClient
    app: Any
    service: Service
    provider: FakeProvider
    store: SqlStore
    pool: Provisioner

    def token(self, role: str, pool: str | None = None, expires_at: float | None = None) -> str:
        """A new token, as it is handed out."""
        secret, now = system_secret(), self.service.clock.now()
        token = Token(system_ids(), f"{role} of the test", Role(role), hash_of(secret), now, pool, expires_at)
        self.service.people.add_token(token, Action(now, None, "test", "token:create", "a test"))
        return written(token.id, secret)

    async def push(self, **view: Any) -> httpx.Response:
        return await self.client.put("/api/v1/pools/gpu/scaling-info", json=view)

    async def act(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/api/v1/pools/gpu/{path}", json={"why": "a test", **body})


@asynccontextmanager
async def stage(
    *,
    required: bool = False,
    push: PushSettings | None = None,
    settings: ServiceSettings | None = None,
    max_body: int = 1024 * 1024,
    **limits: Any,
) -> AsyncIterator[Stage]:
    """A running service; leaving it stops the pool."""
    clock, store = SystemClock(), open_store("sqlite://")
    provider = FakeProvider(clock)  # type: ignore[arg-type]
    hub = Hub(["gpu", "cpu"])
    store.on_commit = hub.committed
    desk = Desk(clock)
    desk.set_out({"gpu": True, "cpu": False})
    metrics = Metrics(clock)

    def make() -> Provisioner:
        scheduler = PushScheduler(SchedulerContext("gpu", clock, lambda: None), settings=push)
        return Provisioner(
            "gpu",
            Policy(**{"max_instances": 4, **limits}),
            provider=metrics.provider("gpu", provider),
            scheduler=scheduler,
            store=store,
            run_store=InlineRunner(),
            clock=clock,
            random=Random(1),
            new_id=system_ids,
            telemetry=lambda event: None,
            on_pass=lambda seconds: metrics.passed("gpu", seconds),
        )

    people = People(store)
    gate = Gate(people, InlineRunner(), clock, system_secret, required=required)
    service = Service(clock, store, InlineRunner(), people, gate, desk, hub, max_body)
    metrics.follow(service)
    app = make_app(service, metrics, settings or ServiceSettings())
    pool = desk.maker("gpu", make)()
    running = asyncio.create_task(pool.run())
    try:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await until(lambda: service.ready("gpu"))
            yield Stage(client, app, service, provider, store, pool)
    finally:
        pool.stop()
        await running
        store.close()


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return when the condition holds, looking each time the loop comes round."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
