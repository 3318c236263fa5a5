"""One launch: ask under the token's request id, follow the operation to its end, and say what has come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.providers.gcp.api import WAIT_TIMEOUT, Api
from slotsmith.providers.gcp.names import MOST_AT_ONCE, TOKEN_LABEL, instance_names, label_value, request_id
from slotsmith.providers.gcp.operations import Operation, read_operation
from slotsmith.providers.gcp.properties import instance_properties
from slotsmith.providers.gcp.settings import GcpSettings

POLL_PAUSE: Final = 1.0
"""Seconds between two looks at an operation when Google answers `wait` at once, or not at all."""
AT_ONCE: Final = 8
"""Calls at the same time for one pool."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What is fixed for the launches of one pool: it may launch in `zones`, of which there are more `around`."""

    cluster: str
    name: str
    prefix: str
    owner: Mapping[str, str]
    zones: Sequence[str]
    around: Sequence[str]
    metadata: Mapping[str, str]


class Launcher:
    """The launches of one pool. It keeps nothing: Google knows every request id and every operation."""

    def __init__(
        self, api: Api, settings: GcpSettings, pool: Pool, clock: Clock, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._api = api
        self._settings = settings
        self._pool = pool
        self._clock = clock
        self._log = log

    async def launch(self, request: LaunchRequest, others: Sequence[str]) -> LaunchResult:
        """Carry a request out, or find what an earlier call with its token has done.

        `others` are machine types that will do as well; GCE chooses among them where it can.
        """
        if request.count <= 0:
            return LaunchResult(())
        count = min(request.count, MOST_AT_ONCE)
        names = instance_names(self._pool.prefix, request.token, count)
        operation = await self._follow(await self._ask(request, names, others))
        if operation.error is None and operation.created in (None, count):
            ids = names
        else:
            ids = await self._kept(request, names, operation)
        return self._result(request, ids, operation)

    def _result(self, request: LaunchRequest, ids: Sequence[str], operation: Operation) -> LaunchResult:
        error = operation.error
        if not ids:
            raise error or ProviderError(ErrorKind.CAPACITY, f"operation {operation.name} ended without any instance")
        if len(ids) == request.count:
            return LaunchResult(tuple(ids))
        if request.count > MOST_AT_ONCE and len(ids) == MOST_AT_ONCE:
            error = ProviderError(ErrorKind.CAPACITY, f"GCE makes at most {MOST_AT_ONCE} instances at once")
        reason = f": {error}" if error else ""
        kind = error.kind if error else ErrorKind.CAPACITY
        shortfall = ProviderError(kind, f"{len(ids)} of {request.count} instances were launched{reason}")
        return LaunchResult(tuple(ids), shortfall)

    async def _ask(self, request: LaunchRequest, names: Sequence[str], others: Sequence[str]) -> Operation:
        """Begin the operation, or find the one that was begun under this token before."""
        scope = f"regions/{request.offering.zone}" if self._settings.regional else f"zones/{request.offering.zone}"
        once = request_id("launch", self._pool.cluster, self._pool.name, request.token)
        body = self._body(request.offering, names, request.token, others)
        try:
            return read_operation(await self._api.post(f"{scope}/instances/bulkInsert", body, requestId=once))
        except ProviderError as error:
            if error.kind in (ErrorKind.TRANSIENT, ErrorKind.THROTTLED):
                raise
            # It says no to this call, and knows nothing of an earlier one whose answer was lost.
            earlier = await self._earlier(scope, once)
            if earlier is None:
                raise
            return earlier

    async def _earlier(self, scope: str, once: str) -> Operation | None:
        async for page in self._api.pages(f"{scope}/operations", filter=f'clientOperationId = "{once}"'):
            for body in page.get("items", ()):
                return read_operation(body)
        return None

    def _body(self, offering: Offering, names: Sequence[str], token: str, others: Sequence[str]) -> dict[str, Any]:
        properties = instance_properties(
            self._settings,
            machine_type=offering.instance_type,
            owner=self._pool.owner,
            token=token,
            metadata=self._pool.metadata,
        )
        body: dict[str, Any] = {
            "count": str(len(names)),
            # Fewer are better than none; what is missing is told as a shortfall.
            "minCount": "1",
            # Names of our own: were Google to forget the request id, the second machine of a name could not be made.
            "perInstanceProperties": {name: {} for name in names},
            "instanceProperties": properties,
        }
        if self._settings.regional:
            # A zone of the region that is not named would be allowed.
            preference = {zone: "ALLOW" if zone in self._pool.zones else "DENY" for zone in self._pool.around}
            locations = {f"zones/{zone}": {"preference": each} for zone, each in preference.items()}
            body["locationPolicy"] = {"locations": locations, "targetShape": "ANY"}
            if others:
                kinds = [offering.instance_type, *others]
                body["instanceFlexibilityPolicy"] = {
                    "instanceSelections": {
                        f"choice-{rank}": {"machineTypes": [kind], "rank": str(rank)}
                        for rank, kind in enumerate(kinds, 1)
                    }
                }
                # The policy says it instead.
                del properties["machineType"]
        return body

    async def _follow(self, operation: Operation) -> Operation:
        """The operation at its end.

        A look that fails is repeated, and a word that we do not know means that it goes on.

        Raises:
            ProviderError: it goes on for longer than one call waits (transient): the next call finds it again.
        """
        deadline = self._clock.now() + self._settings.operation_timeout_period
        trouble = ""
        while not operation.done:
            began = self._clock.now()
            if began >= deadline:
                waited = f"{self._settings.operation_timeout_period:g} seconds"
                text = f"operation {operation.name} is still {operation.status or 'unknown'} after {waited}"
                raise ProviderError(ErrorKind.TRANSIENT, f"{text}: {trouble}" if trouble else text)
            path = f"{operation.scope}/operations/{operation.name}/wait"
            try:
                operation, trouble = read_operation(await self._api.post(path, timeout=WAIT_TIMEOUT)), ""
            except ProviderError as error:
                # Once, and not each second for as long as it goes on.
                if trouble != str(error):
                    trouble = str(error)
                    self._log.warning(
                        "cannot look at an operation, trying again", operation=operation.name, error=trouble
                    )
            if not operation.done and self._clock.now() - began < POLL_PAUSE:
                await self._clock.sleep(POLL_PAUSE)
        return operation

    async def _kept(self, request: LaunchRequest, names: Sequence[str], operation: Operation) -> list[str]:
        """Which of the names exist after an operation that did not make all of them."""
        if operation.created == 0 and not operation.names_taken:
            return []
        zones = self._pool.around if self._settings.regional else [request.offering.zone]
        query = f'labels.{TOKEN_LABEL} = "{label_value(request.token)}"'
        found: set[str] = set()
        for zone in zones:
            async for page in self._api.pages(f"zones/{zone}/instances", filter=query):
                found.update(str(each["name"]) for each in page.get("items", ()))
        found.intersection_update(names)
        if operation.created is None or len(found) < operation.created:
            # A listing may lag behind; asking for one by its name does not.
            missing = [name for name in names if name not in found]
            found.update(await self._existing(missing, zones))
        return [name for name in names if name in found]

    async def _existing(self, names: Sequence[str], zones: Sequence[str]) -> list[str]:
        room = asyncio.Semaphore(AT_ONCE)

        async def look(name: str, zone: str) -> str | None:
            async with room:
                try:
                    await self._api.get(f"zones/{zone}/instances/{name}")
                except ProviderError as error:
                    if error.kind is ErrorKind.GONE:
                        return None
                    raise
            return name

        answers = await asyncio.gather(*(look(name, zone) for name in names for zone in zones))
        return [name for name in answers if name is not None]
