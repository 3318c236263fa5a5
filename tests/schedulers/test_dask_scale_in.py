"""The promise that scale-in kills no work: many tasks while agents come and go all the time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

import pytest

from schedulers import dask_tasks
from schedulers.dask_cluster import Connector, DaskCluster, in_loop, starts_in
from slotsmith.schedulers.base import DrainOutcome
from waiting import until

FEWEST, MOST = 2, 4


class Fleet:
    """Starts agents, and gives them up one after the other, idle ones at once and busy ones when they are done."""

    def __init__(self, cluster: DaskCluster, connector: Connector, dice: random.Random) -> None:
        self._cluster = cluster
        self._connector = connector
        self._dice = dice
        self._names = (f"agent-{number}" for number in itertools.count(1))
        self.here: list[str] = []
        self.released: list[str] = []
        self.answers: Counter[tuple[DrainOutcome, bool]] = Counter()

    async def start(self) -> None:
        name = next(self._names)
        self._cluster.add_worker(name, nthreads=2, slots=2)
        await until(lambda: self._has_joined(name), what=f"{name} to join")
        self.here.append(name)

    async def come_and_go(self) -> None:
        """Until it is cancelled."""
        while True:
            if len(self.here) < FEWEST or (len(self.here) < MOST and self._dice.random() < 0.6):
                await self.start()
            else:
                await self._give_up(self._dice.choice(self.here))

    async def _give_up(self, name: str) -> None:
        when_done = self._dice.random() < 0.5
        patience = self._dice.choice([2, 100])  # some drains are called off
        for _ in range(patience):
            answer = (await self._connector.drain([name], when_done=when_done))[name]
            self.answers[answer.outcome, when_done] += 1
            if answer.outcome is not DrainOutcome.WAITING:
                break
            await asyncio.sleep(0.02)
        else:
            await self._connector.cancel_drain([name])
            return
        if answer.outcome is DrainOutcome.RELEASED:
            self.here.remove(name)
            self.released.append(name)

    async def _has_joined(self, name: str) -> bool:
        return name in await self._connector.agents()


async def compute(client: Any, directory: str, tasks: int, dice: random.Random) -> list[tuple[int, Any]]:
    """Submit the tasks in waves with pauses between them; each number with the future of its square."""
    found: list[tuple[int, Any]] = []
    numbers = iter(range(tasks))
    while wave := list(itertools.islice(numbers, dice.randint(tasks // 40, tasks // 20))):
        third = len(wave) // 3
        for part, needs in (
            (wave[:third], {}),
            (wave[third : 2 * third], {"slot": 1}),
            (wave[2 * third :], {"slot": 2}),
        ):
            seconds = [dice.random() * 0.004 for _ in part]
            futures = client.map(dask_tasks.noted, [directory] * len(part), part, seconds, resources=needs or None)
            found += zip(part, futures, strict=True)
        await client.gather([future for _, future in found[-len(wave) // 2 :]])
        await asyncio.sleep(dice.random() * 0.15)
    return found


async def scale_in_kills_nothing(cluster: DaskCluster, tasks: int) -> Fleet:
    dice = random.Random(tasks)
    directory = cluster.directory
    async with cluster.connector() as connector, cluster.client() as client:
        fleet = Fleet(cluster, connector, dice)
        for _ in range(FEWEST):
            await fleet.start()
        churn = asyncio.create_task(fleet.come_and_go())
        found = await compute(client, str(directory), tasks, random.Random(1))
        squares = await client.gather([future for _, future in found])
        total = await client.submit(dask_tasks.total, [future for _, future in found])
        churn.cancel()
        await asyncio.gather(churn, return_exceptions=True)
        assert churn.cancelled()
        assert squares == [number * number for number, _ in found]
        assert total == sum(number * number for number in range(tasks))
        starts = starts_in(directory)
        assert [number for number in range(tasks) if starts[number] != 1] == []
        assert sum(starts.values()) == tasks
        for name in fleet.released:
            await until(lambda name=name: cluster.exit_status(name) is not None)  # type: ignore[misc]
        assert {name: cluster.exit_status(name) for name in fleet.released} == dict.fromkeys(fleet.released, 0)
        answer = await connector.check()
        assert (answer["differences"], answer["repairs"]) == ((), 0)
        for complaint in ("caused the cluster to lose", "Traceback", "Plugin failed", "ERROR"):
            assert complaint not in cluster.log()
        return fleet


@in_loop
async def test_a_thousand_tasks_while_agents_come_and_go(cluster: DaskCluster) -> None:
    fleet = await scale_in_kills_nothing(cluster, 1_000)
    assert len(fleet.released) >= 3, fleet.answers


@pytest.mark.slow
@in_loop
async def test_ten_thousand_tasks_while_agents_come_and_go(cluster: DaskCluster) -> None:
    fleet = await scale_in_kills_nothing(cluster, 10_000)
    assert len(fleet.released) >= 30, fleet.answers
    for when_done in (False, True):
        for outcome in DrainOutcome:
            if (outcome, when_done) not in ((DrainOutcome.REFUSED, True), (DrainOutcome.WAITING, False)):
                assert fleet.answers[outcome, when_done] > 0, fleet.answers
