"""The main job as a user sees it: a Dask scheduler, `dask worker` agents, and a fleet that follows the work."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from leftovers import end_all
from schedulers import dask_tasks
from schedulers.dask_cluster import DaskCluster, DaskProcesses, open_gate, started, starts_in
from slotsmith.cli.demo.cluster import worker_command
from slotsmith.config import load_config
from slotsmith.config.assembly import Assembly
from slotsmith.model.instance import InstanceState
from slotsmith.model.record import Move
from slotsmith.providers.local import find_processes
from slotsmith.provisioner import Provisioner
from slotsmith.store.sql import SqlStore, open_store
from waiting import until

MOST, SLOTS, IDLE = 3, 2, 1.0
CONFIG = """\
store: {{url: "sqlite:///{directory}/books.db"}}
pools:
  - name: p
    scheduler: {{type: dask, address: "{address}", poll_period: 500ms}}
    provider: {{type: local, slots: {slots}, cpus: {slots}, mem_gib: 1, stop_grace: 5s, command: "{command}"}}
    max_instances: {most}
    max_idle_agent_period: {idle}s
    max_agent_starting_period: 60s
    max_agent_disconnect_period: 60s
"""


class Place:
    """A Dask scheduler without workers, and pools that work for it, one after the other, on the same books."""

    def __init__(self, cluster: DaskCluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory

    @asynccontextmanager
    async def pool(self, most: int) -> AsyncIterator[Pool]:
        """A pool at work; its instances stay when it is left."""
        file = self.directory / f"slotsmith-{most}.yaml"
        address, command = self.cluster.address, worker_command(self.cluster.address, self.directory)
        text = CONFIG.format(
            directory=self.directory, address=address, slots=SLOTS, command=command, most=most, idle=IDLE
        )
        file.write_text(text)
        config = load_config(file)
        with open_store(config.store.url) as store, Assembly(config, store) as assembly:
            provisioner = assembly.provisioner(config.pools[0])
            running = asyncio.create_task(provisioner.run())
            try:
                yield Pool(provisioner, store)
            finally:
                provisioner.stop()
                await running
                await provisioner.close()


class Pool:
    """One run of a provisioner, and what is on record of it."""

    def __init__(self, provisioner: Provisioner, store: SqlStore) -> None:
        self.provisioner = provisioner
        self._store = store

    def moves(self) -> list[Move]:
        return list(self._store.moves("p", limit=100_000))

    def launched(self) -> set[str]:
        """All instances that there have been."""
        return {move.instance_id for move in self.moves() if move.before is None}

    def ends(self) -> dict[str, tuple[float, str]]:
        """When and why each instance has gone."""
        return {move.instance_id: (move.at, move.note) for move in self.moves() if move.after is None}

    def working(self) -> int:
        """How many agents have a task."""
        return sum(not agent.idle for agent in self.provisioner.agents)

    def going(self) -> int:
        """How many instances are being given up."""
        summary = self._store.summary("p") or {}
        return sum(each["termination"] is not None for each in summary.get("instances", ()))

    async def gone(self) -> None:
        """Return when there is no instance any more, and that is on record."""

        def recorded() -> bool:
            return not self.provisioner.instances and self.ends().keys() == self.launched()

        await until(recorded, what=f"an empty fleet, not {self.left()}")

    def left(self) -> list[tuple[str, InstanceState, str]]:
        return [(instance.id, instance.state, instance.detail) for instance in self.provisioner.instances]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # The agents find the tasks' module there.
    monkeypatch.setenv("PYTHONPATH", str(Path(dask_tasks.__file__).parents[1]))
    try:
        with DaskProcesses() as processes, DaskCluster(processes, tmp_path) as cluster:
            yield Place(cluster, tmp_path)
    finally:
        end_all(tmp_path)


class Load:
    """Tasks that write down each of their starts, and give the square of their number."""

    def __init__(self, client: Any, directory: Path) -> None:
        self._client = client
        self._directory = str(directory)
        self.numbers = itertools.count()
        self.squares: dict[int, int] = {}

    def submit(self, seconds: list[float], slots: int, gate: str = "") -> dict[int, Any]:
        """A task for each of `seconds`, each on so many slots, that ends when `gate` is open; the futures by number."""
        numbers = list(itertools.islice(self.numbers, len(seconds)))
        needs = {"slot": slots} if slots else None
        futures = self._client.map(
            dask_tasks.noted,
            [self._directory] * len(numbers),
            numbers,
            seconds,
            [gate] * len(numbers),
            resources=needs,
            pure=False,
        )
        return dict(zip(numbers, futures, strict=True))

    async def take(self, futures: dict[int, Any]) -> None:
        """Wait for the results; nothing is kept on the agents for them any more."""
        results = await self._client.gather(list(futures.values()))
        self.squares.update(zip(futures, results, strict=True))
        futures.clear()

    def check(self) -> None:
        """Every task was started once, and gave what it should."""
        tasks = next(self.numbers)
        starts = starts_in(Path(self._directory))
        assert {number: count for number, count in starts.items() if count != 1} == {}
        assert sorted(starts) == list(range(tasks))
        assert self.squares == {number: number * number for number in range(tasks)}


async def bursts(pool: Pool, load: Load, tasks: int, waves: int, dice: random.Random) -> None:
    """The tasks in waves. The pauses between them are about as long as the idle period, so that some agents are being
    given up when the next wave comes; every other one goes on until one has gone. The results of a wave are needed
    until the next one is done."""
    size, before = tasks // waves, dict[int, Any]()
    for number in range(waves):
        third, ends = size // 3, len(pool.ends())
        wave: dict[int, Any] = {}
        for slots, count in ((0, third), (1, third), (2, size - 2 * third)):
            wave |= load.submit([dice.random() * 0.004 for _ in range(count)], slots)
        await load.take(before)
        last = list(wave.values())[-1]
        await last
        before = wave
        await asyncio.sleep(dice.uniform(0.5, 3.0) * IDLE)
        if number % 2:
            # One of them has no work: there are two at least, and what trickles in is for one.
            await until(lambda: len(pool.ends()) > ends, what="an agent less")  # noqa: B023
    await load.take(before)


async def trickle(load: Load, enough: asyncio.Event, dice: random.Random) -> None:
    """One task at a time, longer than the idle period: whenever an agent is given up, another one is at work."""
    while not enough.is_set():
        await load.take(load.submit([dice.uniform(1.5, 3.0) * IDLE], 1))


async def goes_up_and_down(place: Place, tasks: int, waves: int) -> Counter[str]:
    """Run so many tasks while the fleet follows the demand; how many agents were given up while work went on."""
    dice = random.Random(tasks)
    async with place.pool(MOST) as pool, place.cluster.client() as client:
        load, enough = Load(client, place.directory), asyncio.Event()
        trickling = asyncio.create_task(trickle(load, enough, random.Random(1)))
        try:
            await bursts(pool, load, tasks, waves, dice)
        finally:
            enough.set()
            await asyncio.gather(trickling, return_exceptions=True)
        trickling.result()
        meanwhile = Counter(why for _, why in pool.ends().values())
        await pool.gone()
        load.check()
        launched = pool.launched()
        assert {why for _, why in pool.ends().values()} == {"terminated: long idle"}
        assert most_at_once(pool.moves()) <= MOST
    assert find_processes(state_dir=place.directory) == []
    assert_nothing_was_lost(place, launched)
    return meanwhile


def most_at_once(moves: list[Move]) -> int:
    """The largest number of instances that there have been at one time."""
    steps = [(move.before is None) - (move.after is None) for move in moves]
    return max(itertools.accumulate(steps))


def assert_nothing_was_lost(place: Place, launched: set[str]) -> None:
    """The scheduler had nothing to complain of, and has let go of every agent before its process was asked to end."""
    for complaint in ("caused the cluster to lose", "Traceback", "Plugin failed", "ERROR"):
        assert complaint not in place.cluster.log()
    logs = {path.parent.name: path.read_text() for path in place.directory.glob("**/gone/*/agent.log")}
    assert logs.keys() == launched
    for name, log in logs.items():
        before, released, _ = log.partition("Reason: scheduler-remove-worker")
        assert released, f"{name}: {log}"
        assert "Received signal" not in before, f"{name}: {log}"


def test_i4_tasks_while_the_fleet_goes_up_and_down(place: Place) -> None:
    given_up = asyncio.run(goes_up_and_down(place, 1_500, waves=6))
    assert given_up["terminated: long idle"] >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_i4_ten_thousand_tasks_while_the_fleet_goes_up_and_down(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    given_up = asyncio.run(goes_up_and_down(place, 10_000, waves=40))
    with capsys.disabled():
        print(f"\n10,000 tasks; agents given up meanwhile: {dict(given_up)}")
    assert given_up["terminated: long idle"] >= 20


async def shrinks_under_load(place: Place) -> None:
    """Three agents at work, then only one is allowed: the others finish what they have begun, and go."""
    async with place.cluster.client() as client:
        load = Load(client, place.directory)
        one, two, three = (str(place.directory / f"gate-{number}") for number in range(3))
        async with place.pool(MOST) as pool:
            first = load.submit([0.1] * 30, 1, one)
            await until(lambda: pool.working() == MOST, what="three agents at work")
            open_gate(one)
            await load.take(first)
            long = load.submit([0.1] * (MOST * SLOTS), 1, two)
            await until(lambda: long.keys() <= starts_in(place.directory).keys(), what="a long task on every slot")
            behind = load.submit([0.1] * 60, 1, three)
        async with place.pool(1) as pool:
            await until(lambda: pool.going() == MOST - 1, what="two agents that are to go")
            open_gate(two)
            await until(lambda: len(pool.ends()) == MOST - 1, what="one instance less than there were")
            unfinished = sum(not future.done() for future in behind.values())
            open_gate(three)
            await load.take(long)
            await load.take(behind)
            why = Counter(why for _, why in pool.ends().values())
            assert why["terminated: instance number exceeding maximum"] == MOST - 1
            await pool.gone()
            load.check()
            launched = pool.launched()
    assert unfinished > 0, "the others did not go before all was done"
    assert len(launched) == MOST
    assert find_processes(state_dir=place.directory) == []
    assert_nothing_was_lost(place, launched)


def test_i4_over_a_lowered_maximum_busy_agents_finish_first(place: Place) -> None:
    asyncio.run(shrinks_under_load(place))


async def one_behind_the_other(place: Place) -> None:
    """Two tasks that each need a whole agent wait when the first agent joins: Dask gives it both of them."""
    async with place.pool(2) as pool, place.cluster.client() as client:
        gate = str(place.directory / "gate")
        futures = [client.submit(dask_tasks.held, gate, n, resources={"slot": SLOTS}) for n in range(2)]
        await until(lambda: len(pool.provisioner.agents) == 2, what="two agents")
        # The second agent is there for the second task; without help it would idle beside the waiting one, be given
        # up, and be launched again, for as long as the first task takes: until both of them have begun.
        await started(gate, 0, 1)
        open_gate(gate)
        assert await client.gather(futures) == [0, 1]
        del futures
        await pool.gone()
        assert len(pool.ends()) == 2


def test_a_task_behind_another_moves_to_the_agent_that_was_launched_for_it(place: Place) -> None:
    asyncio.run(one_behind_the_other(place))
