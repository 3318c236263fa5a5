"""The real store under a simulated disk: one thread that takes its calls in order, slowly at times, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from slotsmith.clock import Clock, Random
from slotsmith.simulation.events import FAULT, EventLog
from slotsmith.simulation.generation import Generation
from slotsmith.simulation.watch import SOON, Watch
from slotsmith.store.base import Changes, PoolBooks, Store, StoreError
from slotsmith.store.schema import metadata
from slotsmith.store.sql import SqlStore, open_store

T = TypeVar("T")

DEADLINE: Final = 30.0
"""Seconds after which a caller of the store no longer waits; that of the thread used in earnest."""


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """How the store fails. Rates are per call; `latency` and `longest_hang` in seconds.

    `latency`: how long a call takes at most, when nothing fails.
    """

    busy: float = 0.0
    full: float = 0.0
    late: float = 0.0
    latency: float = 0.0
    longest_hang: float = 90.0


NO_STORE_FAULTS: Final = StoreFaults()

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "store_busy": "another program keeps the store locked: the call fails and nothing is written",
        "store_full": "the disk is full at a write: it fails and nothing is written",
        "store_late": "the disk hangs: the caller gives up, and what was to be written is written later",
    }
)
"""The catalogue: name -> what happens."""

_kept: list[SqlStore] = []


def fresh_store() -> SqlStore:
    """An empty store in memory. There is one for each process, as migrations take longer than most runs."""
    if not _kept:
        _kept.append(open_store("sqlite://"))
    store = _kept[0]
    with store._engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return store


_LONGEST_QUEUE: Final = 120.0
"""Seconds for which calls wait for one another, from which on no further one hangs."""


class Disk:
    """What is wrong with the disk at each call. It outlives the generations."""

    def __init__(self, faults: StoreFaults, random: Random, log: EventLog) -> None:
        self.troubled_at = -1.0
        self.watches: Mapping[str, Watch] = {}
        self._faults = faults
        self._latency = faults.latency
        self._random = random
        self._log = log

    def stop_faults(self) -> None:
        """From now on every call works, as slowly as before."""
        self._faults = StoreFaults()

    def delay(self) -> float:
        """Seconds that the next call takes."""
        faults = self._faults
        if faults.late and self._random.random() < faults.late:
            # Most hangs are longer than anybody waits for an answer; some are just long.
            self._log.tell(FAULT + "store_late")
            return round(self._random.uniform(5.0, faults.longest_hang), 3)
        return round(self._random.uniform(0.0, self._latency), 3) if self._latency else 0.0

    def fail(self, *, writing: bool) -> None:
        """Raises `StoreError` when the next call fails."""
        faults = self._faults
        if faults.busy and self._random.random() < faults.busy:
            self._fault("store_busy")
            raise StoreError("sqlite:// is locked by another program: stop that program, or wait until it is done")
        if writing and faults.full and self._random.random() < faults.full:
            self._fault("store_full")
            raise StoreError("sqlite:// has no room: its disk is full; free some space, then try again")

    def hangs(self, seconds: float) -> None:
        """Nothing is answered for so long."""
        self.troubled_at = max(self.troubled_at, self._log.elapsed + seconds)
        for watch in self.watches.values():
            watch.store_troubled(seconds)

    def _fault(self, name: str) -> None:
        self._log.tell(FAULT + name)
        self.hangs(0.0)


class SimulatedRunner:
    """A `StoreRunner` for one generation: calls happen in order, also those whose callers have given up."""

    def __init__(self, generation: Generation, disk: Disk, clock: Clock, *, deadline: float = DEADLINE) -> None:
        self._generation = generation
        self._deadline = deadline
        self._disk = disk
        self._clock = clock
        self._free_at = 0.0
        self._waiting = 0
        self._kept: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._later: asyncio.Future[None] | None = None

    async def __call__(self, call: Callable[[], T]) -> T:
        await self._generation.going_on()
        loop = asyncio.get_running_loop()
        # What waits already hangs long enough: otherwise a bad disk would go on hanging long after it was mended.
        delay = self._disk.delay() if self._free_at < loop.time() + _LONGEST_QUEUE else 0.0
        if not delay and not self._waiting:
            return call()
        answer: asyncio.Future[T] = loop.create_future()
        self._free_at = max(self._free_at, loop.time()) + delay
        self._waiting += 1
        if (lasts := self._free_at - loop.time()) >= SOON:
            # One that hangs keeps all that come after it.
            self._disk.hangs(lasts)
        loop.call_at(self._free_at, self._serve, call, answer)
        try:
            done, _ = await asyncio.wait([answer], timeout=self._deadline)
            await self._generation.going_on()
            if not done and not answer.done():
                raise StoreError(
                    f"the store has not answered for {self._deadline:g} s, and what was to be written may yet be"
                )
            return answer.result()
        finally:
            answer.cancel()

    def close(self) -> None:
        """Nothing to let go of."""

    def _serve(self, call: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        if self._generation.still:
            # Its thread stands still as well.
            self._kept.append((call, answer))
            if len(self._kept) == 1:
                self._later = asyncio.ensure_future(self._serve_kept())
            return
        self._waiting -= 1
        if not self._generation.alive:
            return
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the answer
            if not answer.done():
                answer.set_exception(error)
        except asyncio.CancelledError:
            answer.cancel()  # it has died of this call
        else:
            if not answer.done():
                answer.set_result(result)

    async def _serve_kept(self) -> None:
        await self._generation.going_on()
        kept, self._kept = self._kept, []
        for call, answer in kept:
            self._serve(call, answer)


class StorePort:
    """The store as one generation sees it. Everything that is written passes here, and is shown to the watches."""

    def __init__(self, store: Store, generation: Generation, disk: Disk, watches: Mapping[str, Watch]) -> None:
        self._store = store
        self._generation = generation
        self._disk = disk
        self._watches = watches

    def __getattr__(self, name: str) -> Any:
        """What only reads, and is not written about here."""
        return getattr(self._store, name)

    def load(self, pool: str) -> PoolBooks:
        """The books of a pool."""
        self._generation.check()
        self._generation.maybe_die("before", "load")
        self._disk.fail(writing=False)
        books = self._store.load(pool)
        self._watches[pool].loaded(books)
        self._generation.maybe_die("after", "load")
        return books

    def commit(self, changes: Changes) -> None:
        """Write, or fail, or die before or after."""
        generation, point = self._generation, "intent_commit" if changes.must_be_durable else "commit"
        generation.check()
        generation.maybe_die("before", point)
        self._disk.fail(writing=True)
        generation.fence()
        self._store.commit(changes)
        watch = self._watches[changes.pool]
        if not generation.leads:
            watch.violated("I3", "a process that does not lead has written")
        watch.committed(changes)
        generation.maybe_die("after", point)
