"""The simulated scheduler in virtual time: jobs, drains, views, and what its faults do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from slotsmith.clock import Random
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainOutcome, SchedulerContext, SchedulerError
from slotsmith.schedulers.simulated import (
    FAULTS,
    HEAVY,
    LIGHT,
    NO_SCHEDULER_FAULTS,
    Job,
    SchedulerFaults,
    SimulatedScheduler,
    plugin,
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


def test_jobs_run_as_agents_allow() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        scheduler.replay([job("a", at=1, lasts=10), job("b", at=2, slots=2), job("c", at=3), job("d", at=50, lasts=0)])
        world.loop.call_at(5.0, scheduler.agent_joined, "i-1", TWO)
        await world.until(60.0)
        assert scheduler.done
        assert [(s.job.id, s.started_at, s.ended_at, s.waited_s) for s in scheduler.jobs] == [
            ("a", 5.0, 15.0, 4.0),
            ("b", 15.0, 25.0, 13.0),
            ("c", 5.0, 15.0, 2.0),
            ("d", 50.0, 50.0, 0.0),
        ]
        assert [state.job.id for state in scheduler.finished] == ["a", "c", "b", "d"]

    world = in_world(body)
    assert world.events[:2] == ["1 scheduler submitted job=a", "2 scheduler submitted job=b"]
    assert "5 scheduler started job=a agents=i-1" in world.events


def test_what_happens_at_one_moment_makes_one_view() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        scheduler.replay([job(f"j-{n}", at=5) for n in range(3)] + [job("gang", at=5, slots=4, spans=True)])
        world.loop.call_at(9.0, scheduler.agent_joined, "i-1", TWO)
        world.loop.call_at(9.0, scheduler.agent_joined, "i-2", TWO)
        await world.until(18.9)
        assert [time for time, _ in world.views] == [5.0, 9.0]
        first, second = world.views[0][1], world.views[1][1]
        assert [(str(kind), kind.spans) for kind in first.tasks] == [
            ("3 tasks of 1 slot", False),
            ("1 task of 4 slots (gang)", True),
        ]
        assert [(a.name, a.idle, a.capacity) for a in second.agents] == [("i-1", False, TWO), ("i-2", False, TWO)]
        assert sorted(agent.used.slots for agent in second.agents) == [1, 2]
        assert [kind.example for kind in second.tasks] == ["gang"]
        await world.until(19.5)
        assert [agent.activity for agent in world.last.agents] == [2, 3] or [
            agent.activity for agent in world.last.agents
        ] == [3, 2]
        assert not world.last.tasks

    in_world(body)


def test_agents_that_did_not_change_are_the_same_values() -> None:
    async def body(world: World) -> None:
        for name in ("i-1", "i-2"):
            world.scheduler.agent_joined(name, TWO)
        await world.until(1.0)
        before = world.last
        state = world.scheduler.submit(job("a"))
        await world.until(2.0)
        other = 1 - ["i-1", "i-2"].index(state.agents[0])
        assert world.last.agents[other] is before.agents[other]
        assert world.last != before

    in_world(body)


def test_a_lost_agent_kills_its_jobs_which_wait_again_at_their_place() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        scheduler.replay([job("gang", at=0, lasts=100, slots=4, spans=True), job("later", at=1, lasts=5, slots=2)])
        scheduler.agent_joined("i-1", TWO)
        scheduler.agent_joined("i-2", TWO)
        world.loop.call_at(50.0, scheduler.agent_left, "i-1")
        world.loop.call_at(60.0, scheduler.agent_joined, "i-3", TWO)
        await world.until(52.0)
        gang, later = scheduler.jobs
        assert scheduler.killed == 1
        assert gang.lost == ((0.0, 50.0),)
        assert scheduler.pending == {0: gang}
        assert later.agents == ("i-2",)
        assert not scheduler.busy("i-1")
        assert scheduler.busy("i-2")
        await world.until(500.0)
        assert (gang.started_at, gang.ended_at, gang.waited_s) == (60.0, 160.0, 10.0)
        assert gang.runs() == ((0.0, 50.0), (60.0, 160.0))

    assert "50 scheduler killed job=gang agent=i-1" in in_world(body).events


def test_drains() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        scheduler.agent_joined("busy", Resources(1))
        scheduler.submit(job("a", lasts=100))
        await world.until(1.0)
        scheduler.agent_joined("idle", Resources(1))
        answers = await scheduler.drain(["idle", "busy", "nobody"], when_done=False)
        assert {name: answer.outcome for name, answer in answers.items()} == {
            "idle": DrainOutcome.RELEASED,
            "busy": DrainOutcome.REFUSED,
            "nobody": DrainOutcome.RELEASED,
        }
        assert answers["busy"].detail
        scheduler.submit(job("b", at=1, lasts=100))
        await world.until(2.0)
        assert len(scheduler.pending) == 1, "a released agent takes nothing"
        assert [(a.name, a.idle, a.draining) for a in world.last.agents] == [
            ("busy", False, False),
            ("idle", True, True),
        ]
        waiting = await scheduler.drain(["busy"], when_done=True)
        assert waiting["busy"].outcome is DrainOutcome.WAITING
        await world.until(101.0)
        assert len(scheduler.pending) == 1, "a draining agent gets nothing new"
        assert (await scheduler.drain(["busy"], when_done=True))["busy"].outcome is DrainOutcome.RELEASED
        await scheduler.cancel_drain(["busy", "nobody"])
        await world.until(102.0)
        assert scheduler.busy("busy")
        assert [state.waited_s for state in scheduler.running.values()] == [100.0]

    in_world(body)


def test_a_drain_and_a_job_of_the_same_moment() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", Resources(1))
        await world.until(1.0)
        world.scheduler.submit(job("a"))
        answers = await world.scheduler.drain(["i-1"], when_done=False)
        assert answers["i-1"].outcome is DrainOutcome.REFUSED

    in_world(body)


def test_a_read_view_is_true_at_that_very_moment() -> None:
    async def body(world: World) -> None:
        scheduler = world.scheduler
        assert await scheduler.scaling_info() == ScalingInfo()
        scheduler.submit(job("a"))
        scheduler.agent_joined("i-1", Resources(1))
        info = await scheduler.scaling_info()
        assert not info.tasks
        assert [agent.idle for agent in info.agents] == [False]
        assert await scheduler.scaling_info() is info
        await world.until(3.0)
        assert world.woken == [0.0]

    in_world(body, push=False)


def test_an_agent_that_joins_twice_has_lost_its_work() -> None:
    async def body(world: World) -> None:
        world.scheduler.agent_joined("i-1", Resources(1))
        state = world.scheduler.submit(job("a", lasts=10))
        await world.until(5.0)
        world.scheduler.agent_joined("i-1", Resources(1))
        await world.until(20.0)
        assert (state.lost, state.ended_at) == (((0.0, 5.0),), 15.0)

    in_world(body)


# Faults


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


def test_the_plugin_says_that_it_is_only_for_simulations() -> None:
    async def main(clock: VirtualClock) -> None:
        settings = plugin.settings.model_validate({"type": "simulated"})
        scheduler = plugin.create(settings, SchedulerContext("gpu", clock, lambda: None))
        with pytest.raises(SchedulerError, match="slotsmith simulate"):
            await scheduler.setup()
        assert await scheduler.scaling_info() is None
        await scheduler.close()

    run_virtually(main)
