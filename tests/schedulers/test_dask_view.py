"""What the connector tells of a Dask scheduler: waiting tasks, gangs, groups and agents."""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask

from schedulers import dask_tasks
from schedulers.dask_cluster import Connector, DaskCluster, in_loop, open_gate
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Group
from slotsmith.schedulers.dask.view import PLACE_LABEL, scaling_info
from waiting import until

SLOT, TWO_SLOTS, PLAIN = "1 slot, 1 cpu", "2 slots, 1 cpu", "1 cpu"


def tell(**parts: Any) -> dict[str, Any]:
    return {"agents": [], "demand": [], "groups": [], **parts}


async def settle(connector: Connector, expected: dict[str, int]) -> None:
    async def is_so() -> bool:
        return await connector.demand() == expected

    try:
        await until(is_so)
    except AssertionError:
        assert await connector.demand() == expected


def test_part_of_a_slot_is_a_slot() -> None:
    info = scaling_info(
        tell(
            demand=[((("slot", 0.5),), (), "", 1, 3, ""), ((("slot", 1.2), ("ram", 4.0)), (), "", 1, 1, "")],
            agents=[("a", False, False, 4, 2**31, (("slot", 2.9),), 7, (((("slot", 0.5),), 3), ((), 1)))],
        ),
        "slot",
    )
    assert [str(tasks) for tasks in info.tasks] == ["3 tasks of 1 slot, 1 cpu", "1 task of 2 slots, 1 cpu, 4 ram"]
    assert info.agents == (Agent("a", False, Resources(2, 4, 2), Resources(2, 4), 1, False, 7),)


def test_another_resource_can_be_the_slots() -> None:
    info = scaling_info(
        tell(
            demand=[((("GPU", 2), ("slot", 1)), (), "g", 3, 5, "x")],
            groups=[("g", 4, {"GPU": 3.0}), ("free", -1, {})],
        ),
        "GPU",
    )
    (tasks,) = info.tasks
    assert (tasks.resources, tasks.gang, tasks.group) == (Resources(2, 1, 0, (("slot", 1.0),)), 3, "g")
    assert info.groups == (Group("g", 4, 3), Group("free", None, 0))


@in_loop
async def test_tasks_without_any_worker_are_counted_by_shape(cluster: DaskCluster) -> None:
    async with cluster.connector() as connector, cluster.client() as client:
        assert await connector.demand() == {}
        ones = client.map(dask_tasks.square, range(6), resources={"slot": 1})
        twos = client.map(dask_tasks.square, range(10, 13), resources={"slot": 2, "licence": 1})
        plain = client.map(dask_tasks.square, range(20, 40))
        last = client.submit(dask_tasks.total, ones, resources={"slot": 1})  # not ready, so not waiting for a worker
        await settle(connector, {SLOT: 6, "2 slots, 1 cpu, 1 licence": 3, PLAIN: 20})
        info = await connector.scaling_info()
        assert info is not None
        assert {tasks.example.partition("-")[0] for tasks in info.tasks} == {"square"}
        assert all(tasks.constraints == ANYWHERE and tasks.gang == 1 for tasks in info.tasks)
        del twos, plain
        await settle(connector, {SLOT: 6})
        cluster.add_worker("agent-1")
        assert await last == sum(number**2 for number in range(6))
        await settle(connector, {})


@in_loop
async def test_what_a_worker_cannot_run_at_once_still_waits(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=4, slots=2)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        held = client.map(dask_tasks.held, [gate] * 5, range(5), resources={"slot": 1})
        # Dask has put all five on the only worker, and says nothing of tasks that wait.
        await settle(connector, {SLOT: 3})
        agent = (await connector.agents())["agent-1"]
        assert agent == Agent("agent-1", False, Resources(2, 4, 1), Resources(2, 2), 0, False, 5)
        plain = client.map(dask_tasks.held, [gate] * 3, range(10, 13))
        await settle(connector, {SLOT: 3, PLAIN: 1})
        assert (await connector.agents())["agent-1"].zero_slot_tasks == 2
        cluster.add_worker("agent-2", nthreads=4, slots=2)
        await connector.joined("agent-1", "agent-2")
        await until(lambda: len(list(tmp_path.glob("gate.started-?"))) >= 4, what="two slots at work on each agent")
        open_gate(gate)
        assert await client.gather(held) == list(range(5))
        assert await client.gather(plain) == list(range(10, 13))
        await settle(connector, {})
        assert all(agent.idle and agent.used == Resources() for agent in (await connector.agents()).values())
        assert (await connector.check())["differences"] == ()


@in_loop
async def test_a_task_that_has_left_its_thread_makes_room(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1, slots=0)
    async with cluster.connector() as connector, cluster.client() as client:
        outside = client.submit(dask_tasks.held_outside, gate, 1)
        await until(Path(f"{gate}.started-1").exists)
        held = client.submit(dask_tasks.held, gate, 2)
        await until(Path(f"{gate}.started-2").exists)
        await settle(connector, {})
        more = client.submit(dask_tasks.held, gate, 3)
        await settle(connector, {PLAIN: 1})
        open_gate(gate)
        assert await client.gather([outside, held, more]) == [1, 2, 3]


@in_loop
async def test_tasks_tied_to_a_worker_are_told_apart(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        here = client.map(dask_tasks.held, [gate] * 3, range(3), workers=["agent-1"])
        elsewhere = client.submit(dask_tasks.square, 2, workers=["other-host"])
        anywhere = client.submit(dask_tasks.held, gate, 9, workers=["other-host"], allow_other_workers=True)
        await settle(connector, {PLAIN: 4})
        info = await connector.scaling_info()
        assert info is not None
        labels = {tasks.constraints.labels: tasks.count for tasks in info.tasks}
        assert labels.pop(((PLACE_LABEL, "other-host"),)) == 1
        assert labels.pop(()) == 1
        (((label, where),),) = labels
        assert label == PLACE_LABEL
        assert where.startswith("tcp://127.0.0.1:")
        open_gate(gate)
        assert await client.gather(here) == [0, 1, 2]
        assert await anywhere == 9
        del elsewhere


@in_loop
async def test_a_gang_is_one_while_all_of_it_waits(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    async with cluster.connector() as connector, cluster.client() as client:

        def member(number: int, gang: str, **resources: int) -> Any:
            with dask.annotate(gang=gang, gang_size=3, resources=resources):
                return client.submit(dask_tasks.held, gate, number, pure=False, priority=-number)

        first = [member(number, "first", slot=1) for number in range(2)]
        await settle(connector, {SLOT: 2})
        first.append(member(2, "first", slot=1))
        await settle(connector, {f"{SLOT} x 3 together": 1})
        info = await connector.scaling_info()
        assert info is not None
        assert info.tasks[0].example == "first"
        others = [member(10 + number, "second", slot=1) for number in range(3)]
        others += [member(20 + number, "third", slot=2) for number in range(3)]
        await settle(connector, {f"{SLOT} x 3 together": 2, f"{TWO_SLOTS} x 3 together": 1})
        cluster.add_worker("agent-1", nthreads=2, slots=2)
        # Dask starts two members of the first gang. The third, which waits, is an ordinary task from then on.
        await settle(connector, {SLOT: 1, f"{SLOT} x 3 together": 1, f"{TWO_SLOTS} x 3 together": 1})
        open_gate(gate)
        assert await client.gather(first) == [0, 1, 2]
        assert await client.gather(others) == [10, 11, 12, 20, 21, 22]


@in_loop
async def test_groups_count_the_slots_that_their_tasks_use(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=4, slots=3)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        with dask.annotate(group="team-a", max_slots=2, resources={"slot": 1}):
            held = [client.submit(dask_tasks.held, gate, number, pure=False) for number in range(5)]
        await settle(connector, {SLOT: 2})
        info = await connector.scaling_info()
        assert info is not None
        assert info.groups == (Group("team-a", 2, 3),)
        assert [tasks.group for tasks in info.tasks] == ["team-a"]
        open_gate(gate)
        await client.gather(held)


@in_loop
async def test_odd_annotations_and_amounts_do_no_harm(cluster: DaskCluster) -> None:
    async with cluster.connector() as connector, cluster.client() as client:
        with dask.annotate(gang=["not", "a name"], gang_size="3", group="", max_slots=-4, colour="red"):
            odd = [client.submit(dask_tasks.square, 1)]
        with dask.annotate(gang="alone", gang_size=1, group=7, max_slots="many"):
            odd.append(client.submit(dask_tasks.square, 2))
        amounts = (0, -1, float("nan"), float("inf"), 1e300)
        odd += [
            client.submit(dask_tasks.square, number + 10, resources={"slot": amount})
            for number, amount in enumerate(amounts)
        ]
        await settle(connector, {PLAIN: 5, "1e+15 slots, 1 cpu": 2})


@in_loop
async def test_agents_are_told_with_their_names(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("7", nthreads=1, slots=0, memory="512MiB")
    cluster.add_worker("agent-b", nthreads=3, slots=2, resources="licence=1.5")
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("7", "agent-b")
        agents = await connector.agents()
        assert agents["7"] == Agent("7", True, Resources(0, 1, 0.5), Resources())
        assert agents["agent-b"] == Agent("agent-b", True, Resources(2, 3, 1, (("licence", 1.5),)), Resources())
        # Dask loses an actor that is submitted before its worker has quite started.
        assert await client.submit(dask_tasks.square, 2, workers=["agent-b"]) == 4
        future = client.submit(dask_tasks.Adder, actor=True, workers=["agent-b"])
        actor = await future
        await settle(connector, {})
        assert not (await connector.agents())["agent-b"].idle  # an actor lives on it, though no task is there
        assert await actor.add(3) == 3
        held = client.submit(dask_tasks.held, gate, 1, workers=[7])  # to Dask, the name is a number
        await until(Path(f"{gate}.started-1").exists)
        assert (await connector.agents())["7"] == Agent(
            "7", False, Resources(0, 1, 0.5), Resources(0, 1), 1, activity=1
        )
        cluster.kill_worker("agent-b")
        await connector.joined("7")
        open_gate(gate)
        assert await held == 1


@in_loop
async def test_new_demand_wakes_the_pool_at_once(cluster: DaskCluster) -> None:
    cluster.add_worker("agent-1", slots=1, nthreads=1)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        await until(lambda: connector.wakes)
        futures = []
        for number in range(5):
            await until(lambda: is_quiet(connector), what="a time without wakes")  # nothing changes, nothing is told
            futures.append(client.submit(dask_tasks.square, number, resources={"nothing-has-it": 1}))
            await until(lambda: connector.wakes, what="a wake")


async def is_quiet(connector: Connector) -> bool:
    """Whether it tells nothing for a while, which is several times as long as the least pause between two wakes."""
    connector.wakes.clear()
    await asyncio.sleep(0.3)
    return not connector.wakes


@in_loop
async def test_wakes_are_few_and_the_last_change_is_not_missed(cluster: DaskCluster) -> None:
    cluster.add_worker("agent-1", nthreads=2)
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        await until(lambda: is_quiet(connector), what="a time without wakes")
        read: list[dict[str, int]] = []

        async def read_when_woken() -> None:
            seen = 0
            while True:
                await until(lambda: len(connector.wakes) > seen, timeout=math.inf)  # noqa: B023
                seen = len(connector.wakes)
                read.append(await connector.demand())

        reading = asyncio.create_task(read_when_woken())
        begun = time.perf_counter()
        for wave in range(10):
            numbers = range(wave * 100, wave * 100 + 100)
            await client.gather(client.map(dask_tasks.square, numbers, resources={"slot": 1}))
        last = client.submit(dask_tasks.square, 10_000, resources={"nothing-has-it": 1})
        await until(
            lambda: read and sum(read[-1].values()) == 1, what="that who reads when woken knows of the last one"
        )
        assert len(connector.wakes) <= (time.perf_counter() - begun) / 0.05 + 3
        reading.cancel()
        del last


@in_loop
async def test_the_counts_are_exact_whatever_happens_to_tasks(cluster: DaskCluster, tmp_path: Path) -> None:
    """Cancelled, failing, retried, released, recomputed and rescheduled tasks, and workers that die."""
    dice = random.Random(5)
    fates: list[dict[str, Any]] = [
        {},
        {"resources": {"slot": 1}},
        {"resources": {"slot": 2}},
        {"resources": {"slot": 1}, "retries": 2},
        {"workers": ["agent-1"], "allow_other_workers": True},
        {"resources": {"missing": 1}},
    ]
    async with cluster.connector() as connector, cluster.client() as client:
        names = [f"agent-{number}" for number in range(3)]
        for name in names:
            cluster.add_worker(name)
        futures: list[Any] = []
        for turn in range(50):
            for _ in range(10):
                function = dice.choice([dask_tasks.square, dask_tasks.square, dask_tasks.fail])
                source = dice.choice(futures) if futures and dice.random() < 0.3 else dice.randrange(10**9)
                with dask.annotate(**({"gang": f"g{turn}", "gang_size": 2} if dice.random() < 0.2 else {})):
                    futures.append(client.submit(function, source, pure=False, **dice.choice(fates)))
            dice.shuffle(futures)
            doomed, futures = futures[:5], futures[5:]
            await client.cancel(doomed[:3])
            del doomed
            if dice.random() < 0.3 and (failed := [future for future in futures if future.status == "error"]):
                with suppress(KeyError):  # the client's own: it looks for futures of what a retried task needs
                    await client.retry(failed[:5])
            if turn % 10 == 9:
                name = dice.choice(names)
                cluster.kill_worker(name)
                cluster.add_worker(name)
            if turn % 7 == 0:
                assert (await connector.check())["differences"] == ()
            await connector.scaling_info()
        answer = await connector.check()
        assert answer["differences"] == ()
        await client.cancel(futures)
        del futures
        await settle(connector, {})
        answer = await connector.check()
        assert (answer["differences"], answer["repairs"]) == ((), 0)
        assert "Plugin failed" not in cluster.log()


@in_loop
async def test_a_new_plugin_counts_what_is_there(cluster: DaskCluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    cluster.add_worker("agent-1", nthreads=1, slots=1)
    async with cluster.client() as client:
        held = client.map(dask_tasks.held, [gate] * 3, range(3), resources={"slot": 1})
        waiting = client.map(dask_tasks.square, range(4), resources={"slot": 2})
        await until(Path(f"{gate}.started-0").exists)
        async with cluster.connector() as connector:
            assert await connector.demand() == {SLOT: 2, TWO_SLOTS: 4}
            assert (await connector.check())["differences"] == ()
        open_gate(gate)
        await client.gather(held)
        del waiting
