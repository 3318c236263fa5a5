"""Asking EC2 now and then for what a queue would tell at once: marked spot requests, and scheduled events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.providers.aws.notices import Notice, Weight
from slotsmith.providers.aws.tags import CLUSTER
from slotsmith.providers.base import ProviderError

if TYPE_CHECKING:
    from slotsmith.providers.aws.region import Region

LOOK_PERIOD: Final = 30.0
"""Seconds between two looks at spot requests. A notice comes two minutes ahead."""
EVENTS_PERIOD: Final = 300.0
"""Seconds between two looks for scheduled events, which are told days ahead; notices are kept for longer."""

# Spot request status codes, EC2 User Guide: set when the two-minute notice is given.
_MARKED: Final = ("marked-for-termination", "marked-for-stop")
_CODES: Final = ("instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop")
"""All codes of scheduled events that EC2 has (DescribeInstanceStatus, filter `event.code`)."""
# How the description of one begins that does not come any more.
_OVER: Final = ("[Completed]", "[Canceled]")


async def follow_requests(region: Region, clock: Clock) -> None:
    """Look at spot requests every now and then, until cancelled."""
    while True:
        await clock.sleep(LOOK_PERIOD)
        await look_at_requests(region, clock)


async def follow_events(region: Region, clock: Clock) -> None:
    """Look for scheduled events every now and then, until cancelled."""
    log, told = structlog.get_logger("slotsmith").bind(provider="aws"), ""
    while True:
        await clock.sleep(EVENTS_PERIOD)
        try:
            fresh = [region.note(notice) for notice in await _events(region, clock.now())]
        except ProviderError as error:
            if told != error.kind.value:
                log.warning("scheduled events cannot be looked for", error=str(error))
            told = error.kind.value
            continue
        told = ""
        if any(fresh):
            region.tell()


async def look_at_requests(region: Region, clock: Clock) -> None:
    """Note the instances of spot requests that are marked."""
    filters = [{"Name": f"tag:{CLUSTER}", "Values": [region.cluster]}, {"Name": "status-code", "Values": list(_MARKED)}]
    try:
        marked = [
            str(each["InstanceId"])
            async for page in region.client.pages(
                "DescribeSpotInstanceRequests", "SpotInstanceRequests", Filters=filters, MaxResults=1000
            )
            for each in page
            if each.get("InstanceId")
        ]
    except ProviderError:
        # The next look is soon, and what fails here fails in the listing too, where it is told.
        return
    text = "marked for interruption: EC2 takes it back within two minutes"
    fresh = [region.note(Notice(each, text, clock.now(), Weight.INTERRUPTION)) for each in marked]
    if any(fresh):
        region.tell()


async def _events(region: Region, now: float) -> list[Notice]:
    filters = [{"Name": "event.code", "Values": list(_CODES)}]
    return [
        Notice(each["InstanceId"], _told(event), now, Weight.EVENT)
        async for page in region.client.pages(
            "DescribeInstanceStatus", "InstanceStatuses", Filters=filters, MaxResults=1000
        )
        for each in page
        if region.may_be_ours(each["InstanceId"])
        for event in _to_come(each)[:1]
    ]


def _to_come(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in status.get("Events", ()) if not str(each.get("Description", "")).startswith(_OVER)]


def _told(event: Mapping[str, Any]) -> str:
    at = event.get("NotBefore")
    when = f" for {at:%Y-%m-%d %H:%M} UTC" if at is not None else ""
    return f"EC2 has scheduled {event.get('Code', 'an event')}{when}: {event.get('Description', '')}".rstrip(": ")
