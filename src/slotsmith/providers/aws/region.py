"""What the pools of one account, region and cluster share: client, listing, and where there was no capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.providers.aws import spot_requests
from slotsmith.providers.aws.client import AwsClient, Connection
from slotsmith.providers.aws.looking import follow_events, follow_requests
from slotsmith.providers.aws.memory import CapacityMemory
from slotsmith.providers.aws.notices import KEPT, Notice, follow_queue
from slotsmith.providers.aws.rows import Row
from slotsmith.providers.aws.tags import CLUSTER, INTENT, POOL

PAGE_SIZE: Final = 1000
"""Instances for each call; EC2's most."""

CONSISTENCY_WINDOW: Final = 120.0
"""Seconds for which DescribeInstances may not show what was launched or changed.

EC2 gives no figure (EC2 Developer Guide, "Eventual consistency": minutes at the outside); the reference's spot requests
took 20 to 40 s to show, and its tear-down waited 60. Twice that, with the age that a shared listing may have.
"""

# How soon to look again after a change, and how seldom at most while it is under way.
_SOONEST_LOOK: Final = 1.0
_LATEST_LOOK: Final = 15.0
_MOVING: Final = ("pending", "stopping", "shutting-down")

_MANY_NOTICES: Final = 10_000

STATES: Final = ("pending", "running", "stopping", "stopped", "shutting-down")
"""All but terminated, in which EC2 keeps showing an instance for about an hour."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of each pool, and when the reading began (epoch seconds)."""

    pools: Mapping[str, Sequence[Row]]
    began: float


class Region:
    """One account, region and cluster. Made by the first pool that needs it, closed by the last that lets go of it."""

    def __init__(self, connection: Connection, cluster: str, clock: Clock) -> None:
        self.client = AwsClient(connection, clock)
        self.memory = CapacityMemory()
        self.cluster = cluster
        self.on_change: set[Callable[[], None]] = set()
        self.notices: dict[str, Notice] = {}
        self.users = 0
        self.has_requests = False
        """Whether a pool places spot requests, so that a listing has them too."""
        self._tagged: set[str] = set()
        self._known: set[str] | None = None
        self._clock = clock
        self._last: Listing | None = None
        self._reading: asyncio.Task[Listing] | None = None
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._launched: dict[str, float] = {}
        self._reading_began = float("-inf")
        self._changed_at = float("-inf")

    def watch(self, queue_url: str, *, spot: bool) -> None:
        """Follow a queue of notices, or without one (""), look for events and, where it matters, spot requests."""
        if queue_url:
            self._watch_once(queue_url, partial(follow_queue, self, queue_url, self._clock))
            return
        self._watch_once("scheduled events", partial(follow_events, self, self._clock))
        if spot:
            self._watch_once("spot requests", partial(follow_requests, self, self._clock))

    def _watch_once(self, what: str, follow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if what not in self._watches:
            task = self._watches[what] = asyncio.create_task(follow(), name=f"notices of AWS: {what}")
            task.add_done_callback(_tell_failure)

    def may_be_ours(self, instance_id: str) -> bool:
        """Whether news of an instance may be news for a pool here: it is listed, or was launched just now."""
        return (
            self._known is None
            or instance_id in self._known
            or self.is_young(instance_id)
            # One that a spot request has brought is known by its request only.
            or self.has_requests
        )

    def note(self, notice: Notice) -> bool:
        """Keep a notice, unless one that weighs more is kept; whether it says anything new.

        Whoever it is of: it may come before the answer to the launch of its instance.
        """
        kept = self.notice(notice.instance_id)
        if kept is not None and kept.weight > notice.weight:
            return False
        if len(self.notices) >= _MANY_NOTICES:
            self._forget_notices()
        self.notices[notice.instance_id] = notice
        return kept is None or (kept.weight, kept.text) != (notice.weight, notice.text)

    def notice(self, instance_id: str) -> Notice | None:
        """What AWS has told of an instance lately."""
        found = self.notices.get(instance_id)
        return found if found is not None and self._clock.now() < found.at + KEPT else None

    def changed(self) -> None:
        """Something was launched, ended or told of: a listing that began before now is of no use."""
        self._changed_at = self._clock.now()
        self._last = None
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="changes on EC2")

    def launched(self, ids: Iterable[str]) -> None:
        """These were launched just now."""
        now = self._clock.now()
        self._launched = {each: at for each, at in self._launched.items() if now < at + CONSISTENCY_WINDOW}
        self._launched |= dict.fromkeys(ids, now)

    def ended(self, ids: Iterable[str]) -> None:
        """The end of these was asked for."""
        for each in ids:
            self._launched.pop(each, None)

    def is_young(self, instance_id: str) -> bool:
        """Whether it was launched here so lately that EC2 may not know it everywhere yet."""
        return self._clock.now() < self._launched.get(instance_id, float("-inf")) + CONSISTENCY_WINDOW

    async def _follow(self) -> None:
        """Have pools look again while a change is under way: nothing tells when an instance runs, or is gone."""
        delay = _SOONEST_LOOK
        while self._clock.now() < self._changed_at + CONSISTENCY_WINDOW:
            await self._clock.sleep(delay)
            if self._last is not None and self._settled(self._last):
                return
            delay = min(_LATEST_LOOK, 2.0 * delay)
            self._wake()

    def _settled(self, listing: Listing) -> bool:
        rows = [row for rows in listing.pools.values() for row in rows]
        listed = {row.id for row in rows}
        return listed.issuperset(self._launched) and not any(row.state in _MOVING for row in rows)

    def _wake(self) -> None:
        for wake in list(self.on_change):
            wake()

    async def rows(self, pool: str, max_age: float) -> Sequence[Row]:
        """The rows of a pool from a listing that began at most `max_age` seconds ago and after the last change.

        Raises:
            ProviderError: EC2 cannot be asked.
        """
        listing, now = self._last, self._clock.now()
        if now < self._changed_at + CONSISTENCY_WINDOW:
            # What EC2 does not show yet should not be missed for longer than need be.
            max_age = 0.0
        if listing is None or listing.began < now - max_age:
            listing = await self._read(now - max_age)
        return listing.pools.get(pool, ())

    async def _read(self, since: float) -> Listing:
        """A listing that began at `since` or later; one reading serves all whom it is new enough for."""
        while self._reading is not None and not self._reading.done() and self._reading_began < since:
            # What was launched in the meantime may not be in that one.
            await asyncio.wait([self._reading])
        if self._reading is None or self._reading.done():
            self._reading_began = self._clock.now()
            self._reading = asyncio.create_task(self._read_once(self._reading_began))
            # Whoever asked may be gone when it fails.
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._reading)

    async def _read_once(self, began: float) -> Listing:
        filters = [
            {"Name": f"tag:{CLUSTER}", "Values": [self.cluster]},
            {"Name": "instance-state-name", "Values": list(STATES)},
        ]
        pools: dict[str, dict[str, Row]] = {}
        async for page in self.client.pages("DescribeInstances", "Reservations", Filters=filters, MaxResults=PAGE_SIZE):
            for row in page:
                # By id, for an instance may be on two pages when others came or went between them.
                pools.setdefault(row.tags.get(POOL, ""), {})[row.id] = row
        if self.has_requests:
            requested = await spot_requests.rows(self.client, self.cluster, self._tagged)
            instances = {row.agent for row in requested}
            # An instance that has its request's tags by now is listed as that request already.
            pools = {
                pool: {key: row for key, row in rows.items() if key not in instances} for pool, rows in pools.items()
            }
            for row in requested:
                pools.setdefault(row.tags.get(POOL, ""), {})[row.id] = row
        if self._known is None and any(row.state in _MOVING for rows in pools.values() for row in rows.values()):
            # What an earlier run began is still under way, and nothing tells when it has ended.
            self.changed()
        self._known = {row.agent or row.id for rows in pools.values() for row in rows.values()}
        listing = Listing({pool: tuple(rows.values()) for pool, rows in pools.items()}, began)
        if began >= self._changed_at:
            self._last = listing
        return listing

    async def of_token(self, token: str) -> list[str]:
        """All instances and requests that a token launched, also those that are gone. Raises ProviderError."""
        if self.has_requests and (ids := await spot_requests.of_token(self.client, self.cluster, token)):
            return ids
        filters = [{"Name": f"tag:{CLUSTER}", "Values": [self.cluster]}, {"Name": f"tag:{INTENT}", "Values": [token]}]
        return [
            row.id
            async for page in self.client.pages(
                "DescribeInstances", "Reservations", Filters=filters, MaxResults=PAGE_SIZE
            )
            for row in page
        ]

    def tell(self) -> None:
        """Have all pools look again."""
        self._forget_notices()
        self.changed()
        self._wake()

    def _forget_notices(self) -> None:
        now = self._clock.now()
        self.notices = {key: each for key, each in self.notices.items() if now < each.at + KEPT}

    async def close(self) -> None:
        """End what runs by itself."""
        tasks = [*self._watches.values(), *(task for task in (self._reading, self._following) if task is not None)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A watch goes on for ever; one that ends by itself has a fault of ours, which must not be silent."""
    if not task.cancelled() and (error := task.exception()) is not None:
        structlog.get_logger("slotsmith").error("notices are not followed any more", task=task.get_name(), error=error)


_regions: dict[tuple[int, Connection, str], Region] = {}


def join(connection: Connection, cluster: str, clock: Clock) -> Region:
    """The region of this event loop for these, made if need be. Each `join` is followed by one `leave`."""
    key = (id(asyncio.get_running_loop()), connection, cluster)
    region = _regions.get(key)
    if region is None:
        region = _regions[key] = Region(connection, cluster, clock)
    region.users += 1
    return region


async def leave(region: Region) -> None:
    """Let go of it; the last one closes it."""
    region.users -= 1
    if not region.users:
        for key in [key for key, each in _regions.items() if each is region]:
            del _regions[key]
        await region.close()
