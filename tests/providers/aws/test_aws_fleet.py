"""Listings, terminations and notices."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from providers.aws.ec2_catalogue import TYPES
from providers.aws.ec2_population import populate
from providers.aws.ec2_world import Ticking, World
from providers.aws.test_aws_launch import launch, opened, run
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from waiting import until


def test_w42_five_thousand_instances_come_in_pages(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 5000)
        async with opened(aws) as provider:
            before = aws.journal.counts["DescribeInstances"]
            listed = await provider.list_instances()
            assert aws.journal.counts["DescribeInstances"] - before == 5
            assert {each.id for each in listed} == set(ids)
            assert listed[0].token.startswith("token-")
            assert {each.state for each in listed} == {InstanceState.RUNNING}
            assert {each.capacity.slots for each in listed if each.capacity} == {1}

    run(check())


def test_a_thousand_are_launched_and_ended_in_one_call_each(aws: World) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            result = await launch(provider, 1000)
            assert len(result.instance_ids) == 1000
            assert await provider.terminate(result.instance_ids) == {}
        assert aws.journal.counts["RunInstances"] == aws.journal.counts["TerminateInstances"] == 1
        assert not aws.ec2.alive

    run(check())


def test_w45_one_bad_id_among_many_blocks_none(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 200)
        bad = ["i-0123456789abcdef0", "sir-00000001", "x"]
        async with opened(aws) as provider:
            failures = await provider.terminate([*ids[:77], bad[0], *ids[77:], *bad[1:]])
            assert set(failures) == set(bad)
            assert {error.kind for error in failures.values()} == {ErrorKind.GONE}
        assert not aws.ec2.alive
        assert aws.journal.counts["TerminateInstances"] < 20

    run(check())


def test_what_was_launched_just_now_is_not_called_gone(aws: World) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            (instance_id,) = (await launch(provider)).instance_ids
            aws.journal.fault("error", "TerminateInstances", code="InvalidInstanceID.NotFound")
            failures = await provider.terminate([instance_id])
            assert failures[instance_id].kind is ErrorKind.TRANSIENT
            assert await provider.terminate([instance_id]) == {}

    run(check())


def test_more_than_a_thousand_are_ended_in_chunks_and_each_has_its_error(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 1500)
        async with opened(aws) as provider:
            aws.journal.fault("error", "TerminateInstances", code="UnauthorizedOperation")
            failures = await provider.terminate(ids)
            # The second chunk is more than EC2 lets an account end at a time, so it is not even sent.
            kinds = Counter(error.kind for error in failures.values())
            assert kinds == {ErrorKind.DENIED: 1000, ErrorKind.THROTTLED: 500}
            assert aws.journal.counts["TerminateInstances"] == 1

    run(check())


def test_pools_share_listings(aws: World) -> None:
    async def check() -> None:
        populate(aws.ec2, 3, "one")
        populate(aws.ec2, 4, "two")
        async with opened(aws, pool="one") as one, opened(aws, pool="two") as two:
            # At the same time, and a while later: one listing serves both.
            first, second = await asyncio.gather(one.list_instances(), two.list_instances())
            assert (len(first), len(second)) == (3, 4)
            await one.list_instances()
            await two.list_instances()
            assert aws.journal.counts["DescribeInstances"] == 1
            # What one of them does is seen by both.
            await launch(one)
            assert len(await one.list_instances()) == 4
            assert len(await two.list_instances()) == 4
            assert aws.journal.counts["DescribeInstances"] >= 2

    run(check())


def test_w54_an_instance_that_nobody_knows_fails_no_listing(aws: World) -> None:
    async def check() -> None:
        aws.ec2.lag = 1000.0
        async with opened(aws) as provider:
            await launch(provider)
            assert list(await provider.list_instances()) == []
            aws.ec2.lag = 0.0
            result = await launch(provider, 1, "other")
            assert [each.id for each in await provider.list_instances()] == list(result.instance_ids)

    run(check())


def test_states_are_those_of_ec2(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 4)
        for one, state in zip(ids, ("pending", "stopped", "shutting-down", "running"), strict=True):
            instance = aws.ec2.instances[one]
            instance.launched += 1000.0 if state == "pending" else 0.0
            instance.stopped = state == "stopped"
            if state == "shutting-down":
                aws.ec2.end(instance)
        aws.ec2.ending = 1000.0
        async with opened(aws) as provider:
            states = {each.id: each.state for each in await provider.list_instances()}
            expected = ("starting", "stopped", "terminating", "running")
            assert [states[one].value for one in ids] == list(expected)

    run(check())


def test_a_listing_that_fails_has_its_kind(aws: World) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            for kind, code, expected in (
                ("error", "RequestLimitExceeded", ErrorKind.THROTTLED),
                ("error", "ExpiredToken", ErrorKind.DENIED),
                ("cut", "", ErrorKind.TRANSIENT),
            ):
                aws.journal.fault(kind, "DescribeInstances", code=code)  # type: ignore[arg-type]
                with pytest.raises(ProviderError) as caught:
                    await provider.list_instances()
                assert caught.value.kind is expected
            assert list(await provider.list_instances()) == []

    run(check())


def test_i8_a_call_that_hangs_is_given_up_and_holds_nobody_up(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotsmith.providers.aws import client

    monkeypatch.setattr(client, "READ_TIMEOUT", 0.5)

    async def check() -> None:
        async with opened(aws) as provider:
            aws.journal.fault("hang", "RunInstances")
            hanging = asyncio.ensure_future(launch(provider))
            await until(lambda: aws.journal.counts["RunInstances"], what="the call")
            assert list(await provider.list_instances()) == []
            with pytest.raises(ProviderError, match="ReadTimeoutError") as caught:
                await hanging
            assert caught.value.kind is ErrorKind.TRANSIENT

    run(check())


def test_what_the_instance_says_of_its_boot_is_shown(aws: World) -> None:
    async def check() -> None:
        (instance_id,) = populate(aws.ec2, 1)
        aws.ec2.instances[instance_id].tags["slotsmith-boot"] = "failed: the startup script ended with status 3"
        async with opened(aws) as provider:
            (listed,) = await provider.list_instances()
            assert listed.detail == "failed: the startup script ended with status 3"

    run(check())


def test_changes_are_followed_until_they_are_done(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotsmith.providers.aws import region

    monkeypatch.setattr(region, "_SOONEST_LOOK", 0.01)
    aws.ec2.boot = aws.ec2.ending = 0.3

    async def check() -> None:
        async with opened(aws) as provider:
            (instance_id,) = (await launch(provider)).instance_ids
            states: list[str] = []

            async def look(state: str) -> bool:
                # A look for each wake, as the pool does it.
                seen = aws.wakes
                await until(lambda: aws.wakes > seen or not state, what="a wake")
                states[:] = [each.state.value for each in await provider.list_instances()]
                return states == ([state] if state else [])

            await until(lambda: look("running"), what="a running instance")
            await asyncio.sleep(0.2)
            quiet = aws.wakes
            await asyncio.sleep(0.2)
            assert aws.wakes == quiet
            await provider.terminate([instance_id])
            await until(lambda: look(""), what="its end")

    run(check())


def test_an_end_that_an_earlier_run_began_is_followed(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing told of it since, so that it would only be seen with the next look, up to a minute later."""
    from slotsmith.providers.aws import region

    monkeypatch.setattr(region, "_SOONEST_LOOK", 0.01)
    (instance_id,) = populate(aws.ec2, 1)

    async def check() -> None:
        async with opened(aws) as provider:
            await provider.terminate([instance_id])
        aws.ec2.ending = 3600.0
        async with opened(aws) as provider:
            (listed,) = await provider.list_instances()
            assert listed.state is InstanceState.TERMINATING
            seen = aws.wakes
            await until(lambda: aws.wakes > seen, what="a wake")
            aws.ec2.ending = 0.0
            assert await provider.list_instances() == []

    run(check())


def test_prices_are_asked_for_anew(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ticking()
    world = World(tmp_path_factory.mktemp("prices"), clock)
    types = {"instance_types": ["g4dn.xlarge", "g5.xlarge"], "spot": True}

    async def check() -> None:
        async with opened(world, **types) as provider:
            assert [each.price for each in provider.offerings()] == [0.21, 0.45]
            monkeypatch.setitem(TYPES, "g4dn.xlarge", (*TYPES["g4dn.xlarge"][:5], 0.9))
            await provider.list_instances()
            assert [each.price for each in provider.offerings()] == [0.21, 0.45]
            clock.ahead = 3700.0
            await provider.list_instances()
            await until(lambda: provider.offerings()[0].price == 0.45, what="the new order")
            assert [each.instance_type for each in provider.offerings()] == ["g5.xlarge", "g4dn.xlarge"]

    try:
        run(check())
    finally:
        world.close()


def test_idle_pools_ask_seldom(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An hour of ten idle pools that look once a minute, each at a moment of its own."""
    clock = Ticking()
    world = World(tmp_path_factory.mktemp("idle"), clock)

    async def check() -> None:
        names = [f"pool-{index}" for index in range(10)]
        providers = [world.provider(name) for name in names]
        for provider in providers:
            await provider.setup()
        clock.ahead = 1000.0
        before = world.journal.counts.total()
        for second in range(0, 3600, 6):
            clock.ahead = 1000.0 + second
            await providers[second // 6 % 10].list_instances()
        asked = world.journal.counts.total() - before
        for provider in providers:
            await provider.close()
        # With the long polls of a queue, 3600 / 20, it stays far below 600.
        assert 100 <= asked <= 130

    try:
        run(check())
    finally:
        world.close()
