"""What people do to a pool by hand: each is on record, with who and why, before it has an effect."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slotsmith.clock import Clock
from slotsmith.core.steering import with_limits
from slotsmith.model.decision import Decision, Reason, Termination
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES
from slotsmith.model.record import Phase
from slotsmith.model.steering import LIMITS, UNSTEERED, Action, Pause, Steering
from slotsmith.provisioner.pool import Pool
from slotsmith.provisioner.schedule import Schedule
from slotsmith.store.base import Changes, Store, StoreRunner


class NotPossibleError(Exception):
    """What was asked for cannot be done as things are. The text is for people."""


class NoSuchInstanceError(NotPossibleError):
    """The pool has no such instance, or it is not in the books of this store."""


@dataclass(frozen=True, slots=True)
class By:
    """Who wants something, and why."""

    who: str
    why: str


class Operating:
    """One pool in the hands of an operator, whether it is ready (`pool`) or not."""

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        *,
        store: Store,
        run_store: StoreRunner,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self.steering = UNSTEERED
        self._pool: Pool | None = None
        self._name = name
        self._schedule = schedule
        self._store = store
        self._run_store = run_store
        self._clock = clock
        self._wake = wake
        self._turn = asyncio.Lock()

    def take_over(self, steering: Steering) -> None:
        """What was set before this program began."""
        self.steering = steering
        self._schedule.steer(steering.limits)

    def ready(self, pool: Pool) -> None:
        """The pool is set up."""
        self._pool = pool
        pool.steer(self.steering)
        pool.terminator.force_again(self.steering.forced)

    async def pause(self, by: By) -> None:
        """Begin nothing from now on: no launch, no termination. What is under way goes on.

        Raises:
            NotPossibleError: it is paused already.
            StoreError: nothing has changed. So it is for all that follow.
        """
        async with self._turn:
            before = await self._now_set()
            if before.pause:
                raise NotPossibleError(f"the pool is paused already, by {before.pause.who}: {before.pause.why}")
            await self._set(replace(before, pause=Pause(self._clock.now(), by.who, by.why)), "pause", by)

    async def resume(self, by: By) -> None:
        """Go on after a pause."""
        async with self._turn:
            before = await self._now_set()
            if before.pause is None:
                raise NotPossibleError("the pool is not paused")
            await self._set(replace(before, pause=None), "resume", by)

    async def set_limits(self, limits: Mapping[str, float | None], by: By) -> None:
        """Set limits by name; None = as the file has it again."""
        async with self._turn:
            before = await self._now_set()
            unknown = sorted(limits.keys() - set(LIMITS))
            if unknown:
                raise NotPossibleError(f"no limit is called {unknown[0]!r}, expected one of {', '.join(LIMITS)}")
            changed = {**before.limits, **limits}
            kept = {name: value for name, value in changed.items() if value is not None}
            policy = replace(self._schedule.unsteered(self._clock.now()), **kept)  # type: ignore[arg-type]
            if policy.min_instances > policy.max_instances:
                raise NotPossibleError(
                    f"the minimum of {policy.min_instances} would be above the maximum of {policy.max_instances}"
                )
            with_limits(policy, kept)
            await self._set(replace(before, limits=kept), "limits", by, dict(limits))

    async def keep(self, instance_id: str, seconds: float | None, by: By) -> None:
        """Do not give an instance up, for so long or (None) until somebody drains or terminates it.

        It still goes when it has stopped for good, never joined, or lost its agent for long. A drain is called off.
        """
        async with self._turn:
            pool = self._at_work(instance_id)
            ending = pool.books.terminations.get(instance_id)
            if ending is not None and ending.phase is not Phase.DRAINING:
                raise NotPossibleError(f"{instance_id} is being terminated already")
            now = self._clock.now()
            until = math.inf if seconds is None else now + seconds
            held = {i: at for i, at in self.steering.kept.items() if at > now and i in pool.books.fleet.rows}
            kept = {**held, instance_id: until}
            told = {"instance": instance_id, "seconds": seconds}
            await self._set(replace(self.steering, kept=kept), "keep", by, told)
            if instance_id in pool.books.terminations:
                pool.books.keep_instance(instance_id, f"{by.who}: {by.why}", now)
                pool.drain_due.set()

    async def drain(self, instance_id: str, by: By) -> None:
        """Give an instance up: its agent finishes its tasks first."""
        await self._end(instance_id, by, "drain")

    async def terminate(self, instance_id: str, by: By) -> None:
        """Give an instance up at once, whatever its agent is doing."""
        await self._end(instance_id, by, "terminate")

    async def clear_launch_errors(self, by: By) -> None:
        """Forget failed launches and instances that never joined, so that launches may be tried at once."""
        async with self._turn:
            pool = self._ready_pool()
            await self._record(Action(self._clock.now(), self._name, by.who, "launch-error:clear", by.why))
            for offering in pool.offerings:
                if pool.books.failures_of(offering) != NO_LAUNCH_FAILURES:
                    pool.books.put_failures(offering, NO_LAUNCH_FAILURES)
            pool.books.forgive_joining()
            self._wake()

    async def _end(self, instance_id: str, by: By, what: str) -> None:
        async with self._turn:
            pool, force = self._at_work(instance_id), what == "terminate"
            before = pool.books.terminations.get(instance_id)
            if before is not None and (before.phase is not Phase.DRAINING or not force):
                raise NotPossibleError(f"{instance_id} is being given up already: {before.reason.value}")
            now = self._clock.now()
            decision = Decision(now, terminations=(Termination(instance_id, Reason.OPERATOR),))
            kept = {i: until for i, until in self.steering.kept.items() if i != instance_id}
            # Those that are gone by now need not be remembered any more.
            forced = self.steering.forced & pool.books.terminations.keys() | ({instance_id} if force else set())
            wanted = replace(self.steering, kept=kept, forced=frozenset(forced))
            steering = wanted if wanted != self.steering else None
            action = Action(now, self._name, by.who, what, by.why, {"instance": instance_id})
            await self._record(action, steering=steering, decision=decision)
            if instance_id not in pool.books.fleet.rows:
                return
            if force:
                pool.terminator.force((instance_id,))
            pool.books.begin_terminations(decision, drain=not force)
            pool.drain_due.set()
            pool.termination_due.set()

    def _ready_pool(self) -> Pool:
        if self._pool is None:
            raise NotPossibleError("the pool is not ready: its provider or the store has not answered yet")
        return self._pool

    def _at_work(self, instance_id: str) -> Pool:
        pool = self._ready_pool()
        if instance_id not in pool.books.fleet.rows:
            raise NoSuchInstanceError("the pool has no such instance")
        if instance_id in pool.books.strays:
            raise NoSuchInstanceError("it is listed and not in the books of this store: see slotsmith adopt")
        return pool

    async def _now_set(self) -> Steering:
        """What is in force; before the pool is ready it is only on record."""
        if self._pool is None:
            kept = await self._run_store(lambda: self._store.load(self._name))
            self.take_over(kept.steering)
        return self.steering

    async def _set(self, steering: Steering, what: str, by: By, details: Mapping[str, Any] | None = None) -> None:
        action = Action(self._clock.now(), self._name, by.who, what, by.why, details or {})
        await self._record(action, steering=steering)

    async def _record(
        self, action: Action, *, steering: Steering | None = None, decision: Decision | None = None
    ) -> None:
        if self._pool is not None:
            await self._pool.recorder.record(actions=(action,), steering=steering, decision=decision)
        else:
            kept = await self._run_store(lambda: self._store.load(self._name))
            changes = Changes(self._name, action.at, actions=(action,), steering=steering, heartbeat=kept.heartbeat)
            await self._run_store(lambda: self._store.commit(changes))
        if steering is not None:
            self.steering = steering
            self._schedule.steer(steering.limits)
            if self._pool is not None:
                self._pool.steer(steering)
            self._wake()
