"""The demo itself: submit, watch, kill an agent half-way, wait until the fleet is gone, and account for it."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotsmith.cli.demo.cluster import (
    dask_scheduler,
    end_agents,
    kill_agent,
    processes_left,
    running_scheduler,
    worker_command,
)
from slotsmith.cli.demo.page import make_metrics, page
from slotsmith.cli.demo.show import Outcome, Show
from slotsmith.cli.demo.story import Story, reasons
from slotsmith.cli.demo.work import Piece, count_primes, count_primes_directly, pieces
from slotsmith.clock import Clock, SystemClock
from slotsmith.config import Config, load_config
from slotsmith.config.assembly import UNWATCHED, Assembly
from slotsmith.provisioner import Provisioner
from slotsmith.store.sql import SqlStore, open_store

if TYPE_CHECKING:
    from distributed import Client, Future

POOL = "demo"
SLOTS, MOST = 2, 3
SMALL, LARGE, GANG, WIDTH = 220, 40, 2, 50_000
_ALL = 100_000
LOOK = 0.2
"""Seconds between two looks at what has happened."""
QUIET = 60.0
"""Seconds within which the fleet must be gone once there is nothing to do."""
RESCUE = 20.0
"""Seconds that an interrupted demo gives the pool to end its instances, before they are killed."""

CONFIG = """\
store: {{url: "sqlite:///{directory}/demo.db"}}
pools:
  - name: demo
    scheduler: {{type: dask, address: "{address}", poll_period: 500ms}}
    provider: {{type: local, slots: {slots}, cpus: {slots}, mem_gib: 1, stop_grace: 2s, command: {command}}}
    min_instances: 0
    max_instances: {most}
    max_idle_agent_period: 4s
    max_agent_starting_period: 60s
    max_agent_disconnect_period: 10s
"""


class Demo:
    """One run in a directory of its own."""

    def __init__(self, directory: Path, address: str | None = None) -> None:
        self._directory = directory
        self._address = address
        self._clock: Clock = SystemClock()
        self._began = self._clock.now()
        self._work = pieces(SMALL, LARGE, GANG, WIDTH)
        self._show = Show(len(self._work))
        self._story = Story(lambda at, text: self._show.line(at - self._began, text), MOST)
        self._done: dict[str, tuple[int, float]] = {}
        self._failed: set[str] = set()
        self._killed = ""

    async def play(self) -> bool:
        """Run it; whether everything was as it should be."""
        outcome: Outcome | None = None
        try:
            with self._show:
                outcome = await self._with_scheduler()
        finally:
            await end_agents(self._directory)
            left = await self._settle()
            if outcome is not None:
                self._show.summary(outcome)
            wrong = outcome.wrong if outcome else len(self._failed)
            self._show.last_line(len(self._done), len(self._work), wrong, left)
        return outcome.done == outcome.tasks and outcome.wrong == 0 and left == 0

    def interrupted(self) -> None:
        """Say that the cleaning up has begun; `play` is about to be cancelled."""
        self._tell("interrupted: ending all that was started")

    async def _with_scheduler(self) -> Outcome:
        from distributed import Client

        if self._address is None:
            self._tell("starting a Dask scheduler with no workers")
        scheduler = dask_scheduler(self._directory) if self._address is None else running_scheduler(self._address)
        metrics = asyncio.create_task(make_metrics(self._clock))
        async with scheduler as address:
            config, watch = self._configuration(address), await metrics
            with open_store(config.store.url) as store, Assembly(config, store, watch=watch or UNWATCHED) as assembly:
                async with Client(address, asynchronous=True) as client:
                    if watch is None:
                        return await self._with_pool(assembly, store, client, assembly.provisioner(config.pools[0]))
                    async with page(assembly, watch) as (where, make):
                        self._tell(f"the same on a web page, while it lasts: {where}")
                        return await self._with_pool(assembly, store, client, make())

    async def _with_pool(self, assembly: Assembly, store: SqlStore, client: Client, pool: Provisioner) -> Outcome:
        running = asyncio.create_task(pool.run())
        try:
            try:
                seconds = await self._until_done(store, client, pool)
            finally:
                pool.stop()
                await running
            # Only now is all on record that the pool knew: what it knows is ahead of what is written.
            self._tell_records(store)
            return self._account(store, seconds)
        finally:
            await self._clear(assembly)

    async def _until_done(self, store: SqlStore, client: Client, pool: Provisioner) -> float:
        """Submit, watch, and wait until the fleet is gone; the seconds in which the tasks were done."""
        futures = self._submit(client)
        watching = asyncio.create_task(self._watch(store, pool))
        try:
            await self._collect(futures, pool)
            seconds = self._seconds()
            await self._until_gone(pool)
            return seconds
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _configuration(self, address: str) -> Config:
        file = self._directory / "slotsmith.yaml"
        command = json.dumps(worker_command(address, self._directory))
        file.write_text(
            CONFIG.format(directory=self._directory, address=address, slots=SLOTS, most=MOST, command=command),
            encoding="utf-8",
        )
        return load_config(file)

    def _submit(self, client: Client) -> dict[Future[Any], Piece]:
        import dask

        self._tell(f"submitting {len(self._work)} tasks: {SMALL} of 1 slot, {LARGE} of 2, and {GANG} of 2 as a gang")
        futures = {}
        for piece in self._work:
            # The gang is first in every queue: a member that waits for another one keeps its agent from other work.
            gang = {"gang": "demo", "gang_size": piece.gang, "priority": 1} if piece.gang > 1 else {}
            with dask.annotate(resources={"slot": piece.slots}, **gang):
                futures[client.submit(count_primes, piece, key=piece.name, pure=False)] = piece
        return futures

    async def _collect(self, futures: dict[Future[Any], Piece], pool: Provisioner) -> None:
        from distributed import as_completed

        async for future in as_completed(list(futures)):
            piece = futures[future]
            try:
                # A result that was lost with its agent is awaited until it has been computed again.
                self._done[piece.name] = await future.result()
            except Exception as error:  # noqa: BLE001 - whatever the task raised
                self._failed.add(piece.name)
                self._tell(f"[red]{piece.name} failed: {error!r}[/red]")
                continue
            # What is done is let go of, so that no agent is kept for results that nobody needs any more.
            future.release()
            if not self._killed and len(self._done) >= len(self._work) // 2:
                self._kill_one(pool)

    def _kill_one(self, pool: Provisioner) -> None:
        victim = next((agent for agent in pool.agents if not agent.idle), None)
        if victim is not None:
            self._killed = victim.name
            kill_agent(self._directory, victim.name)
            self._tell(f"[red]{victim.name} is killed by the demo; its work is done again[/red]")

    async def _until_gone(self, pool: Provisioner) -> None:
        self._tell("all tasks are done; the agents fall idle and are given up")
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                while pool.instances:
                    await self._clock.sleep(LOOK)

    async def _watch(self, store: SqlStore, pool: Provisioner) -> None:
        while True:
            info, summary = pool.scaling_info, store.summary(POOL)
            self._tell_records(store)
            self._story.agents(pool.agents, summary, self._clock.now())
            waiting = sum(kind.count * kind.gang for kind in info.tasks) if info else 0
            agents = {agent.name: agent for agent in pool.agents}
            self._show.draw(self._seconds(), len(self._done), waiting, summary, agents)
            await self._clock.sleep(LOOK)

    def _tell_records(self, store: SqlStore) -> None:
        self._story.records(store.decisions(POOL, limit=_ALL), store.moves(POOL, limit=_ALL))

    def _tell(self, text: str) -> None:
        self._show.line(self._seconds(), text)

    def _seconds(self) -> float:
        return self._clock.now() - self._began

    def _account(self, store: SqlStore, seconds: float) -> Outcome:
        directly = count_primes_directly(self._work)
        slots = {piece.name: piece.slots for piece in self._work}
        spans = store.spans(POOL, 0.0, math.inf)
        ids = [span.instance_id for span in spans]
        return Outcome(
            tasks=len(self._work),
            done=len(self._done),
            wrong=sum(count != directly[name] for name, (count, _) in self._done.items()) + len(self._failed),
            found=sum(count for count, _ in self._done.values()),
            expected=sum(directly.values()),
            slot_seconds=sum(spent * slots[name] for name, (_, spent) in self._done.items()),
            slots=SLOTS,
            spans=spans,
            reasons=reasons(ids, store.decisions(POOL, limit=_ALL), store.moves(POOL, limit=_ALL)),
            killed=self._killed,
            seconds=seconds,
        )

    async def _clear(self, assembly: Assembly) -> None:
        """End whatever the pool still has: nothing when all went well, everything after an interruption."""
        pool = assembly.provisioner(assembly.config.pools[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(RESCUE):
                await pool.setup()
                await pool.down(force=True)
        await pool.close()

    async def _settle(self) -> int:
        """The number of processes left, once those that are ending have ended."""
        left = processes_left(self._directory)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while left:
                    await self._clock.sleep(0.1)
                    left = processes_left(self._directory)
        return left
