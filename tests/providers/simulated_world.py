"""Helpers for the tests of the simulated cloud: a cloud in virtual time, and all that it tells."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from slotsmith.clock import Random
from slotsmith.model.instance import Instance
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError
from slotsmith.providers.simulated import NO_FAULTS, Cloud, CloudFaults, SimulatedProvider, SimulatedSettings
from slotsmith.simulation.loop import VirtualClock, run_virtually

T = TypeVar("T")

BIG = {"name": "big", "slots": 4, "cpus": 16, "mem_gib": 64, "price_per_hour": 3.9}
SPOT = {**BIG, "market": "spot", "price_per_hour": 1.2}


def settings(**more: Any) -> SimulatedSettings:
    """A cloud with one big type and a window of 30 s, unless told otherwise."""
    return SimulatedSettings.model_validate(
        {"type": "simulated", "instance_types": [BIG], "consistency_window": "30s", **more}
    )


class World:
    """One cloud, one provider on it, and everything told with its time in seconds since the start."""

    def __init__(self, clock: VirtualClock, faults: CloudFaults = NO_FAULTS, seed: int = 0, **more: Any) -> None:
        self.clock = clock
        self.started = clock.now()
        self.told: list[tuple[float, str, Mapping[str, object]]] = []
        self.settings = settings(**more)
        self.cloud = Cloud(self.settings, clock=clock, random=Random(seed), faults=faults, tell=self._tell)
        self.provider = self.another_provider()

    def another_provider(self) -> SimulatedProvider:
        """One more way to the same cloud."""
        context = ProviderContext("team", "gpu", Path(), self.clock, lambda: None)
        return SimulatedProvider(self.settings, context, self.cloud)

    def _tell(self, what: str, /, **details: object) -> None:
        self.told.append((self.now, what, details))

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return round(self.clock.now() - self.started, 6)

    def times(self, what: str) -> list[float]:
        """When something was told."""
        return [at for at, each, _ in self.told if each == what]

    def count(self, what: str) -> int:
        """How often something was told."""
        return len(self.times(what))

    async def wait(self, seconds: float) -> None:
        """Let that much time pass."""
        await self.clock.sleep(seconds)

    async def until(self, at: float) -> None:
        """Let it be that late."""
        await self.clock.sleep(at - self.now)

    async def launch(self, count: int = 1, token: str = "token") -> LaunchResult:
        """Launch the first offering."""
        return await self.provider.launch(LaunchRequest(token, self.provider.offerings()[0], count))

    async def outcome(self, call: Coroutine[Any, Any, T]) -> T | ProviderError:
        """What a call ends with: its result, or its error."""
        try:
            return await call
        except ProviderError as error:
            return error

    async def error(self, call: Coroutine[Any, Any, object]) -> ProviderError:
        """The error that a call ends with."""
        outcome = await self.outcome(call)
        assert isinstance(outcome, ProviderError), f"expected an error, got {outcome}"
        return outcome

    async def listed(self) -> list[Instance]:
        """What is listed now."""
        return list(await self.provider.list_instances())

    async def states(self) -> list[str]:
        """The states that are listed now."""
        return [str(instance.state) for instance in await self.listed()]


def run(play: Callable[[World], Coroutine[Any, Any, T]], faults: CloudFaults = NO_FAULTS, **more: Any) -> T:
    """Play something in a world of its own, in virtual time."""

    async def main(clock: VirtualClock) -> T:
        return await play(World(clock, faults, **more))

    return run_virtually(main)
