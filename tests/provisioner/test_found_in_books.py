"""What the books said wrongly once: rows that came back, paid time that was not, clocks that missed what was done.

Each test says what it would have cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from provisioner.virtual_world import (
    NO_ANSWER,
    hide,
    in_a_world,
    launched,
    paid,
    renewed,
    running,
    show,
    vanish,
    virtually,
)
from provisioner.world import OFFERING, World
from slotsmith.core.decider import decide
from slotsmith.core.rules import Rules
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES, ErrorKind, JoinFailures, LaunchFailures
from slotsmith.model.policy import Policy
from slotsmith.model.record import InstanceRecord, Move, StatisticsSpan
from slotsmith.provisioner.pending import Pending
from slotsmith.store.base import StoreError

T = TypeVar("T")


class Told:
    """What the pending changes of a pool consist of, at one moment."""

    def __init__(self, number: int) -> None:
        states = (IntentState.OPEN, IntentState.GRANTED, IntentState.CLOSED)
        self.intent = LaunchIntent("t", "p", OFFERING, 1, 0.0, "", states[number])
        instance = Instance("a", InstanceState.RUNNING, 0.0, "a")
        self.record = InstanceRecord(instance, 0.0, gone_at=float(number) if number else None)
        self.failures = LaunchFailures(number, ErrorKind.QUOTA, "no quota", 0.0, 0.0) if number else NO_LAUNCH_FAILURES
        self.span = StatisticsSpan("p", "a", 2, 0.0, float(number) if number else None)
        self.joins = JoinFailures(number, 0.0, "a")
        self.move = Move("a", float(number), None, None)

    def put(self, pending: Pending) -> None:
        pending.intent(self.intent)
        pending.instance(self.record)
        pending.launch_failures("test", self.failures)
        pending.span(self.span)
        pending.join_failures, pending.owns = self.joins, True
        pending.move(self.move)


@pytest.mark.parametrize("newer_is_written", [True, False])
def test_a_write_that_fails_late_brings_back_nothing_that_was_taken_since(newer_is_written: bool) -> None:
    """A write hung, newer ones went past it, it failed and was written again over them.

    A machine that was gone stood there as running; a launch that was granted stood there as open, which the store
    refused to write from then on, together with everything else: nothing was launched any more.
    """
    pending, old, new = Pending("p"), Told(0), Told(1)
    old.put(pending)
    late = pending.take(1.0)
    new.put(pending)
    past = pending.take(2.0)
    if newer_is_written:
        pending.written(past)
    pending.put_back(late)
    left = pending.take(3.0)
    if newer_is_written:
        assert (left.intents, left.instances, left.spans, dict(left.launch_failures)) == ((), (), (), {})
        assert (left.join_failures, left.owns) == (None, None)
    else:
        # What is not certain is written once more, and only the newest of it.
        assert (left.intents, left.instances, left.spans) == ((new.intent,), (new.record,), (new.span,))
    assert left.moves == (old.move,), "history has no newer version"


def test_a_write_that_fails_is_pending_again_but_for_what_is_newer() -> None:
    """As above; but what nothing newer replaces must not be lost either."""
    pending, old, new = Pending("p"), Told(0), Told(1)
    old.put(pending)
    late = pending.take(1.0)
    past = pending.take(2.0)
    assert (past.intents, past.instances) == ((old.intent,), (old.record,)), "the write before it may fail"
    pending.put_back(past)
    pending.put_back(late)
    again = pending.take(3.0)
    assert (again.intents, again.instances, again.spans) == ((old.intent,), (old.record,), (old.span,))
    new.put(pending)
    pending.put_back(again)
    left = pending.take(4.0)
    assert (left.intents, left.instances, left.spans) == ((new.intent,), (new.record,), (new.span,))
    assert left.moves == (old.move, new.move)


def test_i1_a_launch_that_was_given_up_is_never_on_record_as_open_beside_the_next_one() -> None:
    """Its record came late, and the write that called it off failed after the next launch was recorded.

    A crash at that moment, and the next start would have asked for both: one above the maximum.
    """
    pending, old = Pending("p"), Told(0)
    pending.intent(replace(old.intent, state=IntentState.REFUSED))
    calls_off = pending.take(1.0)
    beside_the_next = pending.take(2.0)
    assert [intent.state for intent in beside_the_next.intents] == [IntentState.REFUSED]
    pending.put_back(calls_off)
    pending.written(beside_the_next)
    assert not pending


@virtually(max_idle_agent_period=100)
async def test_i2_an_instance_that_is_gone_stays_gone_when_an_old_write_fails_late(world: World) -> None:
    """The disk hung for half a minute while a machine ended; from then on it was on record as there, for ever."""
    hangs: list[float] = []

    async def run_store(call: Callable[[], T]) -> T:
        if hangs:
            await world.clock.sleep(hangs.pop())
            raise StoreError("no answer within the deadline")
        return call()

    async with running(world):
        world.pool._ready.recorder._run_store = run_store  # type: ignore[union-attr]
        name = await launched(world)
        world.push(desired=0, idle=[name])
        terminate = world.provider.terminate

        async def terminate_and_hang(ids: object) -> object:
            hangs.append(30.0)
            return await terminate(ids)  # type: ignore[arg-type]

        world.provider.terminate = terminate_and_hang  # type: ignore[assignment, method-assign]
        await world.clock.sleep(200)
        assert not world.provider.instances
        assert not hangs
        assert world.store.load("p").instances == ()
    assert [move.after for move in world.store.moves("p", instance_id=name)][-1] is None


@virtually()
async def test_what_is_adopted_while_the_pool_works_is_paid_for(world: World) -> None:
    """Adopted machines never came into the statistics: what they cost was missing from the bill."""
    world.provider.add("x")
    world.provider.add("y", InstanceState.STOPPED)
    launched_at = world.clock.now()
    await world.clock.sleep(50)
    await world.pool.setup()
    world.push(busy=["x"])
    await world.pool.provision()
    await world.pool.adopt()
    await world.pool.provision()
    (span,) = paid(world, "x")
    assert (span.start, span.end, span.slots) == (launched_at, None, 2)
    assert paid(world, "y") == []
    assert [move.note for move in world.store.moves("p", instance_id="x")] == ["adopted"]


# Paid time


@virtually()
async def test_what_vanished_while_nobody_looked_is_paid_for_until_the_last_sign_of_life(world: World) -> None:
    """The program was down for an hour; a machine that had ended long before was charged for all of it."""
    renewed(world, consistency_window=60.0)
    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(100)
    stopped_at = vanish(world, name)
    await world.clock.sleep(3600)
    async with running(world, desired=0):
        await world.clock.sleep(100)
    (span,) = paid(world, name)
    assert span.end == pytest.approx(stopped_at, abs=1)


@virtually()
async def test_a_run_that_could_not_look_does_not_lengthen_what_is_paid_for(world: World) -> None:
    """A machine ended, and a run that could not list died before it knew: the next one charged for its time, too."""
    cloud = renewed(world)
    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(100)
    stopped_at = vanish(world, name)
    await world.clock.sleep(1000)
    cloud.list_takes = [59.0]
    async with running(world):
        await world.clock.sleep(50)
        assert cloud.made("setup")
    assert world.store.load("p").heartbeat == pytest.approx(stopped_at, abs=1)
    cloud.list_takes = []
    async with running(world, desired=0):
        await world.clock.sleep(10)
    (span,) = paid(world, name)
    assert span.end == pytest.approx(stopped_at, abs=1)
    assert world.store.load("p").heartbeat == pytest.approx(world.clock.now(), abs=1), "it has looked"


@pytest.mark.parametrize("lives", [True, False], ids=["still there", "lost before"])
def test_agents_that_were_heard_before_the_provider_was_ready_are_signs_of_life(lives: bool) -> None:
    """The provider refused us for minutes, and the scheduler told meanwhile whom it had: that was not paid for."""

    async def check(world: World) -> None:
        cloud = renewed(world)
        async with running(world):
            name = await launched(world)
            world.push(desired=0, busy=[name])
            await world.clock.sleep(100)
        set_up, ready_at = cloud.setup, world.clock.now() + 300

        async def refuse() -> None:
            if world.clock.now() < ready_at:
                raise NO_ANSWER
            await set_up()

        cloud.setup = refuse  # type: ignore[method-assign]
        async with running(world):
            world.push(desired=0, busy=[name])
            await world.clock.sleep(250)
            if not lives:
                world.push(desired=0)
            there_until = vanish(world, name) if not lives else ready_at
            await world.clock.sleep(ready_at - world.clock.now() - 1)
            cloud.instances.clear()
            await world.clock.sleep(60)
            assert world.store.load("p").instances == ()
        (span,) = paid(world, name)
        assert span.end == pytest.approx(there_until, abs=40 if lives else 1)

    in_a_world(check)


@pytest.mark.parametrize("window", [0.0, 60.0])
def test_paid_time_does_not_end_before_our_own_terminate_call(window: float) -> None:
    """After a pause of ten minutes the program itself ended a machine; the books had it end before the pause."""

    async def check(world: World) -> None:
        cloud = renewed(world, consistency_window=window)
        async with running(world):
            name = await launched(world)
            cloud.terminate_faults = [NO_ANSWER] * 100
            world.push(desired=0)
            await world.clock.sleep(650)
        await world.clock.sleep(600)
        cloud.terminate_faults, cloud.list_takes = [], [20.0]
        told_at = world.clock.now()
        async with running(world, desired=0):
            await world.clock.sleep(150)
            assert not cloud.instances
        (span,) = paid(world, name)
        assert span.end == pytest.approx(told_at, abs=2)

    in_a_world(check, max_agent_starting_period=600)


@virtually(max_idle_agent_period=100)
async def test_paid_time_does_not_end_where_a_listing_lost_sight_of_a_machine(world: World) -> None:
    """A listing lagged, and lacked a machine that was only ended later: the time between was missing from the bill."""
    renewed(world, consistency_window=60.0)
    async with running(world):
        name = await launched(world)
        world.push(desired=0, idle=[name])
        idle_since = world.clock.now()
        await world.clock.sleep(70)
        hide(world, name)
        await world.clock.sleep(100)
        assert world.store.load("p").instances == ()
    (span,) = paid(world, name)
    assert span.end == pytest.approx(idle_since + 100, abs=1)


@virtually()
async def test_the_way_down_is_not_paid_for(world: World) -> None:
    """Minutes of `stopping` were charged, which no cloud bills."""
    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(50)
        show(world, name, InstanceState.STOPPING)
        stopping_at = world.clock.now()
        await world.clock.sleep(100)
        vanish(world, name)
        world.pool.provider_changed()
        await world.clock.sleep(10)
    (span,) = paid(world, name)
    assert span.end == pytest.approx(stopping_at, abs=0.1)


@pytest.mark.parametrize("restart", [False, True], ids=["one run", "a restart between"])
def test_a_second_life_is_not_paid_for_before_the_first_has_ended(restart: bool) -> None:
    """A machine was stopped, and its new launch was told as earlier than the stop was seen: that time cost twice."""

    @virtually()
    async def check(world: World) -> None:
        async with running(world):
            name = await launched(world)
            world.push(desired=0, busy=[name])
            await world.clock.sleep(100)
            show(world, name, InstanceState.STOPPING)
            await world.clock.sleep(10)
            if not restart:
                show(world, name, InstanceState.RUNNING, launched_at=world.clock.now() - 15)
                await world.clock.sleep(10)
        if restart:
            show(world, name, InstanceState.RUNNING, launched_at=world.clock.now() - 15)
            async with running(world):
                await world.clock.sleep(10)
        first, second = paid(world, name)
        assert first.end is not None
        assert second.start == first.end
        assert second.end is None

    check()


# Clocks and looks


@virtually(max_idle_agent_period=100)
async def test_i11_work_that_was_heard_before_the_first_listing_ends_an_idle_period(world: World) -> None:
    """After a restart the provider could not be listed for a while, and the agents worked meanwhile.

    The idle period from before went on over their work: a machine that was in use a moment ago was given up.
    """
    cloud = renewed(world)
    async with running(world):
        name = await launched(world)
        world.push(desired=0, idle=[name])
        await world.clock.sleep(50)
    cloud.list_takes = [55.0]
    async with running(world):
        world.push(desired=0, busy=[name])
        await world.clock.sleep(30)
        world.push(desired=0, idle=[name])
        idle_since = world.clock.now()
        await world.clock.sleep(60)
        assert len(cloud.made("list")) > 1, "it can be listed again, and its idle period would have been over"
        assert world.drains == []
        (record,) = world.store.load("p").instances
        assert record.idle_since == pytest.approx(idle_since, abs=0.1)
        await world.clock.sleep(50)
        assert world.drains == [((name,), False)]


@virtually(max_instances=1)
async def test_i5_what_is_gone_is_looked_for_when_it_may_be_known_and_not_a_poll_period_later(world: World) -> None:
    """A machine that had died filled the pool until the next poll, an hour later, and the work waited."""
    renewed(world, consistency_window=60.0)
    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(50)
        vanish(world, name)
        world.push(desired=1)
        await world.clock.sleep(59)
        assert len(world.provider.made("launch")) == 1, "it may still turn up"
        await world.clock.sleep(2)
        assert len(world.provider.made("launch")) == 2
        assert len(world.provider.instances) == 1


@virtually()
async def test_a_look_that_is_late_does_not_make_the_pool_spin(world: World) -> None:
    """While a listing that was due did not come, the pool decided every five milliseconds, and burnt a CPU."""
    cloud = renewed(world, consistency_window=60.0)
    passes: list[float] = []

    def counted(view: View, policy: Policy, now: float) -> Decision:
        passes.append(now)
        assert len(passes) < 1000
        return decide(view, policy, now)

    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(10)
        hide(world, name)
        await world.clock.sleep(30)
        world.pool._ready._rules = Rules("counted", counted)  # type: ignore[union-attr]
        cloud.list_takes = [50.0]
        await world.clock.sleep(70)
        assert len(passes) < 10
