"""How a provisioner reaches the simulated cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from slotsmith.model.instance import Instance
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError
from slotsmith.providers.simulated.admission import LAUNCH, LIST, TERMINATE
from slotsmith.providers.simulated.cloud import BatchError, Cloud
from slotsmith.providers.simulated.settings import SimulatedSettings
from slotsmith.providers.simulated.wire import Wire


class SimulatedProvider:
    """One way to a cloud. `Provider` says what the methods promise.

    It puts right what a raw listing and a raw batch may have wrong, as the provider of a real cloud does; everything
    else that goes wrong reaches the caller. All it has is what the cloud knows, so a restart makes a new one on the
    same cloud.
    """

    def __init__(self, settings: SimulatedSettings, context: ProviderContext, cloud: Cloud) -> None:
        self.poll_period = settings.poll_period
        self.consistency_window = settings.consistency_window
        self.token_lifetime = settings.token_lifetime
        self._offerings = settings.offerings
        self._clock = context.clock
        self._cloud = cloud
        self._raw: Sequence[Instance] = ()
        self._listed: Sequence[Instance] = ()

    async def setup(self) -> None:
        await Wire(self._cloud, LIST, self._cloud.look).call()

    def offerings(self) -> Sequence[Offering]:
        return self._offerings

    async def list_instances(self) -> Sequence[Instance]:
        """The very same tuple as long as nothing changes."""
        began, calm = self._clock.now(), self._cloud.dice.calm
        raw = await Wire(self._cloud, LIST, self._cloud.list_instances).call()
        self._cloud.listing_delivered(began)
        if calm:
            return raw
        if raw is not self._raw:
            self._raw, self._listed = raw, _in_order(raw)
        return self._listed

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        sent = self._clock.now()
        return await Wire(self._cloud, LAUNCH, lambda: self._cloud.launch(request, sent)).call()

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        ids = list(dict.fromkeys(instance_ids))
        return await self._terminate(ids) if ids else {}

    async def _terminate(self, ids: Sequence[str]) -> Mapping[str, ProviderError]:
        """End these in one call; when bad ones among them fail it, in two halves, and so on."""
        try:
            return await Wire(self._cloud, TERMINATE, lambda: self._cloud.terminate(ids)).call()
        except BatchError as error:
            if len(ids) == 1:
                return {ids[0]: error}
        half = len(ids) // 2
        return {**await self._part(ids[:half]), **await self._part(ids[half:])}

    async def _part(self, ids: Sequence[str]) -> Mapping[str, ProviderError]:
        # What goes wrong with one part must not hide what was done with the other.
        try:
            return await self._terminate(ids)
        except ProviderError as error:
            return dict.fromkeys(ids, error)

    async def close(self) -> None:
        """There is nothing to let go of."""


def _in_order(rows: Sequence[Instance]) -> Sequence[Instance]:
    """Each once, in the order of creation, which is that of the ids."""
    ids = [row.id for row in rows]
    if all(one < other for one, other in pairwise(ids)):
        return rows
    by_id = {row.id: row for row in rows}
    return tuple(by_id[instance_id] for instance_id in sorted(by_id))
