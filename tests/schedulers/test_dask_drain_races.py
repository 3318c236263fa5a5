"""Drains against what else Dask does at the same time: stealing, pauses, shuffles, tied tasks, a new plugin."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schedulers import dask_tasks
from schedulers.dask_cluster import (
    REFUSED,
    RELEASED,
    WAITING,
    Connector,
    DaskCluster,
    ask,
    ask_until_released,
    in_loop,
    open_gate,
    started,
    starts_in,
)
from slotsmith.schedulers.base import DrainOutcome
from waiting import until


@in_loop
async def test_tasks_tied_to_a_draining_agent_are_finished_there(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1)
    cluster.add_worker("agent-2", nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1", "agent-2")
        tied = client.map(dask_tasks.held, [gate] * 3, range(3), workers=["agent-1"])
        await until(lambda: list(tmp_path.glob("gate.started-*")))
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        open_gate(gate)
        assert await client.gather(tied) == [0, 1, 2]
        await ask_until_released(connector, "agent-1")
        assert await client.gather(tied) == [0, 1, 2]


@in_loop
async def test_an_idle_agent_stays_for_tasks_that_may_run_nowhere_else(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    for name in ("agent-1", "agent-2"):
        cluster.add_worker(name, nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1", "agent-2")
        held = client.submit(dask_tasks.held, gate, 1, workers=["agent-2"])
        await started(gate, 1)
        later = client.submit(dask_tasks.square, held, workers=["agent-1"])
        either = client.submit(dask_tasks.square, held, workers=["agent-1", "agent-2"], pure=False)
        await until(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks) == 3))
        assert (await connector.agents())["agent-1"].idle
        for when_done in (False, True):
            answers = await connector.drain(["agent-1"], when_done=when_done)
            assert answers["agent-1"].outcome is REFUSED
            assert answers["agent-1"].detail == f"1 task that may run nowhere else still to come, such as {later.key}"
        assert await ask(connector, "agent-2", when_done=True) == {"agent-2": WAITING}
        open_gate(gate)
        assert await client.gather([held, later, either]) == [1, 1, 1]
        await ask_until_released(connector, "agent-2")
        assert await client.gather([held, later, either]) == [1, 1, 1]


async def _refusals_while_it_shuffles(cluster: DaskCluster, connector: Connector, client: Any, turn: int) -> set[str]:
    """Drain two of three new agents all the time while a shuffle lasts, and check what comes of it."""
    import dask.array

    names, size = [f"agent-{turn}-{number}" for number in range(3)], 200
    refusals: set[str] = set()
    for name in names:
        cluster.add_worker(name, nthreads=1)
    await connector.joined(*names)

    def shuffles(dask_scheduler: Any) -> int:
        return sum(len(getattr(plugin, "active_shuffles", ())) for plugin in dask_scheduler.plugins.values())

    async def began() -> bool:
        return total.done() or await client.run_on_scheduler(shuffles) > 0

    async def drain_all_the_time() -> None:
        while True:
            answers = await connector.drain(names[:2], when_done=True)
            refusals.update(answer.detail for answer in answers.values() if answer.outcome is REFUSED)
            await asyncio.sleep(0.01)

    with dask.config.set({"array.rechunk.method": "p2p", "optimization.fuse.active": False}):
        array = dask.array.arange(size * size, chunks=size * 10).reshape(size, size).rechunk((size, 10))
        total = client.compute(array.rechunk((10, size)).sum())
    await until(began, what="a shuffle")
    draining = asyncio.create_task(drain_all_the_time())
    assert await total == sum(range(size * size))
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    assert "restarted due to" not in cluster.log()
    for name in names:
        cluster.kill_worker(name)
    return refusals


@in_loop
async def test_a_shuffle_keeps_its_agents_and_comes_to_its_end(cluster: DaskCluster) -> None:
    async with cluster.connector() as connector, cluster.client() as client:
        for turn in itertools.count():
            # One that is over before the first drain has come says nothing, and there is another one.
            if "it takes part in a shuffle" in await _refusals_while_it_shuffles(cluster, connector, client, turn):
                break


@in_loop
async def test_a_pause_for_memory_does_not_end_a_drain(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=2)

    def tell(status: str) -> Any:
        def change(dask_worker: Any) -> None:
            from distributed.core import Status

            dask_worker.memory_manager.memory_pause_fraction = False  # or it would soon decide otherwise
            dask_worker.status = Status[status]

        return change

    def has_heard_of_the_pause(dask_scheduler: Any) -> bool:
        (ours,) = (plugin for name, plugin in dask_scheduler.plugins.items() if name.startswith("slotsmith-"))
        return list(ours._drains.out.values()) == ["paused"]

    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1)
        await started(gate, 1)
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        await client.run(tell("paused"))
        await until(lambda: client.run_on_scheduler(has_heard_of_the_pause))
        await client.run(tell("running"))
        square = client.submit(dask_tasks.square, 7)
        await until(connector.demand)
        for _ in range(10):
            assert (await connector.agents())["agent-1"].draining
            assert await connector.demand() == {"1 cpu": 1}
        await client.run(tell("paused"))
        await until(lambda: client.run_on_scheduler(has_heard_of_the_pause))
        await connector.cancel_drain(["agent-1"])
        await until(connector.demand)
        assert (await connector.agents())["agent-1"].draining  # it is short of memory: still no new tasks
        await client.run(tell("running"))
        assert await square == 49
        open_gate(gate)
        assert await held == 1


@in_loop
async def test_a_drain_survives_another_version_of_the_plugin(
    cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1)
    async with cluster.client() as client:
        async with cluster.connector() as connector:
            held = client.submit(dask_tasks.held, gate, 1)
            await started(gate, 1)
            assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
            old = (await connector.check())["name"]
        async with cluster.connector() as connector:
            assert (await connector.check())["name"] == old
        from slotsmith.schedulers.dask import connection, shipping

        sources = dict(shipping._sources())
        sources["plugin"] += "\n# another version\n"
        for cached in (shipping.plugin_name, shipping.plugin_parcel):
            cached.cache_clear()
        monkeypatch.setattr(shipping, "_sources", lambda: sources)
        try:
            assert connection.plugin_name() != old
            async with cluster.connector() as newer:
                assert (await newer.check())["name"] != old
                assert (await newer.agents())["agent-1"].draining
                square = client.submit(dask_tasks.square, 7)
                await until(newer.demand)
                plugins = await client.run_on_scheduler(
                    lambda dask_scheduler: [name for name in dask_scheduler.plugins if "slotsmith" in name]
                )
                assert plugins == [connection.plugin_name()]
                await newer.cancel_drain(["agent-1"])
                open_gate(gate)
                assert await client.gather([held, square]) == [1, 49]
                assert (await newer.check())["differences"] == ()
        finally:
            for cached in (shipping.plugin_name, shipping.plugin_parcel):
                cached.cache_clear()


@in_loop
async def test_a_stolen_task_on_its_way_to_a_drained_agent_is_turned_away(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    victim = cluster.add_worker("victim", nthreads=1, slots=1)

    def on_the_way(dask_scheduler: Any) -> int:
        return sum(info["thief"].name == "thief" for info in dask_scheduler.extensions["stealing"].in_flight.values())

    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1, resources={"slot": 1})
        await started(gate, 1)
        arguments = ([str(tmp_path)] * 20, range(20), [0.0] * 20)
        futures = client.map(dask_tasks.noted, *arguments, resources={"slot": 1})
        await until(connector.demand)
        os.kill(victim, signal.SIGSTOP)  # so that it does not answer whether it gives up a task
        try:
            cluster.add_worker("thief", nthreads=1, slots=1)
            await until(lambda: client.run_on_scheduler(on_the_way), what="a theft")
            assert await ask(connector, "thief") == {"thief": RELEASED}
        finally:
            os.kill(victim, signal.SIGCONT)
        open_gate(gate)
        assert await client.gather([held, *futures]) == [1, *(number**2 for number in range(20))]
        assert starts_in(tmp_path) == dict.fromkeys(range(20), 1)
        assert (await connector.check())["differences"] == ()


WATCH = """
def watch(dask_scheduler):
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Watch(SchedulerPlugin):
        name = "watch"
        seen = []

        def transition(self, key, start, finish, *args, **kwargs):
            if finish == "processing":
                self.note(key)

        def log_event(self, topic, msg):
            if topic == "stealing" and msg[0] == "confirm":
                self.note(msg[1])

        def note(self, key):
            worker = dask_scheduler.tasks[key].processing_on
            out = [p for n, p in dask_scheduler.plugins.items() if n.startswith("slotsmith-")][0]._drains.out
            self.seen.append((str(worker.name), worker.address in out))

    dask_scheduler.add_plugin(Watch())

def seen(dask_scheduler):
    return dask_scheduler.plugins["watch"].seen
"""


@in_loop
async def test_no_task_reaches_a_draining_agent(cluster: DaskCluster, tmp_path: Path) -> None:
    """With tasks of every kind submitted all the time, and work stealing in both directions."""
    watch: dict[str, Any] = {}
    exec(WATCH, watch)
    gate = str(tmp_path / "gate")
    names = [f"agent-{number}" for number in range(4)]
    for name in names:
        cluster.add_worker(name, nthreads=2, slots=2)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined(*names)
        await client.run_on_scheduler(watch["watch"])
        held = {name: client.submit(dask_tasks.held, gate, name, workers=[name]) for name in names[:2]}
        await started(gate, *held)
        futures: list[Any] = []
        answers: Counter[DrainOutcome] = Counter()
        for turn in range(30):
            numbers = range(turn * 100, turn * 100 + 20)
            futures += client.map(dask_tasks.noted, [str(tmp_path)] * 20, numbers, [0.005] * 20)
            futures += client.map(
                dask_tasks.noted,
                [str(tmp_path)] * 20,
                [number + 50 for number in numbers],
                [0.01] * 20,
                resources={"slot": 1},
            )
            futures.append(client.submit(dask_tasks.total, futures[-3:]))
            drained = names[turn // 10 % 2]
            if turn % 10 == 2:
                answers[(await ask(connector, drained, when_done=True))[drained]] += 1
            elif turn % 10 == 8:
                await connector.cancel_drain([drained])
            await asyncio.sleep(0.02)
        await client.gather(futures)
        assert set(answers) == {WAITING}
        seen = await client.run_on_scheduler(watch["seen"])
        assert [name for name, out in seen if out] == []
        assert {name for name, out in seen} == set(names)
        open_gate(gate)
        assert await client.gather(held) == {name: name for name in held}
        starts = starts_in(tmp_path)
        assert len(starts) == 30 * 40
        assert set(starts.values()) == {1}
        answer = await connector.check()
        assert (answer["differences"], answer["repairs"]) == ((), 0)
