"""The simulated provider does what every provider must, in virtual time."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.simulated_world import BIG, settings  # noqa: E402
from slotsmith.clock import Random  # noqa: E402
from slotsmith.providers.base import Provider, ProviderContext  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402
from slotsmith.providers.simulated import NO_FAULTS, Chance, Cloud, CloudFaults, SimulatedProvider  # noqa: E402
from slotsmith.simulation.loop import VirtualClock, VirtualLoop  # noqa: E402


class SimulatedHarness(Harness):
    patience = 1000.0
    look_again = 1.0
    settle = 60.0
    cancel_after = (0.0, 0.1, 0.25, 0.5, 1.0)

    def __init__(self, directory: Path, faults: CloudFaults, **more: Any) -> None:
        self._loop = VirtualLoop()
        super().__init__(VirtualClock(self._loop))
        self._directory = directory
        self._faults = faults
        self._settings = settings(instance_types=[BIG, {**BIG, "market": "spot"}], **more)
        self._clouds: dict[str, Cloud] = {}
        self._tokens = 0

    def new_token(self) -> str:
        self._tokens += 1
        return f"token-{self._tokens}"

    def provider(self, pool: str = "one") -> Provider:
        if pool not in self._clouds:
            self._clouds[pool] = Cloud(
                self._settings, clock=self.clock, random=Random(7), faults=self._faults, prefix=pool
            )
        context = ProviderContext("team", pool, self._directory, self.clock, lambda: None)
        return SimulatedProvider(self._settings, context, self._clouds[pool])

    def run(self, check: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(check)

    async def restrict(self, provider: Provider, count: int) -> bool:
        for cloud in self._clouds.values():
            cloud.quota = cloud.alive + count
        return True

    def finish(self) -> None:
        """Its machines end with the loop."""


class TestSimulated(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return SimulatedHarness(directory, NO_FAULTS)


class TestSimulatedWithLatency(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return SimulatedHarness(directory, NO_FAULTS, latency="500ms", consistency_window="0s")


class TestSimulatedWithFaultsThatTheContractAllows(ProviderConformance):
    """Whatever lags, comes in any order, or hangs on one bad id, the contract holds."""

    def harness(self, directory: Path) -> Harness:
        faults = CloudFaults(
            slow_boot=Chance(0.5, 1, 300),
            late_join=Chance(0.5, 1, 300),
            listed_late=Chance(0.5, 1, 30),
            vanishes_late=Chance(0.5, 1, 30),
            missing_from_listing=Chance(0.5, 1, 30, after=3600),
            listed_twice=Chance(0.5),
            out_of_order=Chance(0.5),
            untold=Chance(0.5),
            slow_terminate=Chance(0.5, 1, 300),
            bad_id_fails_batch=Chance(1.0),
        )
        return SimulatedHarness(directory, faults, latency="500ms")
