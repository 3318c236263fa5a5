"""What the listings of the simulated cloud have wrong: each fault takes effect, says so, and keeps to the window."""

import pytest

from providers.simulated_world import World, run
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.simulated import Chance, CloudFaults

ALWAYS = Chance(1.0)


# What a listing shows


def test_listed_late() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        assert await world.listed() == []
        # It exists, and can be told to end.
        assert world.times("fault listed_late") == [0]
        await world.until(29.99)
        assert await world.listed() == []
        await world.until(30)
        assert await world.states() == ["starting"]
        late = (await world.launch(token="other")).instance_ids
        assert await world.provider.terminate(late) == {}
        await world.wait(100)
        assert [each.id for each in await world.listed()] == [name]

    run(play, CloudFaults(listed_late=Chance(1, 60, 90)))


@pytest.mark.parametrize("seed", range(4))
def test_vanishes_late(seed: int) -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(200)
        await world.provider.terminate([name])
        assert not world.cloud.machines[name].alive()
        assert await world.states() in (["running"], ["terminating"])
        failures = await world.provider.terminate([name])
        assert [error.kind for error in failures.values()] == [ErrorKind.GONE]
        await world.until(229.99)
        assert len(await world.listed()) == 1
        await world.until(230)
        assert await world.listed() == []
        assert world.times("fault vanishes_late") == [200]

    run(play, CloudFaults(vanishes_late=Chance(1, 60, 90)), seed=seed)


def test_no_lag_without_a_window() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        assert await world.states() == ["starting"]
        await world.until(180)
        assert await world.states() == ["running"]
        await world.provider.terminate([name])
        assert await world.listed() == []
        assert not [what for _, what, _ in world.told if what.startswith("fault")]

    late = Chance(1, 60, 90)
    faults = CloudFaults(listed_late=late, vanishes_late=late, state_late=late, missing_from_listing=late)
    run(play, faults, consistency_window="0s")


@pytest.mark.parametrize("seed", range(8))
def test_missing_from_listing(seed: int) -> None:
    async def play(world: World) -> None:
        await world.launch()
        missing = []
        for second in range(8000):
            if not await world.listed():
                missing.append(second)
            await world.until(second + 1)
        assert 5 <= len(missing) <= 30
        assert missing == list(range(missing[0], missing[-1] + 1))
        (told,) = world.times("fault missing_from_listing")
        assert 0 <= missing[0] - told <= 1
        # Either a launch that is not settled yet, or a machine that has been known for long.
        assert missing[-1] < 30 or told >= 600

    run(play, CloudFaults(missing_from_listing=Chance(1, 6, 60, after=3600)), seed=seed)


def test_state_late() -> None:
    async def play(world: World) -> None:
        await world.launch()
        await world.until(209.99)
        assert await world.states() == ["starting"]
        assert world.times("fault state_late") == [180]
        await world.until(210)
        assert await world.states() == ["running"]

    run(play, CloudFaults(state_late=Chance(1, 60, 90)))


def test_unreadable() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        states = []
        for second in range(1, 3000):
            states += await world.states()
            await world.until(second)
        assert 40 <= states.count("unknown") <= 80
        (told,) = world.times("fault unreadable")
        assert 0 <= states.index("unknown") - told <= 1
        assert world.cloud.machines[name].connected

    run(play, CloudFaults(unreadable=Chance(1, 40, 80, after=1000)))


def test_listed_twice_and_out_of_order() -> None:
    async def play(world: World) -> None:
        ids = list((await world.launch(20)).instance_ids)
        raw = [each.id for each in world.cloud.list_instances()]
        assert raw != sorted(raw)
        assert len(raw) > len(set(raw)) == 20
        # The provider puts it right.
        assert [each.id for each in await world.listed()] == ids
        assert world.count("fault listed_twice") == world.count("fault out_of_order") == 2

    run(play, CloudFaults(listed_twice=ALWAYS, out_of_order=ALWAYS))


def test_list_error() -> None:
    async def play(world: World) -> None:
        error = await world.error(world.listed())
        assert error.kind is ErrorKind.TRANSIENT
        assert world.times("fault list_error") == [0]

    run(play, CloudFaults(list_error=ALWAYS))


def test_untold() -> None:
    async def play(world: World) -> None:
        changes: list[float] = []
        world.cloud.on_change = lambda: changes.append(world.now)
        await world.launch()
        await world.until(500)
        assert changes == []
        assert world.times("fault untold") == [0, 180]
        assert await world.states() == ["running"]

    run(play, CloudFaults(untold=ALWAYS))
