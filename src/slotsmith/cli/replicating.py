"""Owning a store: by its lock where one process has it, by the lease where several replicas share it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from slotsmith.cli.errors import CommandError

if TYPE_CHECKING:
    from slotsmith.cli.daemon import Daemon
    from slotsmith.clock import Clock
    from slotsmith.config.assembly import Assembly
    from slotsmith.replicas.candidate import Candidate
    from slotsmith.store.sql import SqlStore

LEASE_DEADLINE: Final = 5.0
"""Seconds for one look at the lease, or one sign of life."""


@contextmanager
def owning(store: SqlStore, clock: Clock) -> Iterator[Candidate | None]:
    """The lock of a store that is one process's alone, then None; or a replica that may lead, and writes only then.

    Raises:
        StoreError: another process has the lock.
    """
    if not store.shared:
        with store.lock():
            yield None
        return
    from slotsmith.clock import system_ids, system_secret
    from slotsmith.model.lease import Claim
    from slotsmith.replicas.candidate import Candidate
    from slotsmith.store.lease import SqlLeases
    from slotsmith.store.writer import ThreadRunner

    leases, run = SqlLeases(store), ThreadRunner(deadline=LEASE_DEADLINE)
    holder = f"{socket.gethostname()}, pid {os.getpid()}, {system_ids()[:8]}"
    candidate = Candidate(leases, run, clock, Claim(holder, secret=system_secret()))
    store.guard = leases.guard(lambda: candidate.lease)
    try:
        yield candidate
    finally:
        run.close()


@asynccontextmanager
async def taking_turns(
    candidate: Candidate | None,
    daemon: Daemon,
    assembly: Assembly,
    *,
    address: str = "",
    on_rest: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Run the daemon's pools while this replica leads; after that, give the lease up.

    `address`: the URL at which other replicas reach this one. `on_rest` is called when its pools have ended since
    another replica leads.
    """
    if candidate is None:
        yield
        return
    from slotsmith.replicas.turns import Turns

    candidate.claim = replace(candidate.claim, address=address)
    turns = asyncio.create_task(Turns(candidate, daemon, assembly.run_store, assembly.clock, on_rest).take())
    # Without it nobody would notice that another replica leads.
    turns.add_done_callback(lambda _: daemon.stop())
    try:
        yield
    finally:
        turns.cancel()
        (fault,) = await asyncio.gather(turns, return_exceptions=True)
        await candidate.resign()
        if isinstance(fault, Exception):
            raise fault


@asynccontextmanager
async def leading(candidate: Candidate | None, store: SqlStore, clock: Clock) -> AsyncIterator[None]:
    """Lead while the body runs; for commands that take a pool in hand.

    Raises:
        CommandError: another replica leads, or the lease cannot be had.
    """
    if candidate is None:
        yield
        return
    await _take(candidate, store, clock)
    keeping = asyncio.create_task(_keep(candidate, clock))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await candidate.resign()


async def _take(candidate: Candidate, store: SqlStore, clock: Clock) -> None:
    first = None
    while candidate.lease is None:
        await candidate.step()
        if candidate.error is not None:
            raise CommandError(candidate.error)
        leader = candidate.leader
        first = first or leader
        if candidate.lease is None and leader is not None:
            # One that has crashed shows no other sign of life.
            if leader != first:
                raise CommandError(
                    f"{store} is taken: {leader.holder} leads its pools; stop it first, and all replicas"
                )
            await clock.sleep(candidate.pause)


async def _keep(candidate: Candidate, clock: Clock) -> None:
    while True:
        await clock.sleep(candidate.pause)
        await candidate.step()
