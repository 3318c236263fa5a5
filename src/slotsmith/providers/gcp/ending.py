"""Terminations: one delete for each instance, side by side, each under a request id."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.gcp.api import Api
from slotsmith.providers.gcp.launching import AT_ONCE
from slotsmith.providers.gcp.names import is_name, request_id
from slotsmith.providers.gcp.operations import read_operation


class Endings:
    """The terminations of one pool.

    A request id stands for one attempt: while its operation runs, asking again is answered by it. One that has ended is
    over, so the next time there is a new id. After a restart the first answer may be that of an attempt before it.
    """

    def __init__(self, api: Api, zones: Sequence[str]) -> None:
        self._api = api
        self._zones = zones
        self._attempts: dict[str, int] = {}

    def forget_all_but(self, names: Collection[str]) -> None:
        """These are listed; what is not will not be asked for again."""
        self._attempts = {name: attempt for name, attempt in self._attempts.items() if name in names}

    async def begin(self, instance_ids: Sequence[str], zone_of: Mapping[str, str]) -> Mapping[str, ProviderError]:
        """Begin to end these; the result has those that failed. Where the zone is not known, all of ours are tried."""
        room = asyncio.Semaphore(AT_ONCE)

        async def end(name: str) -> ProviderError | None:
            zones = [zone_of[name]] if name in zone_of else self._zones
            async with room:
                return await self._end(name, zones)

        # What cannot be a name is no instance.
        names = [name for name in dict.fromkeys(instance_ids) if is_name(name)]
        answers = await asyncio.gather(*map(end, names))
        return {name: error for name, error in zip(names, answers, strict=True) if error is not None}

    async def _end(self, name: str, zones: Sequence[str]) -> ProviderError | None:
        for zone in zones:
            attempt = self._attempts.get(name, 0)
            once = request_id("delete", zone, name, str(attempt))
            try:
                operation = read_operation(await self._api.delete(f"zones/{zone}/instances/{name}", requestId=once))
            except ProviderError as error:
                if error.kind is not ErrorKind.GONE:
                    return error
                continue
            if operation.done:
                self._attempts[name] = attempt + 1
            return operation.error
        return None
