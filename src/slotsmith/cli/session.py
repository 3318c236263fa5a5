"""One pool in the hands of an operator: what `down` and `adopt` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from slotsmith.cli.books import open_readable, open_writable
from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import one_pool, read
from slotsmith.text import quoted

if TYPE_CHECKING:
    from slotsmith.provisioner import Provisioner
    from slotsmith.replicas.candidate import Candidate

T = TypeVar("T")


def _known(url: str) -> Sequence[str]:
    """The pools that the store has books of; none when there is no store yet."""
    try:
        with open_readable(url) as store:
            return store.pools()
    except CommandError:
        return ()


def with_pool(config: Path, name: str | None, work: Callable[[Provisioner], Awaitable[T]]) -> T:
    """Run `work` on a pool that is set up, with the store's lock held."""
    from slotsmith import logs
    from slotsmith.cli.replicating import leading, owning
    from slotsmith.clock import SystemClock
    from slotsmith.config.assembly import Assembly

    settings = read(config)
    if name is not None and settings.pool(name) is None and name in _known(settings.store.url):
        raise CommandError(
            f"pool {quoted(name)} is on record, but not in {config}: its instances can be reached only with its "
            "settings, so name a file that still has them with --config"
        )
    pool = one_pool(settings, name, config)
    logs.setup(settings.log.format, "warning")

    clock = SystemClock()

    async def on_pool(assembly: Assembly, candidate: Candidate | None) -> T:
        async with leading(candidate, assembly.store, clock):
            provisioner = assembly.provisioner(pool)
            try:
                await provisioner.setup()
                return await work(provisioner)
            finally:
                await provisioner.close()

    with (
        open_writable(settings.store.url) as store,
        owning(store, clock) as candidate,
        Assembly(settings, store, clock=clock, replica=candidate) as assembly,
    ):
        return asyncio.run(on_pool(assembly, candidate))
