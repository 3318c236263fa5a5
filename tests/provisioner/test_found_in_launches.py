"""Launches that went wrong once: doubled, lost, or asked for by nobody any more; each with what it would have cost."""

from __future__ import annotations

import pytest

from provisioner.virtual_world import NO_ANSWER, Cloud, in_a_world, launched, renewed, running, show, virtually
from provisioner.world import World
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.store.base import Changes, StoreError

NO_RIGHTS = ProviderError(ErrorKind.DENIED, "no rights any more")


def commits_of(world: World) -> list[Changes]:
    """All that is written from now on, in order."""
    commits: list[Changes] = []
    commit = world.store.commit

    def noted(changes: Changes) -> None:
        commit(changes)
        commits.append(changes)

    world.store.commit = noted  # type: ignore[method-assign]
    return commits


@pytest.mark.parametrize("restarted", [False, True])
def test_i3_a_refusal_by_rights_says_nothing_of_an_earlier_call_that_was_not_answered(restarted: bool) -> None:
    """The launch was made, its answer lost, and then the rights were taken away: "refused, so nothing was launched".

    What it had brought was launched and paid for a second time as soon as the rights were back.
    """

    async def check(world: World) -> None:
        cloud = renewed(world, consistency_window=60.0)
        cloud.hidden = {"t1-0", "t1-1"}
        cloud.launch_faults = ["lost answer", NO_RIGHTS]
        if restarted:
            cloud.launch_faults = ["lost answer", *[NO_ANSWER] * 9]
            async with running(world, desired=2):
                pass
            cloud.launch_faults = [NO_RIGHTS]
        async with running(world, desired=2):
            await world.clock.sleep(45)
            (intent,) = world.store.load("p").intents
            assert intent.state is IntentState.OPEN, "it counts in full until the listing has told"
            cloud.hidden = set()
            await world.clock.sleep(600)
            assert set(cloud.tokens) == {"t1"}
            assert set(cloud.instances) == {"t1-0", "t1-1"}
            books = world.store.load("p")
            assert ({r.instance.id for r in books.instances}, books.intents) == ({"t1-0", "t1-1"}, ())

    in_a_world(check, max_instances=4)


@virtually()
async def test_i3_a_write_that_fails_does_not_end_the_launch_that_it_tells_of(world: World) -> None:
    """The disk was full for one write: the launch under way was dropped, counted as coming and was never asked for."""
    commit, failed = world.store.commit, []

    def full_once(changes: Changes) -> None:
        if not failed and any(intent.attempts == 1 for intent in changes.intents):
            failed.append(changes)
            raise StoreError("disk full")
        commit(changes)

    world.store.commit = full_once  # type: ignore[method-assign]
    world.provider.launch_faults = [NO_ANSWER]
    async with running(world, desired=2):
        await world.clock.sleep(30)
        assert failed
        assert set(world.provider.instances) == {"t1-0", "t1-1"}
        assert world.store.load("p").intents == ()


@virtually()
async def test_i5_the_end_of_a_back_off_wakes_the_pool(world: World) -> None:
    """The offering was full for a moment; work then waited minutes longer than the pause, for nobody looked."""
    world.provider.launch_faults = [ProviderError(ErrorKind.CAPACITY, "none left")]
    async with running(world, desired=2):
        await world.clock.sleep(14)
        assert len(world.provider.made("launch")) == 1
        await world.clock.sleep(17)
        assert len(world.provider.instances) == 2


@virtually()
async def test_i5_what_was_granted_and_never_came_is_launched_anew(world: World) -> None:
    """The machines died before any listing had them, and the work went on waiting for them."""
    cloud = renewed(world, consistency_window=60.0, poll_period=20.0)
    cloud.hidden = {"t1-0", "t1-1"}
    async with running(world, desired=2):
        cloud.instances.clear()
        await world.clock.sleep(59)
        assert not cloud.instances, "until then they may turn up late"
        await world.clock.sleep(42)
        assert set(cloud.instances) == {"t2-0", "t2-1"}


@virtually()
async def test_i5_a_launch_that_nobody_ever_answered_makes_room_for_another(world: World) -> None:
    """The provider was silent until the token expired; when it was back, the pool did not wake to ask anew."""
    cloud = renewed(world, token_lifetime=600.0)
    cloud.silent = world.clock.now() + 560
    async with running(world, desired=2):
        await world.clock.sleep(595)
        assert set(cloud.tokens) == {"t1"}, "the last call may have been made, so that it counts"
        await world.clock.sleep(95)
        assert set(cloud.instances) == {"t2-0", "t2-1"}
        assert world.store.load("p").intents == ()


@virtually()
async def test_i2_an_expired_launch_is_closed_together_with_what_it_brought(world: World) -> None:
    """The launch was closed in one write and its machines came into the books in the next.

    A crash between the two left machines with a token that no book knew: paid for, and nobody's.
    """
    cloud = renewed(world, token_lifetime=600.0)
    cloud.mute = True
    commits = commits_of(world)
    async with running(world, desired=2):
        await world.clock.sleep(900)
    assert set(cloud.instances) == {"t1-0", "t1-1"}
    closed = [n for n, changes in enumerate(commits) if any(i.state is IntentState.CLOSED for i in changes.intents)]
    on_record: set[str] = set()
    for changes in commits[: closed[0] + 1]:
        on_record |= {record.instance.id for record in changes.instances}
    assert on_record == {"t1-0", "t1-1"}


@virtually(max_agent_starting_period=600)
async def test_a_launch_that_is_resumed_after_a_long_pause_may_still_join(world: World) -> None:
    """The program was down for two hours with a launch on record.

    What it launched then was given up at once as never joined, and counted towards the brake.
    """
    cloud = renewed(world)
    cloud.silent = world.clock.now() + 3600
    async with running(world, desired=1):
        pass
    await world.clock.sleep(7200)
    async with running(world, desired=1):
        await world.clock.sleep(590)
        assert set(cloud.instances) == {"t1-0"}
        assert cloud.made("terminate") == []
        world.push(desired=0, busy=["t1-0"])
        await world.clock.sleep(1000)
        assert set(cloud.instances) == {"t1-0"}
    assert world.store.load("p").join_failures.failures == 0


@virtually(max_agent_starting_period=600)
async def test_a_machine_that_is_seen_stopping_and_starts_again_may_still_join(world: World) -> None:
    """Stopped and started by somebody: its second life was measured by its first, and ended at once."""
    async with running(world):
        name = await launched(world)
        world.push(desired=0, busy=[name])
        await world.clock.sleep(3600)
        show(world, name, InstanceState.STOPPING)
        world.push(desired=0)
        await world.clock.sleep(50)
        show(world, name, InstanceState.STARTING, launched_at=world.clock.now())
        await world.clock.sleep(550)
        assert isinstance(world.provider, Cloud)
        assert set(world.provider.instances) == {name}
        assert world.provider.made("terminate") == []
    (record,) = world.store.load("p").instances
    assert record.instance.launched_at == pytest.approx(world.clock.now() - 550, abs=1)
