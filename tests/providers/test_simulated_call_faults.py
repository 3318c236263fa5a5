"""What goes wrong with the calls of the simulated cloud: each fault takes effect, and says so then."""

import asyncio
from contextlib import suppress

import pytest

from providers.simulated_world import World, run
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated import Chance, CloudFaults
from slotsmith.providers.simulated.faults import EC2_LIMITS, GCE_LIMITS, Bucket, Limits

ALWAYS = Chance(1.0)


# Launching


def test_partial() -> None:
    async def play(world: World) -> None:
        result = await world.launch(5)
        assert 1 <= len(result.instance_ids) < 5
        assert result.shortfall is not None
        assert result.shortfall.kind is ErrorKind.CAPACITY
        assert await world.launch(5) == result
        # One machine is there, or it is not.
        assert (await world.launch(1, "one")).shortfall is None
        assert world.count("fault partial") == 1

    run(play, CloudFaults(partial=ALWAYS))


def test_capacity_is_out_by_offering_and_comes_back() -> None:
    async def play(world: World) -> None:
        granted, number = await world.launch(1, "t0"), 0
        while not isinstance(outcome := await world.outcome(world.launch(1, f"t{number}")), ProviderError):
            granted, number = outcome, number + 1
            await world.wait(1)
        assert outcome.kind is ErrorKind.CAPACITY
        struck = world.now
        assert world.times("fault capacity") == [struck]
        # Nothing that was granted is denied now.
        assert await world.launch(1, f"t{number - 1}") == granted
        await world.until(struck + 99)
        assert (await world.error(world.launch(1, "no"))).kind is ErrorKind.CAPACITY
        await world.until(struck + 100)
        back = False
        while not back:
            with suppress(ProviderError):
                back = bool(await world.launch(1, f"again {world.now}"))
            await world.wait(1)

    run(play, CloudFaults(capacity=Chance(0.1, 100, 100)))


def test_quota() -> None:
    async def play(world: World) -> None:
        cut = []
        for number in range(40):
            asked = f"t{number}"
            try:
                result = await world.launch(3, asked)
                kind = None if result.shortfall is None else result.shortfall.kind
                assert (len(result.instance_ids) < 3) is (kind is not None)
                if kind:
                    assert await world.launch(3, asked) == result
            except ProviderError as error:
                kind = error.kind
            cut.append(kind)
            await world.wait(100)
        assert set(cut) == {None, ErrorKind.QUOTA}
        assert world.count("fault quota") == cut.count(ErrorKind.QUOTA)

    run(play, CloudFaults(quota=Chance(0.2, 100, 300)))


# Any call


def test_denied() -> None:
    async def play(world: World) -> None:
        granted = await world.launch(1, "before")
        while not isinstance(outcome := await world.outcome(world.listed()), ProviderError):
            await world.wait(1)
        assert outcome.kind is ErrorKind.DENIED
        assert (await world.error(world.launch(1, "new"))).kind is ErrorKind.DENIED
        assert (await world.error(world.provider.terminate(["i-1"]))).kind is ErrorKind.DENIED
        # Who has no rights is not told what a token has launched.
        assert (await world.error(world.launch(1, "before"))).kind is ErrorKind.DENIED
        assert world.count("fault denied") == 4
        await world.wait(101)
        world.cloud.stop_faults()
        assert await world.launch(1, "before") == granted
        assert world.cloud.launched == 1

    run(play, CloudFaults(denied=Chance(0.05, 100, 100)), seed=1)


def test_internal_error() -> None:
    async def play(world: World) -> None:
        done = []
        for number in range(20):
            before = world.cloud.launched
            assert (await world.error(world.launch(2, f"t{number}"))).kind is ErrorKind.TRANSIENT
            done.append(world.cloud.launched - before)
        assert set(done) == {0, 2}
        assert world.count("fault internal_error") == 20
        assert (await world.error(world.provider.terminate(["x"]))).kind is ErrorKind.TRANSIENT

    run(play, CloudFaults(internal_error=ALWAYS))


def test_an_internal_error_after_the_launch_leaves_it_to_its_token() -> None:
    async def play(world: World) -> None:
        for number in range(50):
            while isinstance(outcome := await world.outcome(world.launch(2, f"t{number}")), ProviderError):
                assert outcome.kind is ErrorKind.TRANSIENT
            assert len(outcome.instance_ids) == 2
        assert all(len(each) == 1 for each in world.cloud.creations.values())
        assert world.cloud.launched == 100

    run(play, CloudFaults(internal_error=Chance(0.5), lost_answer=Chance(0.3)))


def test_throttled_by_others() -> None:
    async def play(world: World) -> None:
        for call in (world.listed(), world.launch(), world.provider.terminate(["x"])):
            assert (await world.error(call)).kind is ErrorKind.THROTTLED
        assert world.count("fault throttled") == 3
        assert world.cloud.launched == 0

    run(play, CloudFaults(throttled=Chance(1, 10, 20)))


def test_throttled_by_token_buckets() -> None:
    async def play(world: World) -> None:
        async def burst() -> list[ErrorKind | None]:
            kinds: list[ErrorKind | None] = []
            for number in range(6):
                try:
                    await world.launch(1, f"{world.now}-{number}")
                    kinds.append(None)
                except ProviderError as error:
                    kinds.append(error.kind)
            return kinds

        # EC2: 5 launches at once, then 2 a second.
        assert await burst() == [None] * 5 + [ErrorKind.THROTTLED]
        await world.wait(1)
        assert await burst() == [None] * 2 + [ErrorKind.THROTTLED] * 4
        assert world.times("fault throttled") == [0, 1, 1, 1, 1]
        for _ in range(100):
            await world.listed()
        assert (await world.error(world.listed())).kind is ErrorKind.THROTTLED

    run(play, CloudFaults(limits=EC2_LIMITS))


def test_throttled_by_instances() -> None:
    async def play(world: World) -> None:
        await world.launch(900, "a")
        assert (await world.error(world.launch(200, "b"))).kind is ErrorKind.THROTTLED
        await world.wait(50)
        await world.launch(200, "b")
        # More than the bucket ever holds goes through when it is full.
        await world.wait(10_000)
        await world.launch(1500, "c")
        assert world.cloud.alive == 2600

    run(play, CloudFaults(limits=EC2_LIMITS))


def test_limits_may_be_those_of_another_cloud() -> None:
    async def play(world: World) -> None:
        for _ in range(1500):
            await world.listed()
        assert (await world.error(world.listed())).kind is ErrorKind.THROTTLED
        names = (await world.launch(1499)).instance_ids
        # One quota for launches, however large they are, and for each machine that is to end.
        await world.provider.terminate(names)
        assert (await world.error(world.launch(1, "b"))).kind is ErrorKind.THROTTLED
        assert (await world.error(world.provider.terminate(["x"]))).kind is ErrorKind.THROTTLED

    run(play, CloudFaults(limits=GCE_LIMITS))


def test_a_quota_by_the_minute_is_whole_again_when_the_next_one_starts() -> None:
    async def play(world: World) -> None:
        await world.wait(60 - world.clock.now() % 60 + 20)
        for _ in range(2):
            await world.listed()
        await world.wait(39)
        assert (await world.error(world.listed())).kind is ErrorKind.THROTTLED
        await world.wait(1)
        for _ in range(2):
            await world.listed()
        assert (await world.error(world.listed())).kind is ErrorKind.THROTTLED

    run(play, CloudFaults(limits=Limits(list=Bucket(2, period=60))))


def test_throttled_by_terminated_instances() -> None:
    async def play(world: World) -> None:
        names = (await world.launch(1000)).instance_ids
        await world.provider.terminate(names[:990])
        assert (await world.error(world.provider.terminate(names[980:]))).kind is ErrorKind.THROTTLED
        await world.wait(1)
        await world.provider.terminate(names[980:])

    run(play, CloudFaults(limits=EC2_LIMITS))


def test_lost_answer() -> None:
    async def play(world: World) -> None:
        assert (await world.error(world.launch(2))).kind is ErrorKind.TRANSIENT
        assert world.cloud.launched == 2
        (name, _) = world.cloud.machines
        assert (await world.error(world.provider.terminate([name]))).kind is ErrorKind.TRANSIENT
        assert not world.cloud.machines[name].alive()
        assert world.count("fault lost_answer") == 2

    run(play, CloudFaults(lost_answer=ALWAYS))


def test_late_answer() -> None:
    async def play(world: World) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120):
                await world.launch(2)
        assert world.cloud.launched == 2
        assert world.times("fault late_answer") == [0]
        result = await world.launch(2)
        assert world.now == 120 + 150
        assert world.cloud.launched == len(result.instance_ids) == 2

    run(play, CloudFaults(late_answer=Chance(1, 150, 150)))


def test_hang() -> None:
    async def play(world: World) -> None:
        arrived = []
        for number in range(20):
            before = world.cloud.launched
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(120):
                    await world.launch(1, f"t{number}")
            arrived.append(world.cloud.launched - before)
        assert world.now == 20 * 120
        assert set(arrived) == {0, 1}
        told = [details["arrived"] for _, what, details in world.told if what == "fault hang"]
        assert told == arrived

    run(play, CloudFaults(hang=ALWAYS))


# Terminating


def test_slow_terminate() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(200)
        assert await world.provider.terminate([name]) == {}
        machine = world.cloud.machines[name]
        assert await world.states() == ["terminating"]
        assert not machine.connected
        assert not machine.paid
        await world.until(250)
        assert await world.provider.terminate([name]) == {}
        await world.until(289)
        assert await world.states() == ["terminating"]
        await world.until(290)
        assert await world.listed() == []
        assert machine.billed(world.clock.now()) == 200
        assert world.times("fault slow_terminate") == [200]

    run(play, CloudFaults(slow_terminate=Chance(1, 90, 90)))


def test_ignored_terminate() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(200)
        assert await world.provider.terminate([name]) == {}
        await world.until(500)
        machine = world.cloud.machines[name]
        assert machine.connected
        assert machine.paid
        assert world.times("fault ignored_terminate") == [200]
        world.cloud.stop_faults()
        await world.provider.terminate([name])
        assert machine.billed(world.clock.now()) == 500

    run(play, CloudFaults(ignored_terminate=ALWAYS))


def test_failed_terminate() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(200)
        await world.provider.terminate([name])
        assert await world.states() == ["terminating"]
        await world.until(220)
        assert await world.states() == ["stopped"]
        assert world.cloud.machines[name].billed(world.clock.now()) == 200
        world.cloud.stop_faults()
        await world.provider.terminate([name])
        assert await world.listed() == []
        assert world.times("fault failed_terminate") == [200]

    run(play, CloudFaults(failed_terminate=Chance(1, 20, 20)))


def test_bad_id_fails_batch() -> None:
    async def play(world: World) -> None:
        ids = list((await world.launch(10)).instance_ids)
        failures = await world.provider.terminate(["", *ids[:5], "i-none", *ids[5:], ids[0]])
        assert {i: error.kind for i, error in failures.items()} == {"": ErrorKind.GONE, "i-none": ErrorKind.GONE}
        assert world.cloud.alive == 0
        assert world.count("fault bad_id_fails_batch") > 2
        # All of one call, not one call each.
        assert world.cloud.calls["terminate"] < 15

    run(play, CloudFaults(bad_id_fails_batch=ALWAYS))


def test_a_part_of_a_batch_that_cannot_be_asked_for_does_not_hide_the_rest() -> None:
    async def play(world: World) -> None:
        ids = list((await world.launch(4)).instance_ids)
        failures = await world.provider.terminate([*ids, "i-none"])
        throttled = [i for i, error in failures.items() if error.kind is ErrorKind.THROTTLED]
        assert set(ids) - set(throttled) == {i for i in ids if not world.cloud.machines[i].alive()}
        assert 0 < len(throttled) < 5

    run(play, CloudFaults(bad_id_fails_batch=ALWAYS, limits=Limits(terminate=Bucket(2, 0.1))))
