"""The catalogue of faults, and the end of all of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from providers.simulated_world import SPOT, World, run
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.simulated import FAULTS, HEAVY, LIGHT, NO_FAULTS, SETTLES, Chance, CloudFaults
from slotsmith.providers.simulated.faults import Bucket, Limits


def test_the_catalogue_has_every_fault() -> None:
    assert set(FAULTS) | {"limits", "calls"} == {field.name for field in fields(CloudFaults)}
    assert all(sentence.endswith(".") for sentence in FAULTS.values())
    assert all(chance == Chance() for chance in NO_FAULTS.chances().values())
    for preset in (LIGHT, HEAVY):
        assert all(chance.rate > 0 for chance in preset.chances().values())
    assert HEAVY.lost_answer == replace(LIGHT.lost_answer, rate=5 * LIGHT.lost_answer.rate)


@pytest.mark.parametrize("wrong", [{"rate": 1.1}, {"rate": -0.1}, {"least": 2, "most": 1}, {"after": -1}])
def test_a_chance_that_makes_no_sense_is_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        Chance(**wrong)


# The end of all faults


def test_stopping_the_faults_ends_what_is_under_way() -> None:
    async def play(world: World) -> None:
        answer = asyncio.ensure_future(world.launch(1, "a"))
        await world.wait(1)
        world.cloud.stop_faults()
        assert await world.states() == ["pending-request"]
        assert (await world.launch(1, "b")).shortfall is None
        assert await world.states() == ["pending-request", "starting"]
        await world.wait(SETTLES - 1)
        assert not answer.done()
        await world.wait(1)
        assert answer.done()
        assert await world.states() == ["starting", "running"]
        await world.wait(500)
        assert all(machine.connected for machine in world.cloud.machines.values())
        assert {at for at, what, _ in world.told if what.startswith("fault")} == {0}

    long = Chance(1, 10_000, 10_000)
    run(play, CloudFaults(spot_pending=long, late_answer=long), instance_types=[SPOT])


@pytest.mark.parametrize("fault", ["denied", "capacity", "quota", "throttled"])
def test_stopping_the_faults_ends_what_was_refused(fault: str) -> None:
    async def play(world: World) -> None:
        assert (await world.error(world.launch(1, "a"))).kind == fault
        await world.wait(1)
        world.cloud.stop_faults()
        assert len((await world.launch(1, "a")).instance_ids) == 1
        assert world.times(f"fault {fault}") == [0]

    changed: dict[str, Any] = {fault: Chance(1, 10_000, 10_000)}
    run(play, CloudFaults(**changed))


def test_stopping_the_faults_lifts_the_limits() -> None:
    async def play(world: World) -> None:
        await world.listed()
        assert (await world.error(world.listed())).kind is ErrorKind.THROTTLED
        world.cloud.stop_faults()
        assert await world.listed() == []

    run(play, CloudFaults(limits=Limits(list=Bucket(1, 0))))


def test_a_cancelled_request_ends_when_the_faults_do() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.provider.terminate([name])
        world.cloud.stop_faults()
        await world.wait(SETTLES)
        assert await world.listed() == []
        assert world.count("fault fulfilled_after_cancel") == 0

    long = Chance(1, 10_000, 10_000)
    run(play, CloudFaults(spot_pending=long, fulfilled_after_cancel=long), instance_types=[SPOT])
