"""One pool's loop: observe, decide, record, act, confirm.

A reader who wants to know the system reads `Provisioner._pass`. Everything slow happens beside it, in tasks of its
own: reading the provider and the scheduler (`observer`), launching (`launching`), terminating (`terminating`). So a
push is never kept waiting by a cloud call, and no pool waits for another.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from slotsmith.clock import Clock, IdSource, Random
from slotsmith.core.backoff import launch_error
from slotsmith.core.decider import View, decide
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason, Termination
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import Provider, ProviderError
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.faults import describe
from slotsmith.provisioner.launching import Launcher
from slotsmith.provisioner.observer import Observation, Observer
from slotsmith.provisioner.recorder import Recorder
from slotsmith.provisioner.summary import summarize
from slotsmith.provisioner.telemetry import Telemetry, TelemetrySink, log_sink
from slotsmith.provisioner.terminating import Terminator
from slotsmith.schedulers.base import Scheduler, TakesViews
from slotsmith.store.base import Store, StoreError, StoreRunner

LIST_DEADLINE: Final = 60.0
"""Seconds for one listing of the provider."""
VIEW_DEADLINE: Final = 30.0
"""Seconds for one read of the scheduler's view."""
SETUP_DEADLINE: Final = 60.0
"""Seconds for the set-up of the provider or of the scheduler connector."""
STOP_GRACE: Final = 10.0
"""Seconds for which a stop waits for calls under way; what is cut off then is carried on at the next start."""
GATHER: Final = 0.001
"""Seconds for which a pass waits for more of the same: several pushes are one pass."""
HEARTBEAT: Final = 5.0
"""Seconds between two signs of life in the store, at most."""
SUMMARY_PERIOD: Final = 0.5
"""Seconds between two summaries, when there has been a pass in between."""
_SLOWEST_SETUP_RETRY: Final = 30.0
_STORE_RETRY: Final = 1.0


class Provisioner:
    """Keeps one pool exactly as large as its scheduler's pending tasks need.

    `setup` once, then `run` until `stop`; or, for those who bring their own loop, `setup` and then `provision`, which
    is one pass with everything it leads to. All public properties answer at once, from what was last read.
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
    ) -> None:
        self.pool = pool
        self.policy = policy
        self._provider = provider
        self._scheduler = scheduler
        self._store = store
        self._run_store = run_store
        self._clock = clock
        self._random = random
        self._new_id = new_id
        self._telemetry = Telemetry(pool, telemetry)
        self._log = structlog.get_logger("slotsmith").bind(pool=pool)
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._termination_due = asyncio.Event()
        self._actions: set[asyncio.Task[None]] = set()
        self._offering: Offering | None = None
        self._books: Books | None = None
        self._last: Decision | None = None
        self._scheduler_ready = False
        self._listings: Observer[tuple[Instance, ...]] = Observer(
            "listing the provider",
            self._read_listing,
            period=provider.poll_period,
            deadline=LIST_DEADLINE,
            clock=clock,
            on_news=self._woken.set,
            log=self._log,
        )
        self._views: Observer[ScalingInfo | None] = Observer(
            "reading the scheduler",
            self._read_view,
            period=scheduler.poll_period,
            deadline=VIEW_DEADLINE,
            clock=clock,
            on_news=self._woken.set,
            log=self._log,
        )

    # The public verbs

    def provider_changed(self) -> None:
        """The provider's listing has changed: read it soon. For `ProviderContext.wake`."""
        self._listings.refresh()

    def scheduler_changed(self) -> None:
        """The scheduler's view has changed: read it soon. For `SchedulerContext.wake`."""
        self._views.refresh()

    def update_scaling_info(self, info: ScalingInfo) -> bool:
        """Take a view from a scheduler that pushes; a pass follows at once. False = it equals the last one.

        Raises:
            TypeError: the pool's scheduler is one that is read, not one that pushes.
        """
        if not isinstance(self._scheduler, TakesViews):
            raise TypeError(f"the scheduler of pool {self.pool} is read by its connector, so nothing can be pushed")
        if not self._scheduler.push(info):
            return False
        self._views.latest = Observation(info, self._clock.now())
        self._woken.set()
        return True

    @property
    def slots_per_instance(self) -> int:
        """The slots of the instances that this pool launches; 0 before `setup`."""
        return self._offering.capacity.slots if self._offering else 0

    @property
    def current_slot_count(self) -> int:
        """The slots of all instances that are starting or running now."""
        at_work = [i for i in self.instances if i.state in (InstanceState.STARTING, InstanceState.RUNNING)]
        return sum(i.capacity.slots if i.capacity else self.slots_per_instance for i in at_work)

    @property
    def instance_type(self) -> str:
        """The name of the instance type that this pool launches; empty before `setup`."""
        return self._offering.instance_type if self._offering else ""

    @property
    def launch_error(self) -> str | None:
        """The launch error in force, None when launches work or may be tried."""
        if self._books is None or self._offering is None:
            return None
        return launch_error(
            self._books.failures_of(self._offering),
            retries=self.policy.launch_error_retries,
            timeout=self.policy.launch_error_timeout,
            now=self._clock.now(),
        )

    @property
    def instances(self) -> Sequence[Instance]:
        """What was listed last, and what is on its way out."""
        return self._books.fleet.instances if self._books else ()

    @property
    def scaling_info(self) -> ScalingInfo | None:
        """The scheduler's last view; None = it has not said anything yet."""
        return self._views.latest.value if self._views.latest else None

    @property
    def agents(self) -> Sequence[Agent]:
        """The agents of the last view."""
        return self.scaling_info.agents if self.scaling_info else ()

    @property
    def last_decision(self) -> Decision | None:
        """The decision of the last pass."""
        return self._last

    async def setup(self) -> None:
        """Read the books and prepare the provider.

        Raises:
            StoreError: the books cannot be read.
            ProviderError: the provider cannot work as it is configured.
        """
        async with asyncio.timeout(SETUP_DEADLINE):
            await self._provider.setup()
        self._offering = self._provider.offerings()[0]
        now = self._clock.now()
        kept = await self._run_store(lambda: self._store.load(self.pool))
        spans = await self._run_store(lambda: self._store.spans(self.pool, now, math.inf))
        self._books = Books(
            self.pool,
            kept,
            [span for span in spans if span.end is None],
            consistency_window=self._provider.consistency_window,
            random=self._random,
            log=self._log,
        )
        self._recorder = Recorder(
            self.pool, self.policy, self._books, self._store, self._run_store, clock=self._clock, log=self._log
        )
        self._launcher = Launcher(
            self._books,
            self._provider,
            clock=self._clock,
            random=self._random,
            save=self._recorder.save,
            on_answer=self._listings.refresh,
            log=self._log,
        )
        self._terminator = Terminator(
            self._books,
            self._provider,
            self._scheduler,
            max_instances=self.policy.max_instances,
            clock=self._clock,
            random=self._random,
            save=self._recorder.save,
            on_answer=self._listings.refresh,
            log=self._log,
        )

    async def run(self) -> None:
        """Work until `stop`; instances stay. Trouble with the provider, scheduler or store is waited out."""
        if self._books is None and not await self._set_up_patiently():
            return
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._listings.run(),
                self._views.run(),
                self._loop(),
                self._terminate_forever(),
                self._summarize_forever(),
            )
        ]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            self._resume_launches()
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # a fault of our own, which must not be silent
        finally:
            await self._wind_down([*tasks, stopped])

    def stop(self) -> None:
        """Let `run` return soon. Calls under way are finished or stay on record as unanswered."""
        self._stopping.set()

    async def provision(self) -> Decision | None:
        """One pass, from a fresh listing to the end of all that it leads to. None when the listing fails."""
        await self._listings.read_once()
        await self._views.read_once()
        decision = None if self._listings.error else await self._pass()
        await self._terminator.step()
        while self._actions:
            await asyncio.wait(self._actions)
        return decision

    async def preview(self) -> Decision:
        """What a pass would do now; nothing is written, launched or terminated.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        await self._read_both()
        now = self._clock.now()
        return decide(self._observe(now), self.policy, now)

    async def strays(self) -> Sequence[Instance]:
        """What is listed under our tags and is not known to the books.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        await self._read_both()
        books = self._require_books()
        self._observe(self._clock.now())
        return [instance for instance in books.fleet.instances if instance.id in books.strays]

    async def adopt(self) -> int:
        """Take all strays into the books, as ours; how many there were."""
        found = await self.strays()
        self._require_books().adopt()
        await self._recorder.save()
        await self._summarize(stopped=True)
        return len(found)

    async def down(self, *, force: bool = False, progress: Callable[[int], None] = lambda _: None) -> int:
        """Terminate every instance of the pool and wait until all are gone; how many there were.

        Busy agents finish their tasks first, unless `force`. `progress` is told how many are left.

        Raises:
            ProviderError: the instances cannot be listed.
        """
        books = self._require_books()
        # A launch that was never answered may yet bring instances: only asking again tells which.
        self._resume_launches()
        await self._read_both()
        first: int | None = None
        while True:
            now = self._clock.now()
            self._observe(now)
            left = [i.id for i in books.fleet.instances if i.id not in books.strays]
            first = len(left) if first is None else first
            progress(len(left))
            if not left and not books.in_flight():
                await self._recorder.save()
                await self._summarize(stopped=True)
                return first
            fresh = tuple(Termination(i, Reason.OPERATOR) for i in left if i not in books.terminations)
            books.begin_terminations(Decision(now, terminations=fresh), drain=not force)
            wait = await self._terminator.step()
            await self._clock.sleep(min(0.2 if wait is None else wait, 0.2))
            await self._read_both()

    async def close(self) -> None:
        """Let go of the provider's and the scheduler's connections."""
        await self._scheduler.close()
        await self._provider.close()

    # The five steps of a pass

    async def _pass(self) -> Decision:
        now = self._clock.now()
        view = self._observe(now)
        decision = decide(view, self.policy, now)
        intents = self._intents(decision)
        await self._record(view, decision, intents)
        self._act(intents)
        return decision

    def _observe(self, now: float) -> View:
        books, listing, info = self._require_books(), self._listings.latest, self.scaling_info
        if listing is not None:
            books.observe(listing.value, listing.began, None if info is None else info.agents, now)
        return books.view(self._require_offering(), info, blind=self._blind, now=now)

    def _intents(self, decision: Decision) -> list[LaunchIntent]:
        return [
            LaunchIntent(self._new_id(), self.pool, launch.offering, launch.count, decision.at, launch.reason)
            for launch in decision.launches
        ]

    async def _record(self, view: View, decision: Decision, intents: list[LaunchIntent]) -> None:
        """Write what has been seen and decided; without that on record, nothing is done."""
        books = self._require_books()
        if await self._recorder.decided(view, decision, intents):
            self._tell(decision)
        books.add_intents(intents)
        books.begin_terminations(decision)
        self._last = decision
        self._telemetry.report(view.fleet, view.offering, decision.at)

    def _act(self, intents: list[LaunchIntent]) -> None:
        for intent in intents:
            self._start(self._launcher.carry_out(intent))
        if self._require_books().terminations or any(agent.draining for agent in self.agents):
            self._termination_due.set()

    # Around the pass

    async def _loop(self) -> None:
        """Pass after pass: when woken, when a period ends, and for a sign of life."""
        while True:
            await self._wait_for_reason()
            if self._listings.latest is None:
                continue
            try:
                await self._pass()
            except StoreError as error:
                # Nothing was launched that is not on record; what was seen is still pending.
                self._recorder.failed(error)
                await self._clock.sleep(_STORE_RETRY)
                self._woken.set()

    async def _wait_for_reason(self) -> None:
        now = self._clock.now()
        deadline = now + HEARTBEAT
        if self._last is not None and self._last.next_deadline is not None:
            # Periods are over strictly after their end.
            deadline = min(deadline, self._last.next_deadline + 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - now)):
                await self._woken.wait()
        await self._clock.sleep(GATHER)
        self._woken.clear()

    async def _summarize_forever(self) -> None:
        """Keep `status`, `explain` and the sign of life current, beside the passes and never in their way."""
        told: Decision | None = None
        while True:
            await self._clock.sleep(SUMMARY_PERIOD)
            if self._last is not told:
                told = self._last
                try:
                    await self._summarize()
                except StoreError as error:
                    self._recorder.failed(error)

    async def _summarize(self, *, stopped: bool = False) -> None:
        books, decision = self._require_books(), self._last or Decision(self._clock.now())
        view = books.view(self._require_offering(), self.scaling_info, blind=self._blind, now=decision.at)
        summary = summarize(
            view, self.policy, decision, books.terminations, self.launch_error, self._listings, self._views
        )
        await self._recorder.summarize({**summary, "stopped": stopped})

    async def _terminate_forever(self) -> None:
        while True:
            self._termination_due.clear()
            try:
                wait = await self._terminator.step()
            except StoreError as error:
                self._recorder.failed(error)
                wait = _STORE_RETRY
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._termination_due.wait()

    def _resume_launches(self) -> None:
        """Ask again for every intent that an earlier run left unanswered, under its own token."""
        for intent in self._require_books().intents.values():
            if intent.state is IntentState.OPEN:
                self._log.info("resuming a launch", token=intent.token, count=intent.count)
                self._start(self._launcher.carry_out(intent))

    async def _set_up_patiently(self) -> bool:
        """Set up, however long it takes; False when stopped before."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await self.setup()
                return True
            except Exception as error:  # noqa: BLE001 - a pool whose provider or store is not ready waits for it
                text = describe(error, SETUP_DEADLINE)
                failures += 1
                self._log.error("cannot start yet, trying again", error=text)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_SLOWEST_SETUP_RETRY, 2.0 ** (failures - 1))):
                    await self._stopping.wait()
        return False

    async def _wind_down(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._actions:
            await asyncio.wait(self._actions, timeout=STOP_GRACE)
        for action in self._actions:
            action.cancel()
        await asyncio.gather(*self._actions, return_exceptions=True)
        try:
            await self._recorder.save()
            await self._summarize(stopped=True)
        except StoreError as error:
            self._recorder.failed(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(work))
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreError as error:
            # What happened stays pending and is written with the next changes.
            self._recorder.failed(error)

    async def _read_listing(self) -> tuple[Instance, ...]:
        return tuple(await self._provider.list_instances())

    async def _read_view(self) -> ScalingInfo | None:
        if not self._scheduler_ready:
            async with asyncio.timeout(SETUP_DEADLINE):
                await self._scheduler.setup()
            self._scheduler_ready = True
        return await self._scheduler.scaling_info()

    async def _read_both(self) -> None:
        await asyncio.gather(self._listings.read_once(), self._views.read_once())
        if self._listings.error is not None:
            raise ProviderError(ErrorKind.TRANSIENT, f"the instances cannot be listed: {self._listings.error}")

    @property
    def _blind(self) -> bool:
        return self.scaling_info is None or self._views.error is not None

    def _tell(self, decision: Decision) -> None:
        """Log what is new in a decision: transitions, not states."""
        for launch in decision.launches:
            self._log.info("launching", count=launch.count, offering=launch.offering.name, reason=launch.reason)
        for termination in decision.terminations:
            self._log.info("giving up", id=termination.id, reason=termination.reason.value)
        for unmet in decision.unmet:
            self._log.warning("unmet", what=str(unmet.tasks or unmet.count), reason=unmet.reason)

    def _require_books(self) -> Books:
        if self._books is None:
            raise RuntimeError("the provisioner is used before setup()")
        return self._books

    def _require_offering(self) -> Offering:
        if self._offering is None:
            raise RuntimeError("the provisioner is used before setup()")
        return self._offering
