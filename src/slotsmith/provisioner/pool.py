"""One pool that is set up: the five steps of a pass, and what is carried out beside it.

A reader who wants to know the system reads `Pool.run_pass`. Everything slow happens in tasks of its own: reading the
provider and the scheduler (`observer`), launching (`launching`), terminating (`terminating`). So a push is never kept
waiting by a cloud call, and no pool waits for another.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Final

import structlog

from slotsmith.clock import Clock, IdSource, Random
from slotsmith.core.backoff import launch_error_of_all
from slotsmith.core.rules import Rules
from slotsmith.core.steering import held_back
from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Reason, Termination, Unmet
from slotsmith.model.instance import Instance
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.record import Phase
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.steering import UNSTEERED, Steering
from slotsmith.providers.base import Provider
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.foreseeing import Foreseeing
from slotsmith.provisioner.launching import Launcher
from slotsmith.provisioner.observer import Surroundings
from slotsmith.provisioner.recorder import Recorder
from slotsmith.provisioner.sale import Sale
from slotsmith.provisioner.schedule import Schedule, month_of
from slotsmith.provisioner.searching import Searching
from slotsmith.provisioner.summary import MOST_INSTANCES, summarize
from slotsmith.provisioner.telemetry import Telemetry
from slotsmith.provisioner.terminating import Terminator
from slotsmith.schedulers.base import Scheduler
from slotsmith.store.base import StoreError

STOP_GRACE: Final = 10.0
"""Seconds for which a stop waits for calls under way; what is cut off then is carried on at the next start."""
PROMISE_HOLDS: Final = 600.0
"""Seconds after the starting period for which a launch is remembered to be for certain tasks, at most: until then its
agents have joined, and the scheduler has decided what lies where."""
FEW_KINDS: Final = 64
"""For more kinds of tasks than this a decision is made beside the event loop: it may take a tenth of a second."""
_DOWN_LOOK: Final = 0.2


class Pool:
    """The working parts of one pool, and what they do together."""

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        sale: Sale,
        books: Books,
        surroundings: Surroundings,
        recorder: Recorder,
        foreseeing: Foreseeing,
        searching: Searching,
        *,
        rules: Rules,
        provider: Provider,
        scheduler: Scheduler,
        clock: Clock,
        random: Random,
        new_id: IdSource,
        telemetry: Telemetry,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.books = books
        self.recorder = recorder
        self.last: Decision | None = None
        self.drain_due = asyncio.Event()
        self.termination_due = asyncio.Event()
        self._name = name
        self._schedule = schedule
        self._sale = sale
        self._surroundings = surroundings
        self._foreseeing = foreseeing
        self._searching = searching
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._telemetry = telemetry
        self._log = log
        self._steering = UNSTEERED
        self._actions: set[asyncio.Task[None]] = set()
        relist = surroundings.listings.refresh
        self._launcher = Launcher(
            books,
            provider,
            clock=clock,
            random=random,
            save=self._save,
            on_answer=relist,
            log=log,
        )
        self.terminator = Terminator(
            books,
            provider,
            scheduler,
            max_instances=lambda: self.policy.max_instances,
            last_heard=lambda: () if surroundings.info is None else surroundings.info.agents,
            clock=clock,
            random=random,
            save=recorder.save,
            on_drain_due=self.drain_due.set,
            on_release=self.termination_due.set,
            on_answer=relist,
            log=log,
        )

    # The five steps of a pass

    async def run_pass(self) -> Decision:
        """Observe, decide, record, act; the listings that follow confirm.

        Raises:
            StoreError: the decision is not on record, and nothing of it was done.
        """
        view, policy, decision = await self._decide()
        if self._searching.pays(decision):
            better = await self._searching.better(view, policy, decision)
            view, policy, decision = (view, policy, better) if better else await self._decide()
        intents = self._intents(decision)
        await self._record(view, policy, decision, intents)
        self._act(intents)
        return decision

    async def _decide(self) -> tuple[View, Policy, Decision]:
        now = self._clock.now()
        view = self.observe(now)
        policy = self._foreseeing.look(view, self._schedule.at(now), now)
        decide = partial(self._rules.decide, view, policy, now)
        # All that is decided from is frozen, so what comes meanwhile is taken in as if it had come after the decision.
        decision = decide() if len(view.info.tasks) <= FEW_KINDS else await asyncio.to_thread(decide)
        if self._steering.pause is not None:
            decision = held_back(decision, self._steering.pause)
        return view, policy, decision

    def observe(self, now: float) -> View:
        """Take in what was read last, and what may be launched now."""
        if self._sale.look():
            self.books.price(self.offerings)
        listing, info = self._surroundings.listings.latest, self._surroundings.info
        if listing is not None:
            self.books.observe(listing.value, listing.began, None if info is None else info.agents, now)
        elif info is not None:
            self.books.hear(info.agents, now)
        if self.policy.consolidation is not None and info is not None:
            self.books.moving.heard(info.agents, now)
        if self.books.listing_is_due(now):
            # The next look at the provider may be a poll period away.
            self._surroundings.listings.refresh()
        return self._view(now)

    def steer(self, steering: Steering) -> None:
        """What is set by hand from now on, beside the limits, which are the schedule's."""
        self._steering = steering

    def _view(self, now: float) -> View:
        self.books.held = self._steering.kept_at(now)
        month = None if self.policy.max_dollars_per_month is None else month_of(now)
        surroundings = self._surroundings
        return self.books.view(
            self.offerings,
            surroundings.info,
            blind=surroundings.blind,
            now=now,
            month=month,
            shortages=self._sale.market.shortages,
        )

    @property
    def policy(self) -> Policy:
        """The one in force now."""
        return self._foreseeing.in_force(self._schedule.at(self._clock.now()))

    def _intents(self, decision: Decision) -> list[LaunchIntent]:
        return [
            LaunchIntent(self._new_id(), self._name, launch.offering, launch.count, decision.at, launch.reason)
            for launch in decision.launches
        ]

    async def _record(self, view: View, policy: Policy, decision: Decision, intents: list[LaunchIntent]) -> None:
        """Write what has been seen and decided; without that on record, nothing is done."""
        self._tell(decision, await self.recorder.decided(view, policy, decision, intents))
        self.books.add_intents(intents)
        hold = decision.at + policy.max_agent_starting_period + PROMISE_HOLDS
        for intent, launch in zip(intents, decision.launches, strict=True):
            self.books.promise(intent.token, launch.promises, hold)
            self.books.moving.replace(intent.token, launch.replaces, hold)
        self.books.begin_terminations(decision)
        self.last = decision
        self._telemetry.report(view.fleet, view.offering, decision.at)

    def _act(self, intents: list[LaunchIntent]) -> None:
        for intent in intents:
            self._start(self._launcher.carry_out(intent))
        waiting = self.terminator.waits_for_listing
        if waiting or self.books.terminations or any(map(attrgetter("draining"), self.books.fleet.agents)):
            self.drain_due.set()
            self.termination_due.set()

    # Beside the passes

    def resume_launches(self) -> None:
        """Ask again for every intent that an earlier run left unanswered, under its own token."""
        for intent in self.books.intents.values():
            if intent.state is IntentState.OPEN:
                self._log.info("resuming a launch", token=intent.token, count=intent.count)
                self._start(self._launcher.carry_out(intent, resumed=True))

    async def actions_done(self) -> None:
        """Return when no launch is being carried out."""
        while self._actions:
            await asyncio.wait(self._actions)

    async def wind_down(self) -> None:
        """Wait a little for calls under way, cut off the others, and leave everything on record."""
        if self._actions:
            await asyncio.wait(self._actions, timeout=STOP_GRACE)
        for action in self._actions:
            action.cancel()
        await asyncio.gather(*self._actions, return_exceptions=True)
        self._foreseeing.save(self._clock.now())
        try:
            await self.recorder.flush()
            await self.summarize(stopped=True)
        except StoreError as error:
            self.recorder.failed(error)

    async def summarize(self, *, stopped: bool = False) -> None:
        """Write what `status` and `explain` show."""
        summary = self._summary(self._clock.now(), MOST_INSTANCES)()
        await self.recorder.summarize({**summary, "stopped": stopped})

    async def whole_summary(self) -> dict[str, Any]:
        """The same with all instances, made beside the event loop."""
        return await asyncio.to_thread(self._summary(self._clock.now(), None))

    async def consider(self, info: ScalingInfo) -> Decision:
        """What would be decided now for another view of the scheduler; nothing is done."""
        now = self._clock.now()
        view = replace(self._view(now), info=info, blind=False)
        return await asyncio.to_thread(self._rules.decide, view, self.policy, now)

    def _summary(self, now: float, most: int | None) -> Callable[[], dict[str, Any]]:
        """What makes it, from values that do not change any more."""
        surroundings, policy, view = self._surroundings, self.policy, self._view(now)
        return partial(
            summarize,
            view,
            policy,
            self.last or Decision(now),
            now,
            dict(self.books.terminations),
            self.launch_error,
            surroundings.listings,
            surroundings.views,
            self._steering,
            self.books.spent_this_month(month_of(now), now),
            self._sale.market.priced_at,
            self._foreseeing.summary(policy),
            self._searching.summary(),
            most=most,
        )

    async def down(self, *, force: bool, progress: Callable[[int], None]) -> int:
        """Terminate every instance and wait until all are gone; see `Provisioner.down`."""
        # A launch that was never answered may yet bring instances: only asking again tells which.
        self.resume_launches()
        most = 0
        while left := self._left():
            most = max(most, len(left))
            progress(len(left))
            fresh = tuple(Termination(i, Reason.OPERATOR) for i in left if not self._is_ending(i, force=force))
            if force:
                self.terminator.force(left)
            self.books.begin_terminations(Decision(self._clock.now(), terminations=fresh), drain=not force)
            await self.terminator.drain()
            await self.terminator.terminate()
            await self.summarize()
            await self._clock.sleep(_DOWN_LOOK)
            await self._surroundings.read_both()
        progress(0)
        await self.recorder.flush()
        await self.summarize(stopped=True)
        return most

    def _is_ending(self, instance_id: str, *, force: bool) -> bool:
        """Whether nothing more is to be begun for it; who forces does not wait for a drain that is under way."""
        record = self.books.terminations.get(instance_id)
        return record is not None and not (force and record.phase is Phase.DRAINING)

    def _left(self) -> Sequence[str]:
        self.observe(self._clock.now())
        listed = [i.id for i in self.books.fleet.instances if i.id not in self.books.strays]
        return listed + [launch.token for launch in self.books.in_flight()]

    def next_deadline(self, now: float) -> float | None:
        """When the next pass is due if nothing happens before; None = never."""
        decided = self.last.next_deadline if self.last else None
        held = min((until for until in self._steering.kept.values() if until > now), default=math.inf)
        freed = held if math.isfinite(held) else None
        foresight = self._foreseeing.next_look
        due = [self.books.next_deadline(now), decided, self._schedule.next_change(now), freed, foresight]
        return min((each for each in due if each is not None), default=None)

    @property
    def launch_error(self) -> str | None:
        """The launch error in force: of several offerings, when all of them have one, the last one."""
        return launch_error_of_all(
            [self.books.failures_of(offering) for offering in self.offerings],
            retries=self.policy.launch_error_retries,
            timeout=self.policy.launch_error_timeout,
            now=self._clock.now(),
        )

    @property
    def offerings(self) -> tuple[Offering, ...]:
        """All that may be launched, as it was when a pass looked last."""
        return self._sale.offerings

    @property
    def offering(self) -> Offering:
        """The first, which is what the pool is told of where one number must do."""
        return self.offerings[0]

    @property
    def instances(self) -> Sequence[Instance]:
        """What was listed last, and what is on its way out."""
        return self.books.fleet.instances

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    async def _save(self) -> None:
        """Write what is pending, for those who go on when that fails: then it is written with what comes next."""
        try:
            await self.recorder.save()
        except StoreError as error:
            self.recorder.failed(error)

    def _tell(self, decision: Decision, unmet: Sequence[Unmet]) -> None:
        """Log what is new in a decision: transitions, not states."""
        for launch in decision.launches:
            self._log.info("launching", count=launch.count, offering=launch.offering.name, reason=launch.reason)
        for termination in decision.terminations:
            self._log.info("giving up", id=termination.id, reason=termination.reason.value)
        for each in unmet:
            self._log.warning("unmet", what=str(each.tasks or each.count), reason=each.reason)
