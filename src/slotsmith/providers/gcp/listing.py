"""One listing of a project's instances for all pools of a cluster, and what its entries mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from weakref import WeakValueDictionary

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.gcp.api import Api
from slotsmith.providers.gcp.names import CLUSTER_LABEL, POOL_LABEL, TOKEN_LABEL
from slotsmith.providers.gcp.settings import region_of

Found = Mapping[str, Any]
"""An `Instance` of the API."""

STATES: Final[Mapping[str, InstanceState]] = {
    "PENDING": InstanceState.STARTING,
    "PROVISIONING": InstanceState.STARTING,
    "STAGING": InstanceState.STARTING,
    "RUNNING": InstanceState.RUNNING,
    "PENDING_STOP": InstanceState.STOPPING,
    "STOPPING": InstanceState.STOPPING,
    "SUSPENDING": InstanceState.STOPPING,
    "STOPPED": InstanceState.STOPPED,
    "SUSPENDED": InstanceState.STOPPED,
    "TERMINATED": InstanceState.STOPPED,
    "DEPROVISIONING": InstanceState.TERMINATING,
    # Google is mending it; it may come back with its agent or not at all.
    "REPAIRING": InstanceState.UNKNOWN,
}
"""Google's words, all that compute v1 has; one that is not here is unknown."""


class SharedListing:
    """A listing under way is everybody's who asked before it began; who asks later waits for the next one."""

    def __init__(self) -> None:
        self._running: asyncio.Task[Cluster] | None = None
        self._next: asyncio.Task[Cluster] | None = None

    async def get(self, fetch: Callable[[], Awaitable[Cluster]]) -> Cluster:
        """What is there now. `fetch` is called unless somebody else's begins first."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._run(self._running, fetch), name="listing of GCE")
            # It may fail when nobody waits for it any more.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Whoever stops waiting leaves the listing to the others.
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[Cluster] | None, fetch: Callable[[], Awaitable[Cluster]]) -> Cluster:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = asyncio.current_task(), None
        return await fetch()


_shared: WeakValueDictionary[tuple[object, ...], SharedListing] = WeakValueDictionary()


def shared_listing(*what: object) -> SharedListing:
    """The same object for the same `what` (endpoint, project, cluster) in one event loop."""
    key = (id(asyncio.get_running_loop()), *what)
    with suppress(KeyError):
        return _shared[key]
    return _shared.setdefault(key, SharedListing())


@dataclass(frozen=True, slots=True)
class Cluster:
    """One listing: all instances of a cluster, and the zones that could not be looked into."""

    instances: Sequence[Found]
    unreachable: Sequence[str]


async def list_cluster(api: Api, cluster: str) -> Cluster:
    """All instances of a cluster in one project, in whatever zone: one that is no longer configured may have some."""
    found: list[Found] = []
    unreachable: list[str] = []
    async for page in api.pages("aggregated/instances", filter=f'labels.{CLUSTER_LABEL} = "{cluster}"'):
        unreachable.extend(str(each).rpartition("/")[2] for each in page.get("unreachables", ()))
        for scope in page.get("items", {}).values():
            found.extend(scope.get("instances", ()))
    return Cluster(found, unreachable)


def zone_of(found: Found) -> str:
    """The zone of an instance of the API."""
    return str(found.get("zone", "")).rpartition("/")[2]


def is_spot(found: Found) -> bool:
    """Whether the cloud may take it back."""
    scheduling = found.get("scheduling") or {}
    return scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible"))


@dataclass(frozen=True, slots=True)
class Reading:
    """How one pool reads entries: its label, what its offerings have, and how their places are called."""

    pool: str
    capacities: Mapping[str, Resources]
    regional: bool

    def mine(self, found: Found) -> bool:
        """Whether an entry is one of this pool."""
        return bool((found.get("labels") or {}).get(POOL_LABEL) == self.pool)

    def instance(self, found: Found, seen_at: float, preempted: bool) -> Instance:
        """An entry as ours. `seen_at` stands for a creation time that cannot be read."""
        status = str(found.get("status", ""))
        kind = str(found.get("machineType", "")).rpartition("/")[2]
        zone = zone_of(found)
        capacity = self.capacities.get(kind)
        offering = Offering(
            kind,
            capacity or Resources(),
            region_of(zone) if self.regional else zone,
            "spot" if is_spot(found) else "on-demand",
        )
        state = STATES.get(status, InstanceState.UNKNOWN)
        return Instance(
            id=str(found["name"]),
            state=state,
            launched_at=launched_at(found, seen_at),
            agent_name=str(found["name"]),
            token=(found.get("labels") or {}).get(TOKEN_LABEL, ""),
            offering=offering.name,
            capacity=capacity,
            detail=_detail(found, status, state, preempted),
        )


def launched_at(found: Found, seen_at: float) -> float:
    """Epoch seconds of the creation; `seen_at` when the time cannot be read."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(str(found.get("creationTimestamp", "")))
        if moment.tzinfo is not None:
            return moment.timestamp()
    return seen_at


def _detail(found: Found, status: str, state: InstanceState, preempted: bool) -> str:
    if preempted:
        return "preempted by Google"
    if state in (InstanceState.STARTING, InstanceState.RUNNING):
        return ""
    return f"{status}: {found['statusMessage']}" if found.get("statusMessage") else status
