"""What AWS tells of instances before it does it: spot interruptions, rebalance recommendations, retirements.

From a queue that EventBridge fills (`docs/aws.md` has its rules), by long polling: a notice is acted on at once, and
an idle queue costs three calls a minute for all pools. Without a queue, spot requests are asked now and then for the
status that stands for an interruption notice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.providers.aws.client import AwsClient
from slotsmith.providers.aws.tags import CLUSTER
from slotsmith.providers.base import ProviderError

if TYPE_CHECKING:
    from slotsmith.providers.aws.region import Region

LONG_POLL: Final = 20
"""Seconds; SQS's most."""
POLL_PERIOD: Final = 30.0
"""Seconds between two looks at spot requests where there is no queue. A notice comes two minutes ahead."""
KEPT: Final = 900.0
"""Seconds for which a notice is kept: the instance is gone long before, or the notice was wrong."""

_INTERRUPTION = "EC2 Spot Instance Interruption Warning"
_REBALANCE = "EC2 Instance Rebalance Recommendation"
_STATE = "EC2 Instance State-change Notification"
_HEALTH = "AWS Health Event"

# Spot request status codes, EC2 User Guide: set when the two-minute notice is given.
_MARKED: Final = ("marked-for-termination", "marked-for-stop")

_LONGEST_PAUSE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Notice:
    """`ends`: AWS will take the instance away within minutes. `at` is when we heard it (epoch seconds)."""

    instance_id: str
    text: str
    at: float
    ends: bool


def read_message(body: str, now: float) -> list[Notice]:
    """The notices in an event as EventBridge sends it; [] = one that only says that something changed, or no event."""
    try:
        event = json.loads(body)
        kind, detail = event["detail-type"], event["detail"]
    except (ValueError, KeyError, TypeError):
        return []
    if not isinstance(detail, Mapping):
        return []
    if kind == _HEALTH:
        return _of_health(event, detail, now)
    instance_id = str(detail.get("instance-id", ""))
    if kind == _INTERRUPTION:
        return [Notice(instance_id, "spot interruption notice: EC2 takes it back within two minutes", now, ends=True)]
    if kind == _REBALANCE:
        return [Notice(instance_id, "rebalance recommendation: its interruption has become likely", now, ends=False)]
    return []


def _of_health(event: Mapping[str, Any], detail: Mapping[str, Any], now: float) -> list[Notice]:
    if detail.get("service") != "EC2":
        return []
    text = (
        f"EC2 has scheduled {detail.get('eventTypeCode', 'an event')} for {detail.get('startTime', 'a time to come')}"
    )
    ids = [str(each.get("entityValue", "")) for each in detail.get("affectedEntities", ())] or event.get(
        "resources", []
    )
    return [Notice(str(each).rpartition("/")[2], text, now, ends=False) for each in ids]


async def follow_queue(region: Region, queue_url: str, clock: Clock) -> None:
    """Take messages until cancelled."""
    log = structlog.get_logger("slotsmith").bind(provider="aws", queue=queue_url)
    failures = 0
    while True:
        try:
            await _take(region, queue_url, clock)
            if failures:
                log.info("the queue of notices works again")
            failures = 0
        except ProviderError as error:
            failures += 1
            if failures == 1:
                log.warning(
                    "the queue of notices cannot be read; spot requests are looked at instead", error=str(error)
                )
            await clock.sleep(min(_LONGEST_PAUSE, POLL_PERIOD * 2.0 ** (failures - 1)))
            await _look_at_requests(region, clock)


async def _take(region: Region, queue_url: str, clock: Clock) -> None:
    answer = await region.client.call(
        "ReceiveMessage",
        service="sqs",
        wait=True,
        QueueUrl=queue_url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=LONG_POLL,
    )
    messages = answer.get("Messages", ())
    if not messages:
        return
    for message in messages:
        for notice in read_message(message["Body"], clock.now()):
            region.notices[notice.instance_id] = notice
    region.tell()
    # Only now: should this program end before, the next one finds them again.
    entries = [{"Id": str(index), "ReceiptHandle": each["ReceiptHandle"]} for index, each in enumerate(messages)]
    await region.client.call("DeleteMessageBatch", service="sqs", QueueUrl=queue_url, Entries=entries)


async def follow_requests(region: Region, clock: Clock) -> None:
    """Look at spot requests every now and then, until cancelled."""
    while True:
        await clock.sleep(POLL_PERIOD)
        await _look_at_requests(region, clock)


async def _look_at_requests(region: Region, clock: Clock) -> None:
    try:
        marked = await _marked(region.client, region.cluster)
    except ProviderError:
        # The next look is soon, and what fails here fails in the listing too, where it is told.
        return
    fresh = [each for each in marked if each not in region.notices]
    for each in fresh:
        text = "marked for interruption: EC2 takes it back within two minutes"
        region.notices[each] = Notice(each, text, clock.now(), ends=True)
    if fresh:
        region.tell()


async def _marked(client: AwsClient, cluster: str) -> list[str]:
    filters = [
        {"Name": f"tag:{CLUSTER}", "Values": [cluster]},
        {"Name": "status-code", "Values": list(_MARKED)},
    ]
    return [
        each["InstanceId"]
        async for page in client.pages(
            "DescribeSpotInstanceRequests", "SpotInstanceRequests", Filters=filters, MaxResults=1000
        )
        for each in page
        if each.get("InstanceId")
    ]
