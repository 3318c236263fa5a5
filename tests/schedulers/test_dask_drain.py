"""Giving agents up: nothing new is assigned, nothing that runs is killed, nothing that is wanted is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schedulers import dask_tasks
from schedulers.dask_cluster import (
    REFUSED,
    RELEASED,
    WAITING,
    DaskCluster,
    ask,
    ask_until_released,
    in_loop,
    open_gate,
    started,
)
from slotsmith.schedulers.base import DrainAnswer
from waiting import until


async def where(client: Any, *futures: Any) -> dict[str, set[str]]:
    """The names of the workers that hold each result."""
    names = await client.run_on_scheduler(
        lambda dask_scheduler: {address: str(ws.name) for address, ws in dask_scheduler.workers.items()}
    )
    held = await client.who_has(futures)
    return {key: {names[address] for address in addresses} for key, addresses in held.items()}


@in_loop
async def test_an_idle_agent_is_released_and_closed_and_its_results_survive(cluster: DaskCluster) -> None:
    cluster.add_worker("agent-1")
    async with cluster.connector() as connector, cluster.client() as client:
        results = client.map(dask_tasks.block, [1000] * 20, pure=False)
        before = await client.gather(results)
        scattered = await client.scatter({"pure-data": b"only here"})
        cluster.add_worker("agent-2")
        await connector.joined("agent-1", "agent-2")
        assert await ask(connector, "agent-1") == {"agent-1": RELEASED}
        await connector.joined("agent-2")
        assert await client.gather(results) == before
        assert await client.gather(scattered) == {"pure-data": b"only here"}
        await until(lambda: cluster.exit_status("agent-1") is not None)
        assert cluster.exit_status("agent-1") == 0
        assert cluster.exit_status("agent-2") is None
        assert "lost" not in cluster.log()


@in_loop
async def test_unknown_names_are_released(cluster: DaskCluster) -> None:
    async with cluster.connector() as connector:
        assert await ask(connector, "nobody", "no-one") == {"nobody": RELEASED, "no-one": RELEASED}
        assert await connector.drain([], when_done=True) == {}
        await connector.cancel_drain(["nobody"])


@in_loop
async def test_a_busy_agent_refuses_to_go_at_once(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=2)
    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1)
        await started(gate, 1)
        answers = await connector.drain(["agent-1"], when_done=False)
        assert answers["agent-1"] == DrainAnswer(REFUSED, f"1 task on it, such as {held.key}")
        assert not (await connector.agents())["agent-1"].draining
        assert await client.submit(dask_tasks.square, 3) == 9  # it still gets new tasks
        open_gate(gate)
        assert await held == 1


@in_loop
async def test_a_busy_agent_finishes_and_gets_nothing_new(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1, slots=1)
    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1, resources={"slot": 1})
        await started(gate, 1)
        queued = client.map(dask_tasks.square, range(10), resources={"slot": 1})
        await until(connector.demand)
        answers = await connector.drain(["agent-1"], when_done=True)
        assert answers["agent-1"].outcome is WAITING
        # What it had not started goes back to the scheduler, and waits for other agents.
        agent = (await connector.agents())["agent-1"]
        assert (agent.draining, agent.idle) == (True, False)
        later = client.map(dask_tasks.square, range(100, 110), resources={"slot": 1})
        plain = client.submit(dask_tasks.square, 200)

        async def all_wait() -> bool:
            return await connector.demand() == {"1 slot, 1 cpu": 20, "1 cpu": 1}

        await until(all_wait)
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        cluster.add_worker("agent-2", nthreads=1, slots=1)
        assert await client.gather(queued) == [number**2 for number in range(10)]
        assert await client.gather([*later, plain]) == [*(number**2 for number in range(100, 110)), 40000]
        assert all(names == {"agent-2"} for names in (await where(client, *queued, *later, plain)).values())
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        open_gate(gate)
        assert await held == 1
        assert set(await ask_until_released(connector, "agent-1")) <= {WAITING, RELEASED}
        assert await held == 1
        assert await where(client, held) == {held.key: {"agent-2"}}
        await until(lambda: cluster.exit_status("agent-1") == 0)
        assert (await connector.check())["differences"] == ()


@in_loop
async def test_a_task_outside_of_the_threads_and_an_actor_keep_an_agent(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    for name in ("agent-1", "agent-2"):
        cluster.add_worker(name)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1", "agent-2")
        # Dask loses an actor that is submitted before its worker has quite started.
        assert await client.submit(dask_tasks.square, 2, workers=["agent-2"]) == 4
        outside = client.submit(dask_tasks.held_outside, gate, 1, workers=["agent-1"])
        future = client.submit(dask_tasks.Adder, actor=True, workers=["agent-2"])
        actor = await future
        await started(gate, 1)
        answers = await connector.drain(["agent-1", "agent-2"], when_done=False)
        assert {name: answer.outcome for name, answer in answers.items()} == {"agent-1": REFUSED, "agent-2": REFUSED}
        assert "1 actor on it" in answers["agent-2"].detail
        assert await ask(connector, "agent-1", "agent-2", when_done=True) == {"agent-1": WAITING, "agent-2": WAITING}
        assert await actor.add(2) == 2
        await connector.cancel_drain(["agent-2"])
        open_gate(gate)
        assert await outside == 1
        await ask_until_released(connector, "agent-1")
        assert await outside == 1
        assert await actor.add(5) == 7


@in_loop
async def test_the_last_holder_of_results_stays_until_they_are_released(cluster: DaskCluster) -> None:
    cluster.add_worker("agent-1", nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        results = client.map(dask_tasks.block, [100_000] * 3, pure=False)
        before = await client.gather(results)
        for when_done in (False, True):
            answers = await connector.drain(["agent-1"], when_done=when_done)
            assert answers["agent-1"].outcome is REFUSED
            detail = answers["agent-1"].detail
            assert detail.startswith("it holds the only copy of 3 results (292.9")
            assert client.id in detail
            assert "no other worker is there to take it over" in detail
        assert not (await connector.agents())["agent-1"].draining
        assert await client.submit(dask_tasks.square, 4) == 16  # it is at work
        assert await client.gather(results) == before
        del results
        await ask_until_released(connector, "agent-1", when_done=False)
        await connector.joined()


@in_loop
async def test_when_all_are_to_go_the_one_that_holds_most_stays(cluster: DaskCluster) -> None:
    for number in (1, 2, 3):
        cluster.add_worker(f"agent-{number}", nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1", "agent-2", "agent-3")
        results = [
            client.submit(dask_tasks.block, 10_000 * number, workers=[f"agent-{number}"], pure=False)
            for number in (1, 3, 2)
        ]
        before = await client.gather(results)
        answers = await ask(connector, "agent-1", "agent-2", "agent-3")
        assert answers == {"agent-1": RELEASED, "agent-2": RELEASED, "agent-3": REFUSED}
        await connector.joined("agent-3")
        assert await client.gather(results) == before
        assert "lost" not in cluster.log()


@in_loop
async def test_results_that_would_not_fit_elsewhere_keep_an_agent(cluster: DaskCluster) -> None:
    size = 40 * 2**20
    cluster.add_worker("agent-1", memory="2GiB")
    cluster.add_worker("agent-2", memory="300MiB")
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1", "agent-2")
        large = client.map(bytes, [size] * 5, pure=False, workers=["agent-1"])
        assert await client.gather(client.map(len, large)) == [size] * 5
        answers = await connector.drain(["agent-1"], when_done=False)
        assert answers["agent-1"].outcome is REFUSED
        assert "cannot take over without passing 60% of the memory limit" in answers["agent-1"].detail
        del large[1:]
        await ask_until_released(connector, "agent-1", when_done=False)
        assert await client.submit(len, large[0]) == size


@in_loop
async def test_a_cancelled_drain_gives_the_agent_tasks_again(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=2)
    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1, resources={"slot": 1})
        await started(gate, 1)
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        waiting = client.map(dask_tasks.square, range(5), resources={"slot": 1})
        plain = client.map(dask_tasks.square, range(10, 40))

        async def all_wait() -> bool:
            return await connector.demand() == {"1 slot, 1 cpu": 5, "1 cpu": 30}

        await until(all_wait)
        await connector.cancel_drain(["agent-1"])
        assert await client.gather(waiting) == [number**2 for number in range(5)]
        assert await client.gather(plain) == [number**2 for number in range(10, 40)]
        assert not (await connector.agents())["agent-1"].draining
        open_gate(gate)
        assert await held == 1
        assert (await connector.check())["differences"] == ()


@in_loop
async def test_a_refusal_ends_a_drain_that_was_to_wait(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=2)
    async with cluster.connector() as connector, cluster.client() as client:
        held = client.submit(dask_tasks.held, gate, 1)
        await started(gate, 1)
        assert await ask(connector, "agent-1", when_done=True) == {"agent-1": WAITING}
        assert await ask(connector, "agent-1", when_done=False) == {"agent-1": REFUSED}
        assert await client.submit(dask_tasks.square, 5) == 25
        open_gate(gate)
        assert await held == 1
