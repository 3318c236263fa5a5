"""One pool in the hands of an operator: what `down` and `adopt` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from slotsmith.cli.books import open_writable
from slotsmith.cli.options import one_pool, read

if TYPE_CHECKING:
    from slotsmith.provisioner import Provisioner

T = TypeVar("T")


def with_pool(config: Path, name: str | None, work: Callable[[Provisioner], Awaitable[T]]) -> T:
    """Run `work` on a pool that is set up, with the store's lock held."""
    from slotsmith import logs
    from slotsmith.config.assembly import Assembly

    settings = read(config)
    pool = one_pool(settings, name, config)
    logs.setup(settings.log.format, "warning")

    async def on_pool(assembly: Assembly) -> T:
        provisioner = assembly.provisioner(pool)
        try:
            await provisioner.setup()
            return await work(provisioner)
        finally:
            await provisioner.close()

    with open_writable(settings.store.url) as store, store.lock(), Assembly(settings, store) as assembly:
        return asyncio.run(on_pool(assembly))
