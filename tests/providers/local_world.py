"""Local providers for tests, in a directory that is free of processes afterwards."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from slotsmith.clock import SystemClock
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.providers.base import LaunchRequest, Provider, ProviderContext
from slotsmith.providers.local import LocalSettings, create, find_processes
from waiting import until, wait_until

LONG = "sleep 600"


class LocalWorld:
    """Makes providers of one directory; `wakes` counts how often any of them told of a change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.wakes = 0

    def provider(self, command: str = LONG, *, pool: str = "gpu", **settings: Any) -> Provider:
        """Not set up yet; further settings as in a config file."""
        context = ProviderContext("team", pool, self.directory, SystemClock(), self._wake)
        return create(LocalSettings.model_validate({"type": "local", "command": command, **settings}), context)

    def pool_directory(self, pool: str = "gpu") -> Path:
        return self.directory / f"team@{pool}"

    def pids(self, instance_id: str | None = None) -> list[int]:
        """Live processes of one instance, or of all."""
        found = find_processes(state_dir=self.directory)
        return [process.pid for process in found if instance_id in (None, process.instance_id)]

    def kill_all(self) -> None:
        """End everything that was started here, also what is just about to start something."""

        def none_left() -> bool:
            for pid in self.pids():
                # The group, as its youngest member may not have its environment yet.
                with suppress(ProcessLookupError):
                    os.killpg(os.getpgid(pid), signal.SIGKILL)
            return not self.pids()

        wait_until(none_left, what="the end of all processes")

    def _wake(self) -> None:
        self.wakes += 1


async def launch(provider: Provider, token: str, count: int = 1) -> tuple[str, ...]:
    return (await provider.launch(LaunchRequest(token, provider.offerings()[0], count))).instance_ids


async def only(provider: Provider) -> Instance:
    (instance,) = await provider.list_instances()
    return instance


async def in_state(provider: Provider, state: InstanceState) -> Instance:
    """The only instance, once it is in that state."""

    async def reached() -> Instance | None:
        instance = await only(provider)
        return instance if instance.state is state else None

    found = await until(reached, what=f"state {state}")
    assert found is not None
    return found


async def all_gone(provider: Provider) -> None:
    async def empty() -> bool:
        return not await provider.list_instances()

    await until(empty, what="an empty listing")
