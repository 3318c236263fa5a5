"""Providers of the tests' GCE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_server import GceServer
from slotsmith.clock import Clock, SystemClock
from slotsmith.providers.base import Provider, ProviderContext
from slotsmith.providers.conformance import Harness
from slotsmith.providers.gcp import GcpSettings, create
from waiting import PATIENCE

MACHINE = {"machine_type": "n1-standard-8"}


def settings(server: GceServer, **more: Any) -> GcpSettings:
    """Settings of a pool in the tests' project."""
    values = {
        "type": "gcp",
        "project": "proj",
        "zone": "us-central1-a",
        "instance_type": MACHINE,
        "boot_disk_source_image": "projects/debian-cloud/global/images/family/debian-12",
        "api_endpoint": server.url,
        **more,
    }
    return GcpSettings.model_validate(values if "zones" not in more else {**values, "zone": ""})


def provider(
    server: GceServer,
    pool: str = "one",
    clock: Clock | None = None,
    wake: Callable[[], None] = lambda: None,
    **more: Any,
) -> Provider:
    """A provider that is not set up yet."""
    context = ProviderContext("team", pool, Path("/nonexistent"), clock or SystemClock(), wake)
    return create(settings(server, **more), context)


class QuickClock(SystemClock):
    """Does not wait for as long as it is told."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


class GceHarness(Harness):
    """A server for each test."""

    patience = PATIENCE
    settle = 0.06
    cancel_after = (0.0, 0.004, 0.012, 0.03)

    def __init__(self, cloud: Cloud | None = None, **more: Any) -> None:
        super().__init__()
        self.server = GceServer(cloud)
        self.server.__enter__()
        self._more = more

    def provider(self, pool: str = "one") -> Provider:
        return provider(self.server, pool, QuickClock(), **self._more)

    def finish(self) -> None:
        self.server.__exit__()

    async def restrict(self, provider: Provider, count: int) -> bool:
        with self.server.lock:
            left = count
            for zone in ("us-central1-a", "us-central1-b", "us-central1-c"):
                self.server.cloud.room[zone] = left
                left = 0
        return True
