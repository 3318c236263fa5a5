"""What the faults of the simulated scheduler do."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest

from schedulers.simulated_world import TWO, World, in_world, job
from slotsmith.clock import Random
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainOutcome, SchedulerError
from slotsmith.schedulers.simulated import (
    FAULTS,
    HEAVY,
    LIGHT,
    NO_SCHEDULER_FAULTS,
    SchedulerFaults,
)


def only(**faults: Any) -> SchedulerFaults:
    return replace(NO_SCHEDULER_FAULTS, **faults)


def test_every_fault_has_a_chance_and_a_sentence() -> None:
    chances = {each.name for each in fields(SchedulerFaults) if not each.name.endswith("_s")}
    assert chances == set(FAULTS)
    for level in (LIGHT, HEAVY):
        assert all(getattr(level, name) > 0 for name in FAULTS)
    assert all(getattr(NO_SCHEDULER_FAULTS, name) == 0 for name in FAULTS)


@pytest.mark.parametrize("wrong", [{"hangs": 1}, {"late_view": 1.5}, {"forgets": -1}, {"late_view_s": (3.0, 1.0)}])
def test_faults_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        SchedulerFaults(**wrong)


def test_refuses_drain() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", TWO)
        answer = (await world.scheduler.drain(["i-1"], when_done=False))["i-1"]
        assert answer.outcome is DrainOutcome.REFUSED
        world.scheduler.submit(job("a"))
        await world.until(1.0)
        assert world.scheduler.busy("i-1")
        world.scheduler.stop_faults()
        await world.until(11.0)
        answer = (await world.scheduler.drain(["i-1"], when_done=False))["i-1"]
        assert answer.outcome is DrainOutcome.RELEASED

    assert in_world(body, faults=only(refuses_drain=1.0)).faults == {"refuses_drain": 1}


def test_late_view_arrives_late_and_never_behind_a_newer_one() -> None:
    async def body(world: World) -> None:
        for number in range(10):
            world.scheduler.agent_joined(f"i-{number}", TWO)
            await world.clock.sleep(1.0)
        await world.clock.sleep(60.0)

    world = in_world(body, faults=only(late_view=1.0, late_view_s=(2.0, 5.0)))
    sizes = [len(info.agents) for _, info in world.views]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 10
    assert all(2.0 <= time - (len(info.agents) - 1) <= 5.0 for time, info in world.views)


def test_repeated_view() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", TWO)
        await world.until(1.0)

    views = in_world(body, faults=only(repeated_view=1.0)).views
    assert len(views) == 2
    assert views[0] == views[1]


def test_stale_view_is_followed_by_the_true_one() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", TWO)
        await world.until(1.0)
        world.scheduler.agent_joined("i-2", TWO)
        await world.until(100.0)
        world.scheduler.stop_faults()
        await world.until(200.0)

    world = in_world(body, faults=only(stale_view=0.999, stale_view_s=(5.0, 9.0)))
    sizes = [len(info.agents) for _, info in world.views]
    assert sizes[:4] == [1, 2, 1, 2]
    assert sizes[-1] == 2
    assert world.faults["stale_view"] > 0
    assert not [time for time, _ in world.views if time > 100.0]


def test_forgets() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        for name in ("i-1", "i-2", "i-3"):
            scheduler.agent_joined(name, Resources(1))
        state = scheduler.submit(job("a", lasts=1e6))
        await world.until(0.5)
        idle = next(name for name in scheduler.agents if not scheduler.busy(name))
        await scheduler.drain([idle], when_done=False)
        while not scheduler.down:
            await world.clock.sleep(0.5)
        assert not scheduler.agents
        assert scheduler.pending == {0: state}
        with pytest.raises(SchedulerError, match="restarts"):
            await scheduler.scaling_info()
        with pytest.raises(SchedulerError, match="restarts"):
            await scheduler.drain(["i-1"], when_done=True)
        scheduler.agent_left("i-3")
        scheduler.agent_joined("i-4", Resources(1))
        scheduler.stop_faults()
        began, seen = world.loop.time(), len(world.views)
        assert len(world.views) == seen, "it tells nothing while it is down"
        await world.until(began + 31.0)
        assert {agent.name for agent in world.last.agents} == {"i-1", "i-2", "i-4"}
        assert not any(agent.draining for agent in world.last.agents), "drains are forgotten"
        assert len(state.lost) == 1
        assert state.started_at > began - 1
        await world.until(began + 200_000)

    world = in_world(body, faults=only(forgets=24.0, forgets_s=(10.0, 20.0), reconnects_s=(0.0, 10.0)))
    assert world.faults == {"forgets": 1}


def test_read_error() -> None:
    async def body(world: World) -> None:
        for call in (world.scheduler.setup, world.scheduler.scaling_info):
            with pytest.raises(SchedulerError):
                await call()
        world.scheduler.stop_faults()
        await world.scheduler.setup()
        assert await world.scheduler.scaling_info() == ScalingInfo()

    assert in_world(body, push=False, faults=only(read_error=1.0)).faults == {"read_error": 2}


def test_hang_lasts_until_the_caller_gives_up() -> None:
    async def body(world: World) -> None:
        for call in (world.scheduler.scaling_info(), world.scheduler.drain(["i-1"], when_done=True)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60.0):
                    await call
        assert world.loop.time() == 120.0

    assert in_world(body, faults=only(scheduler_hang=1.0)).faults == {"scheduler_hang": 2}


def test_slow_drain_takes_effect_at_once() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", TWO)
        asked = asyncio.create_task(world.scheduler.drain(["i-1"], when_done=False))
        await world.until(1.0)
        assert not asked.done()
        assert world.last.agents[0].draining
        assert (await asked)["i-1"].outcome is DrainOutcome.RELEASED
        assert 5.0 <= world.loop.time() <= 7.0

    assert in_world(body, faults=only(slow_drain=1.0, slow_drain_s=(5.0, 7.0))).faults == {"slow_drain": 1}


def test_drain_error_before_or_after_it_took_effect() -> None:
    async def body(world: World) -> None:
        outcomes = set()
        for number in range(20):
            name = f"i-{number}"
            world.scheduler.agent_joined(name, TWO)
            with pytest.raises(SchedulerError):
                await world.scheduler.drain([name], when_done=False)
            outcomes.add(world.scheduler.agents[name].open)
        assert outcomes == {True, False}

    assert in_world(body, faults=only(drain_error=1.0)).faults == {"drain_error": 20}


def busy_day(seed: int, faults: SchedulerFaults) -> World:
    """Two hundred jobs on agents that come and go; the faults stop, and all is done."""

    async def body(world: World) -> None:
        random = Random(seed)
        scheduler = world.scheduler
        times = sorted(round(random.uniform(0, 20_000), 3) for _ in range(200))
        scheduler.replay(
            [
                job(
                    f"j-{n}",
                    at=time,
                    lasts=round(random.expovariate(1 / 300), 3),
                    slots=random.choice([1, 2, 4]),
                    spans=True,
                )
                for n, time in enumerate(times)
            ]
        )
        names = [f"i-{number}" for number in range(8)]
        for _ in range(300):
            await world.clock.sleep(round(random.expovariate(1 / 60), 3))
            name = random.choice(names)
            step = random.randrange(4)
            try:
                if step == 0:
                    scheduler.agent_left(name)
                elif step == 1:
                    scheduler.agent_joined(name, TWO)
                elif step == 2:
                    async with asyncio.timeout(60):
                        await scheduler.drain([name], when_done=random.random() < 0.5)
                else:
                    async with asyncio.timeout(60):
                        await scheduler.cancel_drain([name])
            except (SchedulerError, TimeoutError):
                pass
        scheduler.stop_faults()
        await world.clock.sleep(faults.settles)
        await scheduler.cancel_drain(list(scheduler.agents))
        for name in names:
            if name not in scheduler.agents:
                scheduler.agent_joined(name, TWO)
        await world.clock.sleep(100_000.0)
        assert scheduler.done
        assert len(scheduler.finished) == 200
        assert scheduler.killed == sum(len(state.lost) for state in scheduler.jobs)
        for state in scheduler.jobs:
            # Every second since it was submitted it has either waited or run.
            ran = sum(end - start for start, end in state.runs())
            assert state.ended_at - state.job.submit_s == pytest.approx(ran + state.waited_s)
            assert state.ended_at - state.started_at == pytest.approx(state.job.duration_s)
        assert world.last == scheduler.view()
        assert all(agent.idle for agent in world.last.agents)

    return in_world(body, seed=seed, faults=faults)


def test_whatever_the_faults_all_jobs_end_and_every_fault_strikes() -> None:
    struck: Counter[str] = Counter()
    for seed in range(4):
        struck += busy_day(seed, HEAVY).faults
    assert set(struck) == set(FAULTS) - {"read_error"}, "nobody read"


def test_the_same_seed_tells_the_same() -> None:
    assert busy_day(7, HEAVY).events == busy_day(7, HEAVY).events
    assert busy_day(7, HEAVY).events != busy_day(8, HEAVY).events
