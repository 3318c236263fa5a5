"""What AWS tells of instances before it does it: spot interruptions, rebalance recommendations, scheduled events.

From a queue that EventBridge fills (`docs/aws.md` has its rules), by long polling: a notice is acted on at once, and
an idle queue costs three calls a minute for all pools. Without a queue, `looking` asks EC2 now and then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.providers.base import ProviderError

if TYPE_CHECKING:
    from slotsmith.providers.aws.region import Region

LONG_POLL: Final = 20
"""Seconds; SQS's most."""
KEPT: Final = 900.0
"""Seconds for which a notice is kept: the instance is gone long before, or its drain has begun, or it was wrong."""
GATHER: Final = 0.5
"""Seconds for which mere changes of state are gathered: a thousand instances that boot are no thousand listings."""

_INTERRUPTION = "EC2 Spot Instance Interruption Warning"
_REBALANCE = "EC2 Instance Rebalance Recommendation"
_STATE = "EC2 Instance State-change Notification"
_HEALTH = "AWS Health Event"


class Weight(IntEnum):
    """How much a notice weighs: one that weighs less never takes the place of one that weighs more."""

    NEWS = 0
    """Only for people."""
    REBALANCE = 1
    """Its interruption has become likely."""
    EVENT = 2
    """It will be retired, stopped or rebooted, in days or weeks."""
    INTERRUPTION = 3
    """It is taken back within minutes."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What was told of an instance; `at` is when we heard it (epoch seconds)."""

    instance_id: str
    text: str
    at: float
    weight: Weight


@dataclass(frozen=True, slots=True)
class Message:
    """What an event of EventBridge says: its notices, and all instances that it is about."""

    notices: tuple[Notice, ...] = ()
    about: tuple[str, ...] = ()


def read_message(body: str, now: float) -> Message:
    """The event in a message; one that cannot be read says nothing, whatever is wrong with it."""
    try:
        event = json.loads(body)
        kind, detail = event["detail-type"], event["detail"]
        if kind == _HEALTH:
            notices = _of_health(event, detail, now)
            return Message(notices, tuple(each.instance_id for each in notices))
        instance_id = str(detail["instance-id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Message()
    if kind == _INTERRUPTION:
        text = "spot interruption notice: EC2 takes it back within two minutes"
        return Message((Notice(instance_id, text, now, Weight.INTERRUPTION),), (instance_id,))
    if kind == _REBALANCE:
        text = "rebalance recommendation: its interruption has become likely"
        return Message((Notice(instance_id, text, now, Weight.REBALANCE),), (instance_id,))
    return Message((), (instance_id,) if kind == _STATE else ())


def _of_health(event: Mapping[str, Any], detail: Mapping[str, Any], now: float) -> tuple[Notice, ...]:
    if detail.get("service") != "EC2":
        return ()
    what, when = detail.get("eventTypeCode", "an event"), detail.get("startTime", "a time to come")
    is_change = detail.get("eventTypeCategory", "scheduledChange") == "scheduledChange"
    weight = Weight.EVENT if is_change and detail.get("statusCode") != "closed" else Weight.NEWS
    text = f"EC2 has scheduled {what} for {when}" if weight is Weight.EVENT else f"AWS Health tells of {what}"
    ids = [str(each.get("entityValue", "")) for each in detail.get("affectedEntities") or ()]
    ids = ids or [str(each) for each in event.get("resources") or ()]
    return tuple(Notice(each.rpartition("/")[2], text, now, weight) for each in ids)


async def follow_queue(region: Region, queue_url: str, clock: Clock) -> None:
    """Take messages until cancelled. While the queue cannot be read, EC2 is asked instead."""
    # Imported here: it needs what stands above.
    from slotsmith.providers.aws.looking import LOOK_PERIOD, look_at_requests

    log = structlog.get_logger("slotsmith").bind(provider="aws", queue=queue_url)
    failing = False
    while True:
        try:
            await _take(region, queue_url, clock)
            if failing:
                log.info("the queue of notices works again")
            failing = False
        except ProviderError as error:
            if not failing:
                log.warning("the queue of notices cannot be read; EC2 is asked instead", error=str(error))
            failing = True
            # Not more and more seldom: a notice comes two minutes ahead.
            await clock.sleep(LOOK_PERIOD)
            await look_at_requests(region, clock)


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
    read = [read_message(str(each.get("Body", "")), clock.now()) for each in messages]
    notices = [notice for message in read for notice in message.notices]
    # A rule tells of all instances of the account, and most may be somebody else's.
    ours = [each for message in read for each in message.about if region.may_be_ours(each)]
    for notice in notices:
        region.note(notice)
    if ours:
        if not notices:
            await clock.sleep(GATHER)
        region.tell()
    # Only now: should this program end before, the next one finds them again.
    entries = [{"Id": str(index), "ReceiptHandle": each["ReceiptHandle"]} for index, each in enumerate(messages)]
    await region.client.call("DeleteMessageBatch", service="sqs", QueueUrl=queue_url, Entries=entries)
