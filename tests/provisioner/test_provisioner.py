"""One pool from pass to pass: launches, terminations, failures and restarts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest

from provisioner.world import World
from slotsmith.core.rules import SLOTSMITH
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.base import LaunchRequest, ProviderError
from slotsmith.provisioner.pool import FEW_KINDS
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.store.base import Changes, StoreError
from waiting import PATIENCE, until


def run(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return wrapped


@run
async def test_demand_is_launched_once_and_recorded_before_the_call() -> None:
    world = World()
    await world.pool.setup()
    world.push(3)
    await world.passes(3)
    assert world.provider.made("launch") == [LaunchRequest("t1", world.provider.offerings()[0], 3)]
    books = world.store.load("p")
    assert {record.instance.id for record in books.instances} == {"t1-0", "t1-1", "t1-2"}
    assert books.intents == ()


@run
async def test_i1_the_maximum_counts_everything_listed_and_in_flight() -> None:
    world = World(max_instances=4)
    for name, state in (("a", InstanceState.STOPPING), ("b", InstanceState.TERMINATING), ("c", InstanceState.UNKNOWN)):
        world.provider.add(name, state)
    await world.pool.setup()
    await world.pool.adopt()
    world.push(10)
    await world.passes(2)
    assert [request.count for request in world.provider.made("launch")] == [1]  # type: ignore[attr-defined]
    assert world.pool.last_decision is not None
    (unmet,) = world.pool.last_decision.unmet
    assert unmet.reason == "the pool is at its maximum of 4 instances (1 stopping, 1 terminating, 1 unknown among them)"


@run
async def test_i3_a_lost_answer_is_asked_again_with_the_same_token() -> None:
    world = World()
    world.provider.launch_faults = ["lost answer", ProviderError(ErrorKind.THROTTLED, "slow down")]
    await world.pool.setup()
    world.push(2)
    await world.passes(3)
    tokens = [request.token for request in world.provider.made("launch")]  # type: ignore[attr-defined]
    assert tokens == ["t1", "t1", "t1"]
    assert set(world.provider.instances) == {"t1-0", "t1-1"}


@run
async def test_i3_a_restart_resumes_an_unanswered_launch_with_its_token() -> None:
    world = World()
    world.provider.hang = asyncio.Event()
    await world.pool.setup()
    world.push(2)
    cut_off = asyncio.create_task(world.pool.provision())
    while not world.provider.made("launch"):
        await asyncio.sleep(0)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    (intent,) = world.store.load("p").intents
    assert (intent.token, intent.count, intent.state) == ("t1", 2, IntentState.OPEN)

    world.provider.hang = None
    world.pool = world.provisioner()
    running = asyncio.create_task(world.pool.run())
    world.push(2)
    while len(world.provider.instances) < 2:
        await asyncio.sleep(0)
    for _ in range(200):
        await asyncio.sleep(0)
    world.pool.stop()
    await running
    assert {request.token for request in world.provider.made("launch")} == {"t1"}  # type: ignore[attr-defined]
    assert len(world.provider.instances) == 2


@run
async def test_in_flight_launches_count_while_the_listing_lags() -> None:
    world = World()
    world.provider.consistency_window = 60.0
    world.provider.hidden = {"t1-0", "t1-1"}
    world.pool = world.provisioner()
    await world.pool.setup()
    world.push(2)
    await world.passes(5)
    assert len(world.provider.made("launch")) == 1
    world.provider.hidden = set()
    await world.passes(2)
    assert len(world.provider.made("launch")) == 1
    assert world.store.load("p").intents == ()


@run
async def test_an_instance_missing_from_one_listing_is_not_launched_again() -> None:
    world = World()
    world.provider.consistency_window = 60.0
    world.pool = world.provisioner()
    await world.pool.setup()
    world.push(1)
    await world.passes(2)
    world.provider.hidden = {"t1-0"}
    await world.passes(2)
    world.provider.hidden = set()
    await world.passes(2)
    assert len(world.provider.made("launch")) == 1
    notes = [(move.before, move.after) for move in world.store.moves("p", instance_id="t1-0")]
    assert notes == [(None, InstanceState.RUNNING)]


@run
async def test_a_long_idle_agent_is_drained_then_terminated_and_counted_until_gone() -> None:
    world = World(max_idle_agent_period=10)
    world.provider.add("a")
    await world.pool.setup()
    await world.pool.adopt()
    world.push(idle=["a"])
    await world.passes(10)
    assert world.drains == []
    await world.passes(3)
    assert world.drains == [(("a",), False)]
    assert world.provider.made("terminate") == [("a",)]
    (move,) = world.store.moves("p", instance_id="a", limit=1)
    assert (move.after, move.note) == (None, "terminated: long idle")


@run
async def test_i4_a_refused_drain_keeps_the_instance() -> None:
    world = World(max_idle_agent_period=10)
    world.provider.add("a")
    world.refusing["a"] = DrainAnswer(DrainOutcome.REFUSED, "it works on x")
    await world.pool.setup()
    await world.pool.adopt()
    world.push(idle=["a"])
    await world.passes(20)
    assert len(world.drains) == 1
    assert world.provider.made("terminate") == []
    assert world.store.moves("p", instance_id="a")[-1].note == "kept: it works on x"


@run
async def test_over_a_lowered_maximum_a_busy_agent_finishes_first() -> None:
    world = World(max_instances=1)
    for name in ("a", "b"):
        world.provider.add(name)
        world.clock.at += 1
    world.refusing["b"] = DrainAnswer(DrainOutcome.WAITING, "two tasks left")
    await world.pool.setup()
    await world.pool.adopt()
    world.push(busy=["a", "b"])
    await world.passes(5)
    assert world.provider.made("terminate") == []
    assert set(world.drains) == {(("b",), True)}
    world.refusing.clear()
    await world.passes(2)
    assert world.provider.made("terminate") == [("b",)]


@run
async def test_i7_a_failed_termination_is_asked_again_until_the_instance_is_gone() -> None:
    world = World()
    world.provider.add("a", InstanceState.STOPPED)
    world.provider.add("b", InstanceState.STOPPED)
    fault = ProviderError(ErrorKind.TRANSIENT, "try later")
    world.provider.terminate_faults = [fault, {"a": fault}, {}]
    await world.pool.setup()
    await world.pool.adopt()
    world.push()
    await world.passes(20)
    assert world.provider.instances == {}
    assert world.store.load("p").instances == ()


@run
async def test_a_stopped_instance_is_replaced_in_the_same_pass_when_there_is_room() -> None:
    world = World(min_instances=1)
    await world.pool.setup()
    world.push()
    await world.passes(1)
    world.push(busy=["t1-0"])
    await world.passes(1)
    world.provider.set_state("t1-0", InstanceState.STOPPED)
    world.push()
    decision = await world.pool.provision()
    assert decision is not None
    assert [termination.reason for termination in decision.terminations] == [Reason.STOPPED]
    assert decision.launch_count == 1


@run
async def test_w5_launch_errors_count_however_far_apart_and_back_off() -> None:
    world = World(launch_error_retries=1, launch_error_timeout=600)
    world.provider.launch_faults = [ProviderError(ErrorKind.QUOTA, "no quota")] * 3
    await world.pool.setup()
    world.push(1)
    await world.passes(1)
    assert world.pool.launch_error is None
    await world.passes(5)
    assert len(world.provider.made("launch")) == 1, "back-off permits no second attempt yet"
    world.clock.at += 5000
    await world.passes(1)
    assert world.pool.launch_error == "no quota"
    world.clock.at += 5000
    await world.passes(1)
    world.clock.at += 5000
    await world.passes(1)
    assert world.pool.launch_error is None
    assert len(world.provider.instances) == 1
    tokens = [request.token for request in world.provider.made("launch")]  # type: ignore[attr-defined]
    assert len(set(tokens)) == 4, "a refused token is never used again"


@run
async def test_i11_clocks_and_back_off_survive_a_restart() -> None:
    world = World(max_idle_agent_period=100)
    world.provider.add("a")
    await world.pool.setup()
    await world.pool.adopt()
    world.push(idle=["a"])
    await world.passes(1)
    idle_since = world.store.load("p").instances[0].idle_since
    world.clock.at += 99.5
    world.pool = world.provisioner()
    await world.pool.setup()
    await world.pool.provision()
    assert world.provider.made("terminate") == [], "nothing is concluded before the scheduler is heard"
    world.push(idle=["a"])
    await world.passes(1)
    assert idle_since is not None
    assert world.provider.made("terminate") == [("a",)]


@run
async def test_w14_instances_that_never_join_are_replaced_and_then_braked() -> None:
    world = World(max_agent_starting_period=60, max_instances=10)
    await world.pool.setup()
    for _ in range(33):
        world.push(1)
        await world.passes(1, step=10)
    launched = [request.count for request in world.provider.made("launch")]  # type: ignore[attr-defined]
    assert len(launched) == 4, "three that never join, one more after a pause, and then a longer pause"
    assert world.pool.last_decision is not None
    assert "ended without joining" in world.pool.last_decision.unmet[0].reason
    (last,) = world.store.moves("p", limit=1)
    assert last.note == "terminated: never joined"


@run
async def test_an_agent_that_joins_ends_the_brake() -> None:
    world = World(max_agent_starting_period=60, max_instances=10)
    await world.pool.setup()
    world.push(3)
    await world.passes(1)
    world.clock.at += 61
    await world.passes(2)
    assert world.store.load("p").join_failures.failures == 3
    world.clock.at += 61
    await world.passes(1)
    (newest,) = world.provider.instances
    world.push(2, busy=[newest])
    await world.passes(1)
    assert world.store.load("p").join_failures.failures == 0
    assert len(world.provider.instances) == 3


@run
async def test_what_an_empty_store_finds_is_counted_and_left_alone_until_adopted() -> None:
    world = World(max_instances=2)
    world.provider.add("x", InstanceState.STOPPED)
    await world.pool.setup()
    world.push(5)
    await world.passes(3)
    assert world.provider.made("terminate") == []
    assert [request.count for request in world.provider.made("launch")] == [1]  # type: ignore[attr-defined]
    assert [stray.id for stray in await world.pool.strays()] == ["x"]
    assert await world.pool.adopt() == 1
    await world.passes(2)
    assert world.provider.made("terminate") == [("x",)]


@run
async def test_without_a_store_nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.pool.setup()
    world.push(1)
    commit = world.store.commit

    def full(changes: Changes) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(world.store, "commit", full)
    with pytest.raises(StoreError):
        await world.pool.provision()
    assert world.provider.made("launch") == []
    monkeypatch.setattr(world.store, "commit", commit)
    await world.passes(2)
    assert len(world.provider.made("launch")) == 1


@run
async def test_a_failing_listing_decides_nothing_and_is_told() -> None:
    world = World()
    world.provider.list_faults = [ProviderError(ErrorKind.DENIED, "no rights")]
    await world.pool.setup()
    world.push(1)
    assert await world.pool.provision() is None
    assert world.provider.made("launch") == []
    await world.passes(1)
    assert len(world.provider.made("launch")) == 1


@run
async def test_statistics_have_one_span_for_each_stretch_of_paid_time() -> None:
    world = World()
    await world.pool.setup()
    world.push(1)
    await world.passes(4)
    world.push(0, busy=["t1-0"])
    await world.passes(4)
    world.provider.instances.clear()
    world.push(0)
    await world.passes(2)
    (span,) = world.store.spans("p", 0, 1e12)
    assert (span.instance_id, span.slots) == ("t1-0", 2)
    assert span.end is not None
    assert span.end - span.start == pytest.approx(8, abs=1)


@run
async def test_down_terminates_everything_and_waits_until_it_is_gone() -> None:
    world = World()
    await world.pool.setup()
    world.push(3)
    await world.passes(2)
    left: list[int] = []
    world.pool = world.provisioner()
    await world.pool.setup()
    assert await world.pool.down(progress=left.append) == 3
    assert left[-1] == 0
    assert world.provider.instances == {}
    assert {drain[1] for drain in world.drains} == {True}


@run
async def test_a_push_wakes_the_running_pool_at_once() -> None:
    world = World()
    running = asyncio.create_task(world.pool.run())
    while world.pool.last_decision is None:
        await asyncio.sleep(0)
    world.push(2)
    while not world.provider.instances:
        await asyncio.sleep(0)
    assert len(world.provider.instances) == 2
    world.pool.stop()
    await asyncio.wait_for(running, PATIENCE)
    assert world.store.summary("p") is not None


@run
async def test_a_drain_is_called_off_when_the_maximum_is_raised_again() -> None:
    world = World(max_instances=1)
    for name in ("a", "b"):
        world.provider.add(name)
        world.clock.at += 1
    world.refusing["b"] = DrainAnswer(DrainOutcome.WAITING, "two tasks left")
    await world.pool.setup()
    await world.pool.adopt()
    world.push(busy=["a", "b"])
    await world.passes(2)
    assert world.store.load("p").instances[1].termination is not None
    world.policy = replace(world.policy, max_instances=2)
    world.pool = world.provisioner()
    await world.pool.setup()
    agents = (Agent("a", False), Agent("b", False, draining=True))
    world.pool.update_scaling_info(ScalingInfo(agents, desired_new=0))
    await world.passes(3)
    assert world.undrained == ["b"], "asked once, and not at each pass"
    assert world.provider.made("terminate") == []
    assert all(record.termination is None for record in world.store.load("p").instances)


@run
async def test_adopted_instances_are_paid_for_from_their_launch_on() -> None:
    world = World()
    world.provider.add("x")
    await world.pool.setup()
    world.push()
    await world.passes(1)
    assert not world.store.spans("p", 0, 1e12)
    await world.pool.adopt()
    world.clock.at += 100
    world.pool = world.provisioner()
    await world.pool.setup()
    world.push(busy=["x"])
    await world.passes(1)
    (span,) = world.store.spans("p", 0, 1e12)
    assert (span.start, span.end) == (1000.0, None)


def test_a_push_is_taken_while_many_kinds_of_tasks_are_decided_upon() -> None:
    deciding, pushed = threading.Event(), threading.Event()

    def decide(view: View, policy: Policy, now: float) -> Decision:
        deciding.set()
        assert pushed.wait(PATIENCE), "the event loop waits for the decision"
        return SLOTSMITH.decide(view, policy, now)

    async def check() -> None:
        world = World(max_instances=100)
        world.rules = replace(SLOTSMITH, decide=decide)
        world.pool = world.provisioner()
        await world.pool.setup()
        many = tuple(TaskClass(Resources(1), group=f"group {n}") for n in range(FEW_KINDS + 1))
        world.pool.update_scaling_info(ScalingInfo((), many))
        passing = asyncio.create_task(world.pool.provision())
        await until(deciding.is_set)
        world.pool.update_scaling_info(ScalingInfo((), many[:2]))
        pushed.set()
        decision = await passing
        assert decision is not None
        assert 2 * decision.launch_count >= len(many), "it is for the view that it was begun with"
        again = await world.pool.provision()
        assert again is not None
        assert again.launch_count == 0

    asyncio.run(check())
