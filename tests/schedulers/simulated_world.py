"""A simulated scheduler in virtual time, what it told, and the views that it pushed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.simulated import (
    Job,
    SimulatedScheduler,
)
from slotsmith.simulation.loop import VirtualClock, run_virtually

TWO = Resources(2)


class World:
    """A scheduler, what it told, and the views that it pushed with their times."""

    def __init__(self, clock: VirtualClock, *, push: bool = True, seed: int = 1, **options: Any) -> None:
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.events: list[str] = []
        self.faults: Counter[str] = Counter()
        self.views: list[tuple[float, ScalingInfo]] = []
        self.woken: list[float] = []
        self.scheduler = SimulatedScheduler(
            clock,
            seed=seed,
            tell=self._tell,
            on_view=self._view if push else None,
            wake=lambda: self.woken.append(self.loop.time()),
            **options,
        )

    def _tell(self, what: str, /, **details: object) -> None:
        if what.startswith("fault "):
            self.faults[what.removeprefix("fault ")] += 1
        self.events.append(f"{self.loop.time():g} {what} " + " ".join(f"{k}={v}" for k, v in details.items()))

    def _view(self, info: ScalingInfo) -> None:
        self.views.append((self.loop.time(), info))

    async def until(self, time: float) -> None:
        await self.clock.sleep(time - self.loop.time())

    @property
    def last(self) -> ScalingInfo:
        return self.views[-1][1]


def in_world(body: Callable[[World], Awaitable[None]], **options: Any) -> World:
    worlds = []

    async def main(clock: VirtualClock) -> None:
        worlds.append(World(clock, **options))
        await body(worlds[0])

    run_virtually(main)
    return worlds[0]


def job(name: str, *, at: float = 0.0, lasts: float = 10.0, slots: int = 1, spans: bool = False) -> Job:
    return Job(name, at, lasts, Resources(slots), spans)
