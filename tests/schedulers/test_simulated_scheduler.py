"""The simulated scheduler without faults: jobs, drains and views."""

from __future__ import annotations

import pytest

from schedulers.simulated_world import TWO, World, in_world, job
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainOutcome, SchedulerContext, SchedulerError
from slotsmith.schedulers.simulated import (
    plugin,
)
from slotsmith.simulation.loop import VirtualClock, run_virtually


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


def test_the_plugin_says_that_it_is_only_for_simulations() -> None:
    async def main(clock: VirtualClock) -> None:
        settings = plugin.settings.model_validate({"type": "simulated"})
        scheduler = plugin.create(settings, SchedulerContext("gpu", clock, lambda: None))
        with pytest.raises(SchedulerError, match="slotsmith simulate"):
            await scheduler.setup()
        assert await scheduler.scaling_info() is None
        await scheduler.close()

    run_virtually(main)
