"""What EC2 tells ahead: by a queue, or when it is asked; and what a pool does about it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_population import populate
from providers.aws.ec2_world import World
from providers.aws.test_aws_launch import launch, opened, run
from providers.aws.test_aws_pool import pool
from slotsmith.model.agent import Agent
from slotsmith.model.instance import InstanceState
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.aws.notices import Message, Weight, read_message
from waiting import until


def event(kind: str, **detail: Any) -> str:
    return json.dumps({"detail-type": kind, "source": "aws.ec2", "detail": detail})


@pytest.mark.parametrize(("more", "heeded"), [({}, True), ({"on_rebalance": "show"}, False)], ids=["drain", "show"])
def test_w60_a_notice_is_told_at_once(aws: World, more: dict[str, Any], heeded: bool) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 3)
        async with opened(aws, queue_url=f"{aws.server.url}/1/notices", **more) as provider:
            assert len(await provider.list_instances()) == 3
            wakes = aws.wakes
            aws.server.queue.put(
                event(
                    "EC2 Spot Instance Interruption Warning", **{"instance-id": ids[0], "instance-action": "terminate"}
                )
            )
            aws.server.queue.put(event("EC2 Instance Rebalance Recommendation", **{"instance-id": ids[1]}))
            aws.server.queue.put("no event at all")
            await until(lambda: aws.wakes > wakes and not len(aws.server.queue), what="the notice")
            listed = {each.id: each for each in await provider.list_instances()}
            # They are there still, and are paid for.
            assert {each.state for each in listed.values()} == {InstanceState.RUNNING}
            assert [listed[each].reclaimed for each in ids] == [True, heeded, False]
            assert "interruption notice" in listed[ids[0]].detail
            assert "rebalance" in listed[ids[1]].detail
            assert listed[ids[2]].detail == ""

    run(check())


def test_w60_without_a_queue_spot_requests_are_looked_at(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotsmith.providers.aws import looking

    monkeypatch.setattr(looking, "LOOK_PERIOD", 0.02)

    async def check() -> None:
        async with opened(aws, spot=True) as provider:
            (instance_id,) = (await launch(provider)).instance_ids
            (request,) = aws.ec2.spot.requests.values()
            request.code = "marked-for-termination"

            async def marked() -> bool:
                return [each.reclaimed for each in await provider.list_instances()] == [True]

            await until(marked, what="the notice")
            assert aws.wakes
            assert request.instance == instance_id

    run(check())


def test_a_queue_that_cannot_be_read_is_no_reason_to_stop(aws: World) -> None:
    async def check() -> None:
        aws.server.queue.exists = False
        populate(aws.ec2, 1)
        async with opened(aws, queue_url=f"{aws.server.url}/1/notices") as provider:
            await until(lambda: aws.journal.counts["ReceiveMessage"], what="a try")
            assert len(await provider.list_instances()) == 1

    run(check())


def test_scheduled_events_are_looked_for_where_there_is_no_queue(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotsmith.providers.aws import looking

    monkeypatch.setattr(looking, "EVENTS_PERIOD", 0.02)

    async def check() -> None:
        ids = populate(aws.ec2, 4)
        at = datetime(2031, 5, 6, 7, 8, tzinfo=UTC).timestamp()
        over = {"Code": "instance-reboot", "Description": "[Completed] a reboot", "NotBefore": at}
        retired = {"Code": "instance-retirement", "Description": "the host is failing", "NotBefore": at}
        aws.ec2.instances[ids[0]].events = [over, retired]
        aws.ec2.instances[ids[1]].events = [over]
        other = populate(aws.ec2, 1, cluster="somebody else's")
        aws.ec2.instances[other[0]].events = [retired]
        async with opened(aws) as provider:

            async def told() -> bool:
                listed = {each.id: each for each in await provider.list_instances()}
                return [listed[each].reclaimed for each in ids] == [True, False, False, False]

            await until(told, what="the event")
            (found,) = [each for each in await provider.list_instances() if each.id == ids[0]]
            assert found.state is InstanceState.RUNNING
            assert found.detail == (
                "EC2 has scheduled instance-retirement for 2031-05-06 07:08 UTC: the host is failing"
            )
            # What is known already is no news.
            asked, wakes = aws.journal.counts["DescribeInstanceStatus"], aws.wakes
            await until(lambda: aws.journal.counts["DescribeInstanceStatus"] > asked + 2, what="further looks")
            assert aws.wakes <= wakes + 1

    run(check())


def test_events_that_may_not_be_looked_for_stop_nothing(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotsmith.providers.aws import looking

    monkeypatch.setattr(looking, "EVENTS_PERIOD", 0.02)
    aws.ec2.denied.add("DescribeInstanceStatus")

    async def check() -> None:
        populate(aws.ec2, 1)
        async with opened(aws) as provider:
            await until(lambda: aws.journal.counts["DescribeInstanceStatus"] > 1, what="two tries")
            assert len(await provider.list_instances()) == 1

    run(check())


def test_news_of_what_is_not_ours_is_no_reason_to_look(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 1)
        async with opened(aws, queue_url=f"{aws.server.url}/1/notices") as provider:
            await provider.list_instances()
            wakes = aws.wakes
            strange = {"instance-id": "i-0123456789abcdef0", "state": "running"}
            aws.server.queue.put(event("EC2 Instance State-change Notification", **strange))
            aws.server.queue.put(event("EC2 Spot Instance Interruption Warning", **strange))
            await until(lambda: not len(aws.server.queue), what="an empty queue")
            assert aws.wakes == wakes
            aws.server.queue.put(event("EC2 Instance State-change Notification", **{"instance-id": ids[0]}))
            await until(lambda: aws.wakes > wakes, what="a wake")

    run(check())


def test_a_notice_that_comes_before_its_instance_is_known_is_not_lost(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, queue_url=f"{aws.server.url}/1/notices") as provider:
            assert list(await provider.list_instances()) == []
            # Launched by a call whose answer has not come yet.
            ids = populate(aws.ec2, 1)
            aws.server.queue.put(event("EC2 Spot Instance Interruption Warning", **{"instance-id": ids[0]}))
            await until(lambda: not len(aws.server.queue), what="an empty queue")
            await launch(provider)
            listed = {each.id: each.reclaimed for each in await provider.list_instances()}
            assert listed.pop(ids[0]) is True
            assert list(listed.values()) == [False]

    run(check())


def test_a_recommendation_that_comes_late_takes_no_notice_back(aws: World) -> None:
    async def check() -> None:
        ids = populate(aws.ec2, 1)
        more = {"queue_url": f"{aws.server.url}/1/notices", "on_rebalance": "show"}
        async with opened(aws, **more) as provider:
            await provider.list_instances()
            for kind in ("EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"):
                aws.server.queue.put(event(kind, **{"instance-id": ids[0]}))
                await until(lambda: not len(aws.server.queue), what="an empty queue")
            (listed,) = await provider.list_instances()
            assert listed.reclaimed
            assert "interruption notice" in listed.detail

    run(check())


@pytest.mark.parametrize(
    ("detail", "weight"),
    [
        ({"eventTypeCategory": "scheduledChange", "statusCode": "upcoming"}, Weight.EVENT),
        ({"eventTypeCategory": "scheduledChange", "statusCode": "closed"}, Weight.NEWS),
        ({"eventTypeCategory": "issue"}, Weight.NEWS),
    ],
)
def test_events_of_health_weigh_what_they_announce(detail: dict[str, str], weight: Weight) -> None:
    body = event(
        "AWS Health Event",
        service="EC2",
        eventTypeCode="AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        affectedEntities=[{"entityValue": "arn:aws:ec2:eu-west-1:1:instance/i-1"}, {"entityValue": "i-2"}],
        **detail,
    )
    message = read_message(body, 5.0)
    assert message.about == ("i-1", "i-2")
    assert [(each.instance_id, each.weight, each.at) for each in message.notices] == [
        ("i-1", weight, 5.0),
        ("i-2", weight, 5.0),
    ]


@pytest.mark.parametrize("entities", ["x", [None], [["i-1"]], 5])
def test_a_message_of_a_strange_form_says_nothing(entities: object) -> None:
    assert read_message(event("AWS Health Event", service="EC2", affectedEntities=entities), 0.0) == Message()


def test_i4_an_interrupted_instance_is_drained_at_once_and_replaced_before_it_goes(aws: World, tmp_path: Path) -> None:
    async def check() -> None:
        more = {"queue_url": f"{aws.server.url}/1/notices", "spot": True}
        async with pool(aws, tmp_path, **more) as made:
            work = TaskClass(Resources(slots=1), count=1)
            made.update_scaling_info(ScalingInfo(tasks=(work,)))
            await until(lambda: len(made.instances) == 1, what="an instance")
            (first,) = [one.id for one in aws.ec2.alive]
            busy = Agent(first, False, Resources(slots=1), Resources(slots=1))
            made.update_scaling_info(ScalingInfo((busy,), (work,)))
            await until(lambda: len(aws.ec2.alive) == 2, what="an instance for the second task")
            (second,) = {one.id for one in aws.ec2.alive} - {first}
            # Both tasks have their place now, and both are about to lose it.
            there = (busy, Agent(second, True, Resources(slots=1), Resources()))
            made.update_scaling_info(ScalingInfo(there, (work,)))
            for each in (first, second):
                aws.server.queue.put(event("EC2 Spot Instance Interruption Warning", **{"instance-id": each}))
            await until(lambda: len(aws.ec2.instances) == 3, timeout=60, what="a replacement for the one that waits")
            await until(lambda: first in [each.agent for each in made.drains], what="the drain of the busy one")
            assert all(each.when_done for each in made.drains)
            # The idle one was let go of at once. The other is at work still, and paid for.
            await until(lambda: second not in {one.id for one in aws.ec2.alive}, what="the end of the idle one")
            states = {each.id: each.state for each in made.instances}
            assert states[first] is InstanceState.RUNNING
            summary = await made.summary()
            assert summary is not None
            (told,) = [each for each in summary["instances"] if each["id"] == first]
            assert (told["termination"]["reason"], told["termination"]["phase"]) == (
                "reclaimed by the cloud",
                "draining",
            )
            assert first in {one.id for one in aws.ec2.alive}

    asyncio.run(check())
