"""Requests that reach the simulated cloud long after they were sent, and those with which a provider is set up."""

import asyncio
from typing import Any

import pytest

from providers.simulated_world import World, run
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated import Chance, CloudFaults
from slotsmith.providers.simulated.wire import LONGEST_WAY


def test_a_request_that_arrives_late_is_carried_out_whoever_waits() -> None:
    async def play(world: World) -> None:
        outcomes = [await world.outcome(world.launch(1, f"t{number}")) for number in range(20)]
        cut = [details["cut"] for _, what, details in world.told if what == "fault arrives_late"]
        assert [isinstance(outcome, ProviderError) for outcome in outcomes] == [bool(each) for each in cut]
        assert set(cut) == {0, 1}
        # Each of the others was waited for.
        assert world.now == 50 * cut.count(0)
        await world.wait(50)
        assert world.cloud.launched == 20

    run(play, CloudFaults(arrives_late=Chance(1, 50, 50)))


def test_a_request_that_arrives_late_finds_what_a_later_one_has_launched() -> None:
    async def play(world: World) -> None:
        late = asyncio.ensure_future(world.outcome(world.launch(2)))
        await world.wait(1)
        world.cloud.stop_faults()
        names = (await world.launch(2)).instance_ids
        await world.wait(100)
        result = await late
        assert world.cloud.launched == 2
        assert isinstance(result, ProviderError) or result.instance_ids == names

    for seed in range(4):
        run(play, CloudFaults(arrives_late=Chance(1, 50, 50)), seed=seed)


def test_a_request_that_arrives_late_gets_nothing_once_a_later_one_was_refused() -> None:
    async def play(world: World) -> None:
        late = asyncio.ensure_future(world.outcome(world.launch(2)))
        await world.wait(1)
        world.cloud.stop_faults()
        world.cloud.quota = 0
        assert (await world.error(world.launch(2))).kind is ErrorKind.QUOTA
        world.cloud.quota = None
        await world.wait(100)
        assert isinstance(await late, ProviderError)
        assert world.cloud.launched == 0
        assert len((await world.launch(2)).instance_ids) == 2

    for seed in range(4):
        run(play, CloudFaults(arrives_late=Chance(1, 50, 50)), seed=seed)


@pytest.mark.parametrize(("lifetime", "way"), [("1d", LONGEST_WAY - 1), ("300s", LONGEST_WAY - 1), ("100s", 49)])
def test_no_request_is_on_its_way_for_longer_than_its_caller_can_count_on(lifetime: str, way: float) -> None:
    async def play(world: World) -> None:
        await world.outcome(world.launch())
        await world.wait(way)
        assert world.cloud.launched == 1
        (told,) = [details["seconds"] for _, what, details in world.told if what == "fault arrives_late"]
        assert told == way

    run(play, CloudFaults(arrives_late=Chance(1, 500, 500)), token_lifetime=lifetime)


def test_setting_up_is_a_call_like_others() -> None:
    async def play(world: World) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await world.provider.setup()

    run(play, CloudFaults(hang=Chance(1)))
    for fault, kind in (("denied", ErrorKind.DENIED), ("throttled", ErrorKind.THROTTLED)):
        changed: dict[str, Any] = {fault: Chance(1, 10, 10)}

        async def refused(world: World, kind: ErrorKind = kind) -> None:
            assert (await world.error(world.provider.setup())).kind is kind

        run(refused, CloudFaults(**changed))
