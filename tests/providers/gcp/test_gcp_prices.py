"""Prices that are written anew while a provider on GCE runs."""

from __future__ import annotations

import os
from pathlib import Path

from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_server import GceServer
from providers.gcp.gce_world import provider
from providers.gcp.test_gcp_launches import run
from slotsmith.clock import SystemClock
from slotsmith.providers.base import market_of


class Ahead(SystemClock):
    """A clock that can be put forward."""

    by = 0.0

    def now(self) -> float:
        return super().now() + self.by


def _write(path: Path, price: str, at: float) -> None:
    path.write_text(f"instance_type,price_per_hour\nn1-standard-8,{price}\n")
    os.utime(path, (at, at))


def test_a_file_of_prices_that_is_written_anew_reaches_a_provider_that_runs(tmp_path: Path) -> None:
    path, clock = tmp_path / "prices.csv", Ahead()
    _write(path, "0.4", 1000.0)

    async def check() -> None:
        with GceServer(Cloud(operation_time=0.004, boot_time=0.004)) as server:
            subject = provider(server, clock=clock, prices=path)
            await subject.setup()
            first = subject.offerings()
            assert [each.price for each in first] == [0.4]
            assert market_of(subject).priced_at == 1000.0
            _write(path, "0.5", 2000.0)
            await subject.list_instances()
            assert subject.offerings() is first
            clock.by = 61.0
            await subject.list_instances()
            assert [each.price for each in subject.offerings()] == [0.5]
            assert market_of(subject).priced_at == 2000.0
            # Half a file, and none: what was read last stays.
            last = subject.offerings()
            _write(path, "", 3000.0)
            for ahead in (122.0, 183.0):
                clock.by = ahead
                await subject.list_instances()
                assert subject.offerings() is last
                path.unlink(missing_ok=True)
            await subject.close()

    run(check())
