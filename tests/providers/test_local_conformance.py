"""The local provider does what every provider must."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.local_world import LONG, LocalWorld  # noqa: E402
from slotsmith.providers.base import Provider  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402
from slotsmith.providers.local import supervisors  # noqa: E402


class LocalHarness(Harness):
    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._world = LocalWorld(directory)
        self._patch = patch

    def provider(self, pool: str = "one") -> Provider:
        return self._world.provider(LONG, pool=pool, slots=2, cpus=1.5, mem_gib=4, extras={"licence": 1})

    def finish(self) -> None:
        self._patch.undo()
        self._world.kill_all()

    async def restrict(self, provider: Provider, count: int) -> bool:
        left = iter(range(count))
        spawn = os.posix_spawn

        def limited(*args: Any, **kwargs: Any) -> int:
            if next(left, None) is None:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return spawn(*args, **kwargs)

        self._patch.setattr(supervisors.os, "posix_spawn", limited)
        return True


class TestLocal(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return LocalHarness(directory, pytest.MonkeyPatch())
