"""The record step: what a pool has seen and decided goes to the store before anything is done about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.core.recording import differ_in_what_is_set, same_offerings, view_change
from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Unmet
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.policy import Policy
from slotsmith.model.steering import Action, Steering
from slotsmith.provisioner.books import Books
from slotsmith.store.base import Changes, Store, StoreError, StoreRunner

COMPLETE_PERIOD: Final = 3600.0
"""Seconds between two complete records of the view; those between them say what differs."""


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """How much is written beside what must be: decisions, and all that they rest on. Periods in seconds.

    `summary_period`: between two summaries, when there has been a pass in between; `sign_of_life`: between two, at
    most. `record_views`: keep every view, for `export` and `replay`. `write_period`: for how long what has happened may
    wait before it is written, unless something is decided; a crash takes clocks and history back by as much.
    """

    summary_period: float = 0.5
    sign_of_life: float = 5.0
    record_views: bool = True
    write_period: float = 0.0


FULL_BOOKKEEPING: Final = Bookkeeping()
_MOMENT: Final = 0.001
_STORE_RETRY: Final = 1.0


_UnmetKind = tuple[str, object]
"""Why something is unmet, and what kind of task it is."""


class Recorder:
    """Writes one pool's changes, and says once when that fails and when it works again."""

    def __init__(
        self,
        pool: str,
        books: Books,
        store: Store,
        run_store: StoreRunner,
        *,
        bookkeeping: Bookkeeping,
        clock: Clock,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._pool = pool
        self._books = books
        self._store = store
        self._run_store = run_store
        self._bookkeeping = bookkeeping
        self._clock = clock
        self._log = log
        self._error: str | None = None
        self._told: Set[_UnmetKind] = frozenset()
        self._recorded: View | None = None
        self._recorded_policy: Policy | None = None
        self._complete_at = -math.inf
        self._written_at = -math.inf

    @property
    def error(self) -> str | None:
        """Why the store fails; None = it works, as far as is known."""
        return self._error

    async def decided(
        self, view: View, policy: Policy, decision: Decision, intents: Sequence[LaunchIntent]
    ) -> Sequence[Unmet]:
        """Write a decision with its intents and all that is pending; what it leaves unmet and the last one did not.

        Raises:
            StoreError: nothing is on record, so nothing of it may be done.
        """
        unmet = {_kind(each): each for each in decision.unmet}
        new = bool(decision.launches or decision.terminations or unmet.keys() != self._told)
        if self._bookkeeping.record_views:
            await self._write_with_view(view, policy, decision, intents, new=new)
        elif new:
            await self._write(decision=decision, intents=tuple(intents))
        else:
            await self.save()
        fresh = [each for kind, each in unmet.items() if kind not in self._told]
        self._told, self._recorded, self._recorded_policy = unmet.keys(), view, policy
        return fresh

    async def _write_with_view(
        self, view: View, policy: Policy, decision: Decision, intents: Sequence[LaunchIntent], *, new: bool
    ) -> None:
        # A policy and what is on offer stand in complete records only.
        was = self._recorded_policy
        complete = (
            decision.at >= self._complete_at + COMPLETE_PERIOD
            or differ_in_what_is_set(policy, was)
            or self._recorded is None
            or not same_offerings(self._recorded, view)
        )
        change = view_change(None if complete else self._recorded, view, policy, was)
        if new or change or self._books.pending:
            # A view that has not changed is on record all the same when something is decided on it.
            told = change if change or new else None
            await self._write(decision=decision if new else None, intents=tuple(intents), recorded_view=told)
        self._complete_at = decision.at if complete else self._complete_at

    async def write_in_time(self) -> None:
        """Let nothing wait for longer than it may, until cancelled; of use where something may wait at all."""
        period = self._bookkeeping.write_period
        while True:
            due = self._written_at + period if self._books.pending else self._clock.now() + period
            await self._clock.sleep(max(_MOMENT, due - self._clock.now()))
            try:
                await self.save()
            except StoreError as error:
                self.failed(error)
                await self._clock.sleep(_STORE_RETRY)

    async def save(self) -> None:
        """Write what is pending, unless it may wait for others.

        Raises:
            StoreError: it stays pending.
        """
        if self._clock.now() >= self._written_at + self._bookkeeping.write_period:
            await self.flush()

    async def flush(self) -> None:
        """Write what is pending, now.

        Raises:
            StoreError: it stays pending.
        """
        if self._books.pending:
            await self._write()

    async def record(
        self, *, actions: tuple[Action, ...], steering: Steering | None = None, decision: Decision | None = None
    ) -> None:
        """Write what somebody does by hand, with all that is pending, now.

        Raises:
            StoreError: nothing of it is on record.
        """
        await self._write(actions=actions, steering=steering, decision=decision)

    async def summarize(self, summary: Mapping[str, Any]) -> None:
        """Write what `status` and `explain` show; it is also the pool's sign of life."""
        changes = Changes(self._pool, self._clock.now(), summary=summary, heartbeat=self._books.heartbeat)
        await self._run_store(lambda: self._store.commit(changes))
        self._works()

    def failed(self, error: StoreError) -> None:
        """Tell that the store fails, once for each kind of failure."""
        if str(error) != self._error:
            self._log.error("the store fails: nothing is launched until it works again", error=str(error))
        self._error = str(error)

    async def _write(self, **more: Any) -> None:
        seen = self._books.pending.take(self._clock.now())
        new_intents: tuple[LaunchIntent, ...] = more.pop("intents", ())
        changes = replace(seen, intents=(*seen.intents, *new_intents), heartbeat=self._books.heartbeat, **more)
        try:
            await self._run_store(lambda: self._store.commit(changes))
        except StoreError:
            self._books.pending.put_back(seen)
            for intent in new_intents:
                # They may be on record after all (a deadline passed), and must not be taken up at the next start.
                self._books.pending.intent(replace(intent, state=IntentState.REFUSED, error="never asked for"))
            raise
        self._books.pending.written(seen)
        self._written_at = changes.at
        self._works()

    def _works(self) -> None:
        if self._error is not None:
            self._log.info("the store works again")
            self._error = None


def _kind(unmet: Unmet) -> _UnmetKind:
    """Without the numbers: those change many times a second while tasks come and go, and say nothing new."""
    return unmet.reason, unmet.tasks and replace(unmet.tasks, count=1, example="")
