"""Spot requests that wait for their price or for capacity."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.aws.ec2_harness import Ec2Harness  # noqa: E402
from providers.aws.ec2_world import World  # noqa: E402
from providers.aws.test_aws_launch import launch, opened, refused, run  # noqa: E402
from slotsmith.model.instance import Instance, InstanceState  # noqa: E402
from slotsmith.model.launch_error import ErrorKind  # noqa: E402
from slotsmith.providers.base import Provider  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402
from waiting import until  # noqa: E402

REQUEST: dict[str, Any] = {"spot": True, "spot_mode": "request", "spot_max_price": "0.3"}
S = InstanceState


class RequestHarness(Ec2Harness):
    unknown_id = "sir-0000ffff"

    async def restrict(self, provider: Provider, count: int) -> bool:
        # Requests wait: none is refused for want of capacity.
        return False


@pytest.mark.slow
class TestSpotRequests(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        harness = RequestHarness(directory, {"lag": 0.02, "boot": 0.02, "ending": 0.02}, **REQUEST)
        harness.world.ec2.spot.delay = harness.world.ec2.spot.lag = 0.05
        return harness


async def only(provider: Provider) -> Instance:
    (instance,) = await provider.list_instances()
    return instance


def test_w15_a_request_that_waits_is_pending_and_says_why(aws: World) -> None:
    async def check() -> None:
        aws.ec2.spot.waits = "price-too-low"
        async with opened(aws, **REQUEST) as provider:
            result = await launch(provider)
            assert result.instance_ids == ("sir-00000001",)
            waiting = await only(provider)
            assert (waiting.state, waiting.token) == (S.PENDING_REQUEST, "token")
            assert waiting.detail.startswith("price-too-low: ")
            (told,) = aws.journal.told("RequestSpotInstances")
            assert (told["SpotPrice"], told["Type"], told["ClientToken"]) == ("0.3", "one-time", "token")
            # W50 to W52: at once, whatever the clocks say, and nothing is placed to find out.
            assert "ValidFrom" not in told
            (request,) = aws.ec2.spot.requests.values()
            request.waits = ""
            granted = await only(provider)
            (instance,) = aws.ec2.alive
            assert (granted.id, granted.state) == ("sir-00000001", S.RUNNING)
            assert granted.agent_name == instance.id
            assert granted.offering == "g4dn.xlarge/eu-west-1a/spot"

    run(check())


def test_w56_its_instance_is_found_by_the_request_and_tagged_once(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, **REQUEST) as provider:
            await launch(provider, 3)
            for _ in range(3):
                assert len(await provider.list_instances()) == 3
        assert aws.journal.counts["CreateTags"] == 1
        assert {one.tags["slotsmith-intent"] for one in aws.ec2.alive} == {"token"}
        async with opened(aws, **REQUEST) as provider:
            assert len(await provider.list_instances()) == 3

    run(check())


def test_w26_what_nobody_needs_is_cancelled_also_when_it_is_fulfilled_meanwhile(aws: World) -> None:
    async def check() -> None:
        aws.ec2.spot.waits = "capacity-not-available"
        async with opened(aws, **REQUEST) as provider:
            first, second = (await launch(provider, 2)).instance_ids
            assert await provider.terminate([first]) == {}
            assert [each.id for each in await provider.list_instances()] == [second]
            # Fulfilled between our last look and the cancellation.
            aws.ec2.spot.requests[second].waits = ""
            assert await provider.terminate([second, "sir-0000ffff"]) != {}
            await until(lambda: not aws.ec2.alive, what="the end of its instance")
            assert list(await provider.list_instances()) == []

    run(check())


def test_a_cancelled_request_whose_instance_runs_on_is_listed_until_it_ends(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, **REQUEST) as provider:
            (request_id,) = (await launch(provider)).instance_ids
            assert (await only(provider)).state is S.RUNNING
            aws.journal.fault("cut", "TerminateInstances")
            failures = await provider.terminate([request_id])
            assert failures[request_id].kind is ErrorKind.TRANSIENT
            (request,) = aws.ec2.spot.requests.values()
            assert request.code == "request-canceled-and-instance-running"
            assert (await only(provider)).id == request_id
            assert await provider.terminate([request_id]) == {}
            assert not aws.ec2.alive

    run(check())


def test_w55_hundreds_of_requests_need_no_filter_beyond_the_limit(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, **REQUEST) as provider:
            assert len((await launch(provider, 450)).instance_ids) == 450
            assert len(await provider.list_instances()) == 450

    run(check())


def test_w59_an_answer_without_a_status_is_read(aws: World) -> None:
    from slotsmith.providers.aws.spot_requests import _row

    row = _row("sir-1", {"State": "open"}, None)
    assert row is not None
    assert (row.state, row.reason, row.agent) == ("pending-request", "", "sir-1")


def test_i3_requests_are_placed_once(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, **REQUEST) as provider:
            aws.journal.fault("lose", "RequestSpotInstances")
            assert (await refused(provider, 2)).kind is ErrorKind.TRANSIENT
            again = await launch(provider, 2)
            assert set(again.instance_ids) == set(aws.ec2.spot.requests)
        async with opened(aws, **{**REQUEST, "spot_max_price": "0.4"}) as provider:
            # The settings were changed in between.
            assert set((await launch(provider, 2)).instance_ids) == set(again.instance_ids)
        assert len(aws.ec2.spot.requests) == 2

    run(check())


def test_i2_requests_of_a_pool_that_places_none_any_more_are_still_ours(aws: World) -> None:
    async def check() -> None:
        aws.ec2.spot.delay = 1000.0
        async with opened(aws, **REQUEST) as provider:
            (request_id,) = (await launch(provider)).instance_ids
        async with opened(aws, spot=True) as provider:
            assert [(each.id, each.state) for each in await provider.list_instances()] == [
                (request_id, S.PENDING_REQUEST)
            ]
            assert await provider.terminate([request_id]) == {}
        assert aws.ec2.spot.requests[request_id].state == "cancelled"
        # None are left, so that nobody asks for them at each listing.
        async with opened(aws, spot=True) as provider:
            asked = aws.journal.counts["DescribeSpotInstanceRequests"]
            await provider.list_instances()
            assert aws.journal.counts["DescribeSpotInstanceRequests"] == asked
        # Who may not ask has none.
        aws.ec2.denied.add("DescribeSpotInstanceRequests")
        async with opened(aws) as provider:
            assert list(await provider.list_instances()) == []

    run(check())


def test_a_reclaimed_instance_is_gone(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, **REQUEST) as provider:
            await launch(provider)
            assert (await only(provider)).state is S.RUNNING
            (instance,) = aws.ec2.alive
            aws.ec2.end(instance, "Server.SpotInstanceTermination: taken back")
            await asyncio.sleep(0)
            assert list(await provider.list_instances()) == []

    run(check())
