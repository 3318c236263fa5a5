"""A provider with the caller's patience: what is not definite is asked again, with the same token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from slotsmith.core.backoff import RETRY_RULES
from slotsmith.model.instance import Instance
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderError

T = TypeVar("T")
_ATTEMPTS = 8


class Persistent:
    """As the provisioner does it, but without the pauses."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def setup(self) -> None:
        await _again(self._inner.setup)

    async def list_instances(self) -> Sequence[Instance]:
        return await _again(self._inner.list_instances)

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        return await _again(lambda: self._inner.launch(request))

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        failures = await self._inner.terminate(instance_ids)
        for _ in range(_ATTEMPTS):
            left = [key for key, error in failures.items() if not RETRY_RULES[error.kind].definite]
            if not left:
                break
            done = {key: error for key, error in failures.items() if key not in left}
            failures = {**done, **await self._inner.terminate(left)}
        return failures


async def _again(call: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            return await call()
        except ProviderError as error:
            if RETRY_RULES[error.kind].definite:
                raise
    return await call()
