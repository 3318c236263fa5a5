"""A pool of processes in the test's own process: it takes one pass at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from slotsmith.config import read_config
from slotsmith.config.assembly import Assembly
from slotsmith.providers.local import find_processes
from slotsmith.provisioner import Provisioner
from slotsmith.provisioner.worker_process import WorkerProcess
from slotsmith.store.sql import SqlStore, open_store
from waiting import until


@asynccontextmanager
async def embedded_pool(config: str, directory: Path) -> AsyncIterator[tuple[Provisioner, SqlStore]]:
    """The only pool of the configuration, in which `{directory}` is filled in; in the end nothing of it is left."""
    settings = read_config(config.format(directory=directory), "slotsmith.yaml")
    with (
        open_store(f"sqlite:///{directory}/books.db") as store,
        Assembly(settings, store, searcher=WorkerProcess()) as assembly,
    ):
        pool = assembly.provisioner(settings.pools[0])
        await pool.setup()
        try:
            yield pool, store
        finally:
            await pool.down(force=True)
            await pool.close()
    await until(lambda: not find_processes(state_dir=directory / "state"))
