"""A provider from outside the project: processes on this machine, behind an interface that may not answer.

The tests put this folder on PYTHONPATH, where its `entry_points.txt` makes it a plugin like any other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from slotsmith.model.instance import Instance
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError, ProviderPlugin
from slotsmith.providers.local.provider import LocalProvider
from slotsmith.providers.local.settings import LocalSettings


class HangingSettings(LocalSettings):
    """`provider: {type: hanging, gate: FILE, command: ...}`."""

    type: Literal["hanging"]  # type: ignore[assignment]
    gate: Path


class HangingProvider(LocalProvider):
    """No call is answered while the file `gate` is not there."""

    def __init__(self, settings: HangingSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._gate = settings.gate

    async def setup(self) -> None:
        await self._answer()
        await super().setup()

    async def list_instances(self) -> Sequence[Instance]:
        await self._answer()
        return await super().list_instances()

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        await self._answer()
        return await super().launch(request)

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        await self._answer()
        return await super().terminate(instance_ids)

    async def _answer(self) -> None:
        while not self._gate.exists():
            await asyncio.sleep(0.02)


plugin = ProviderPlugin(HangingSettings, HangingProvider, owns_by_cluster=False)
