"""A provider whose calls are watched: counted, timed, traced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from slotsmith.model.instance import Instance
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, Market, Provider, ProviderError, market_of

T = TypeVar("T")

Around = Callable[[str, Mapping[str, str | int]], AbstractContextManager[None]]
"""What goes on around a call: given its name and what is known of it before, which is no secret."""


class Watched:
    """Does what `provider` does, with `around` each call."""

    def __init__(self, provider: Provider, around: Around) -> None:
        self.poll_period = provider.poll_period
        self.consistency_window = provider.consistency_window
        self.token_lifetime = provider.token_lifetime
        self._provider = provider
        self._around = around

    async def setup(self) -> None:
        await self._watched("setup", {}, self._provider.setup())
        # Some know these only now.
        self.poll_period = self._provider.poll_period
        self.consistency_window = self._provider.consistency_window
        self.token_lifetime = self._provider.token_lifetime

    def offerings(self) -> Sequence[Offering]:
        return self._provider.offerings()

    def market(self) -> Market:
        return market_of(self._provider)

    async def list_instances(self) -> Sequence[Instance]:
        return await self._watched("list", {}, self._provider.list_instances())

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        offering, token = request.offering.name, request.token
        known: dict[str, str | int] = {"offering": offering, "count": request.count, "token": token}
        return await self._watched("launch", known, self._provider.launch(request))

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        return await self._watched("terminate", {"count": len(instance_ids)}, self._provider.terminate(instance_ids))

    async def close(self) -> None:
        await self._provider.close()

    async def _watched(self, call: str, known: Mapping[str, str | int], work: Awaitable[T]) -> T:
        with self._around(call, known):
            return await work


def outcome(error: BaseException | None) -> str:
    """What became of a call, in one word: ok, cancelled, fault, or the kind of the provider's error."""
    if error is None:
        return "ok"
    if isinstance(error, ProviderError):
        return error.kind.value
    return "fault" if isinstance(error, Exception) else "cancelled"
