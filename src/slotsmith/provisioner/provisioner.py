"""The public face of one pool: set up, run, stop, and what can be asked of it meanwhile.

What a pass does stands in `pool`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

import structlog

from slotsmith.clock import Clock, IdSource, Random
from slotsmith.core.rules import SLOTSMITH, Rules
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reservation
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.policy import Policy, Window
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import Provider
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.foreseeing import Foreseeing
from slotsmith.provisioner.observer import Surroundings
from slotsmith.provisioner.operating import Operating
from slotsmith.provisioner.pace import Pace
from slotsmith.provisioner.paid_time import PAID
from slotsmith.provisioner.pool import Pool
from slotsmith.provisioner.recorder import FULL_BOOKKEEPING, Bookkeeping, Recorder
from slotsmith.provisioner.running import Running, Waking
from slotsmith.provisioner.sale import Sale
from slotsmith.provisioner.schedule import Schedule, month_of
from slotsmith.provisioner.searching import Searcher, Searching
from slotsmith.provisioner.telemetry import Telemetry, TelemetrySink, log_sink
from slotsmith.provisioner.unready import Unready
from slotsmith.schedulers.base import DrainAnswer, DrainRequest, ListsDrains, Scheduler
from slotsmith.store.base import Store, StoreRunner

SETUP_DEADLINE: Final = 60.0
"""Seconds for the set-up of the provider."""


class Provisioner:
    """Keeps one pool exactly as large as its scheduler's pending tasks need.

    `run` until `stop`; or, for those who bring their own loop, `setup` and then `provision`, which is one pass with
    everything it leads to. All properties answer at once, from what was last read. `on_pass` is told how long each
    pass took, in seconds; `around_pass` goes around each, given its number.
    """

    def __init__(
        self,
        pool: str,
        policy: Policy,
        *,
        provider: Provider,
        scheduler: Scheduler,
        store: Store,
        run_store: StoreRunner,
        clock: Clock,
        random: Random,
        new_id: IdSource,
        telemetry: TelemetrySink = log_sink,
        rules: Rules = SLOTSMITH,
        bookkeeping: Bookkeeping = FULL_BOOKKEEPING,
        windows: Sequence[Window] = (),
        move_windows: Sequence[Window] = (),
        on_pass: Callable[[float], None] = lambda _: None,
        around_pass: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
        pace: Pace | None = None,
        searcher: Searcher | None = None,
    ) -> None:
        self.pool = pool
        self._schedule = Schedule(policy, windows, move_windows)
        self._provider = provider
        self._scheduler = scheduler
        # Looked at with each push, and what a class has takes a while to tell.
        self._lists_drains = scheduler if isinstance(scheduler, ListsDrains) else None
        self._store = store
        self._run_store = run_store
        self._clock = clock
        self._random = random
        self._new_id = new_id
        self._telemetry = Telemetry(pool, telemetry)
        self._rules = rules
        self._bookkeeping = bookkeeping
        self._log = structlog.get_logger("slotsmith").bind(pool=pool)
        self._waking = Waking()
        search = partial(searcher, rules.search) if searcher and rules.search else None
        self._searching = Searching(search, self._waking.news, self._log)
        self._stopping = asyncio.Event()
        self._surroundings = Surroundings(
            provider, scheduler, clock=clock, on_listing=self._listed, on_news=self._waking.wake, log=self._log
        )
        self._ready: Pool | None = None
        self._pace = pace or Pace()
        self._on_pass = on_pass
        self._around_pass = around_pass
        self._there_until: dict[str, float] = {}
        self.operating = Operating(
            pool, self._schedule, store=store, run_store=run_store, clock=clock, wake=self._waking.wake
        )

    # What others tell it

    def provider_changed(self) -> None:
        """The provider's listing has changed: read it soon. For `ProviderContext.wake`."""
        self._surroundings.listings.refresh()

    def scheduler_changed(self) -> None:
        """The scheduler's view has changed: read it soon. For `SchedulerContext.wake`."""
        self._surroundings.scheduler_changed()

    def update_scaling_info(self, info: ScalingInfo) -> bool:
        """Take a view from a scheduler that pushes; a pass follows at once. False = it equals the last one.

        Raises:
            TypeError: the pool's scheduler is one that is read, not one that pushes.
        """
        if self._ready is None:
            self._note_agents()
        return self._surroundings.push(info)

    def _note_agents(self) -> None:
        # While the pool is not ready nobody else takes them in; the statistics end where their last sign of life was.
        self._there_until.update((agent.name, self._clock.now()) for agent in self.agents)

    # What it tells others

    @property
    def policy(self) -> Policy:
        """The limits and periods that are in force now."""
        return self._schedule.at(self._clock.now())

    @property
    def slots_per_instance(self) -> int:
        """The slots of an instance of the first offering; 0 before `setup`."""
        return self._ready.offering.capacity.slots if self._ready else 0

    @property
    def current_slot_count(self) -> int:
        """The slots of all instances that are starting or running now."""
        at_work = [i for i in self.instances if i.state in (InstanceState.STARTING, InstanceState.RUNNING)]
        slots = {each.name: each.capacity.slots for each in self._ready.offerings} if self._ready else {}
        return sum(i.capacity.slots if i.capacity else slots.get(i.offering, self.slots_per_instance) for i in at_work)

    @property
    def instance_type(self) -> str:
        """The name of the first instance type that this pool can launch; empty before `setup`."""
        return self._ready.offering.instance_type if self._ready else ""

    @property
    def launch_error(self) -> str | None:
        """The launch error in force, None when launches work or may be tried."""
        return self._ready.launch_error if self._ready else None

    @property
    def store_error(self) -> str | None:
        """Why the store fails, so that nothing is launched; None = it works, as far as is known."""
        return self._ready.recorder.error if self._ready else None

    @property
    def instances(self) -> Sequence[Instance]:
        """What was listed last, and what is on its way out."""
        return self._ready.instances if self._ready else ()

    @property
    def scaling_info(self) -> ScalingInfo | None:
        """The scheduler's last view; None = it has not said anything yet."""
        return self._surroundings.info

    @property
    def agents(self) -> Sequence[Agent]:
        """The agents of the last view."""
        return self.scaling_info.agents if self.scaling_info else ()

    @property
    def drains(self) -> Sequence[DrainRequest]:
        """The agents that a scheduler that pushes is asked to give up."""
        return self._lists_drains.drains() if self._lists_drains else ()

    @property
    def reservations(self) -> Sequence[Reservation]:
        """The idle agents that gangs are waiting with, as of the last pass."""
        return self._ready.last.reservations if self._ready and self._ready.last else ()

    def acknowledge(self, answers: Mapping[str, DrainAnswer]) -> Sequence[str]:
        """What a scheduler that pushes says of agents; the names of those that it was not asked for.

        Raises:
            TypeError: the pool's scheduler is one that is asked.
        """
        if self._lists_drains is None:
            raise TypeError("this pool's scheduler is asked by its connector, so nothing can be acknowledged")
        strange = self._lists_drains.acknowledge(answers)
        if self._ready:
            self._ready.drain_due.set()
        return strange

    async def summary(self) -> Mapping[str, Any] | None:
        """How the pool stands, with all its instances; None before `setup`. See `docs/operations.md`."""
        return await self._ready.whole_summary() if self._ready else None

    async def consider(self, info: ScalingInfo) -> Decision | None:
        """What a pass would decide now for another view, beside the event loop; None before `setup`."""
        return await self._ready.consider(info) if self._ready else None

    @property
    def last_decision(self) -> Decision | None:
        """The decision of the last pass."""
        return self._ready.last if self._ready else None

    # Its life

    async def setup(self) -> None:
        """Prepare the provider and read the books.

        Raises:
            ProviderError: the provider cannot work as it is configured.
            StoreError: the books cannot be read.
        """
        async with asyncio.timeout(SETUP_DEADLINE):
            await self._provider.setup()
        sale = Sale(self._provider, self._log)
        now = self._clock.now()
        kept = await self._run_store(lambda: self._store.load(self.pool))
        self.operating.take_over(kept.steering)
        # Those that are (or may be) down may be started again, and are not paid for twice.
        down = [record.first_seen for record in kept.instances if record.instance.state not in PAID]
        month = month_of(now)
        since = min([now, month, *down])
        spans = await self._run_store(lambda: self._store.spans(self.pool, since, math.inf))
        books = Books(
            self.pool,
            kept,
            spans,
            offerings=sale.offerings,
            month=month,
            consistency_window=self._provider.consistency_window,
            max_idle_agent_period=self.policy.max_idle_agent_period,
            random=self._random,
            on_change=self._waking.wake_at_once,
            log=self._log,
        )
        self._note_agents()
        books.heard_before(self._there_until)
        self._ready = Pool(
            self.pool,
            self._schedule,
            sale,
            books,
            self._surroundings,
            Recorder(
                self.pool,
                books,
                self._store,
                self._run_store,
                bookkeeping=self._bookkeeping,
                clock=self._clock,
                log=self._log,
            ),
            Foreseeing(kept.foresight, now, save=partial(setattr, books.pending, "foresight"), log=self._log),
            self._searching,
            rules=self._rules,
            provider=self._provider,
            scheduler=self._scheduler,
            clock=self._clock,
            random=self._random,
            new_id=self._new_id,
            telemetry=self._telemetry,
            log=self._log,
        )
        self.operating.ready(self._ready)

    async def run(self) -> None:
        """Work until `stop`; instances stay. Trouble with the provider, scheduler or store is waited out."""
        if self._ready is None:
            unready = Unready(self.pool, self.policy, self._store, self._run_store, self._clock, self._log)
            if not await unready.set_up(self.setup, SETUP_DEADLINE, self._stopping):
                return
        running = Running(
            self._pool,
            self._surroundings,
            self._waking,
            rules=self._rules,
            searching=self._searching,
            pace=self._pace,
            bookkeeping=self._bookkeeping,
            clock=self._clock,
            on_pass=self._on_pass,
            around_pass=self._around_pass,
        )
        await running.until(self._stopping)

    def stop(self) -> None:
        """Let `run` return soon. Calls under way are finished or stay on record as unanswered."""
        self._stopping.set()

    async def close(self) -> None:
        """Let go of the provider's and the scheduler's connections."""
        await self._scheduler.close()
        await self._provider.close()

    async def flush(self) -> None:
        """Write what may still wait to be written.

        Raises:
            StoreError: it stays pending.
        """
        if self._ready is not None:
            await self._ready.recorder.flush()

    # What can be done by hand, while it does not run

    async def provision(self) -> Decision | None:
        """One pass, from a fresh listing to the end of all that it leads to. None when the listing fails.

        Raises:
            StoreError: the decision is not on record, and nothing of it was done.
        """
        await self._surroundings.listings.read_once()
        await self._surroundings.views.read_once()
        self._waking.news.clear()
        decision = None if self._surroundings.listings.error else await self._pool.run_pass()
        await self._pool.terminator.drain()
        await self._pool.terminator.terminate()
        await self._pool.actions_done()
        return decision

    async def preview(self) -> Decision:
        """What a pass would do now; nothing is written, launched or terminated.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        await self._surroundings.read_both()
        now = self._clock.now()
        return self._rules.decide(self._pool.observe(now), self._pool.policy, now)

    async def strays(self) -> Sequence[Instance]:
        """What is listed under our tags and is not known to the books.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        await self._surroundings.read_both()
        self._pool.observe(self._clock.now())
        return [instance for instance in self.instances if instance.id in self._pool.books.strays]

    async def adopt(self) -> int:
        """Take all strays into the books, as ours; how many there were.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        found = await self.strays()
        self._pool.books.adopt(self._clock.now())
        await self._pool.recorder.flush()
        await self._pool.summarize(stopped=True)
        return len(found)

    async def down(self, *, force: bool = False, progress: Callable[[int], None] = lambda _: None) -> int:
        """Terminate every instance of the pool and wait until all are gone; how many there were.

        Busy agents finish their tasks first, unless `force`. `progress` is told how many are left.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        await self._surroundings.read_both()
        return await self._pool.down(force=force, progress=progress)

    def _listed(self, news: bool) -> None:
        if news or (self._ready is not None and self._ready.books.awaits_listing):
            self._waking.wake()

    @property
    def _pool(self) -> Pool:
        if self._ready is None:
            raise RuntimeError("the provisioner is used before setup()")
        return self._ready
