"""Carrying out launch intents: ask, and ask again with the same token until the answer is definite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from slotsmith.clock import Clock, Random
from slotsmith.core.backoff import RETRY_RULES, launch_failed, launch_fell_short, retry_delay
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.faults import describe, kind_of

LAUNCH_DEADLINE: Final = 120.0
"""Seconds for one launch call. A cloud answers within seconds; a late answer is as good as a lost one."""


class Launcher:
    """One task for each open intent of a pool."""

    def __init__(
        self,
        books: Books,
        provider: Provider,
        *,
        clock: Clock,
        random: Random,
        save: Callable[[], Awaitable[None]],
        on_answer: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._books = books
        self._provider = provider
        self._clock = clock
        self._random = random
        self._save = save
        self._on_answer = on_answer
        self._log = log

    async def carry_out(self, intent: LaunchIntent, *, resumed: bool = False) -> None:
        """Return when the intent is answered, refused or closed, and that is on record.

        `resumed`: an earlier run may have asked for it, and its answer is not known.
        """
        first = not resumed
        while not self._expired(intent):
            error = await self._attempt(intent)
            if error is None:
                break
            rule = RETRY_RULES[kind_of(error)]
            if rule.definite:
                self._failed(intent, error)
                if first or rule.knows_token:
                    self._refused(intent, error)
                else:
                    self._leave_to_listing(intent)
                break
            first = False
            intent = self._unanswered(intent, error)
            await self._save()
            await self._clock.sleep(retry_delay(kind_of(error), intent.attempts, self._random.random()))
        else:
            self._leave_to_listing(intent)
        await self._save()
        self._on_answer()

    def _expired(self, intent: LaunchIntent) -> bool:
        """Whether a call made now could reach the provider when it no longer knows the token, and launch again."""
        lifetime = self._provider.token_lifetime
        return self._clock.now() > intent.created_at + lifetime - min(LAUNCH_DEADLINE, lifetime / 2)

    def _leave_to_listing(self, intent: LaunchIntent) -> None:
        """Close an intent that is of no use to ask for again: what it launched is listed by then, the rest is void.

        Until then it counts in full, for a call that was never answered may have been made just now.
        """
        self._log.warning("launch never answered, the listing decides", token=intent.token)
        settled = self._clock.now() + LAUNCH_DEADLINE + self._provider.consistency_window
        self._books.leave_to_listing(intent.token, settled)

    async def _attempt(self, intent: LaunchIntent) -> Exception | None:
        """One call; the error when nothing was granted."""
        request = LaunchRequest(intent.token, intent.offering, intent.count)
        try:
            async with asyncio.timeout(LAUNCH_DEADLINE):
                result = await self._provider.launch(request)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the intent is on record and must be settled
            return error
        self._granted(intent, result)
        return None

    def _unanswered(self, intent: LaunchIntent, error: Exception) -> LaunchIntent:
        text = describe(error, LAUNCH_DEADLINE)
        self._log.warning("launch not answered, asking again", token=intent.token, error=text)
        again = replace(intent, attempts=intent.attempts + 1, error=text)
        self._books.put_intent(again)
        return again

    def _failed(self, intent: LaunchIntent, error: Exception) -> None:
        """The offering cannot be had just now."""
        now, text = self._clock.now(), describe(error, LAUNCH_DEADLINE)
        self._log.error("launch refused", offering=intent.offering.name, count=intent.count, error=text)
        failures = self._books.failures_of(intent.offering)
        jitter = self._random.random()
        self._books.put_failures(intent.offering, launch_failed(failures, kind_of(error), text, now, jitter))

    def _refused(self, intent: LaunchIntent, error: Exception) -> None:
        now, text = self._clock.now(), describe(error, LAUNCH_DEADLINE)
        attempts = intent.attempts + 1
        refused = replace(intent, state=IntentState.REFUSED, error=text, granted=0, answered_at=now, attempts=attempts)
        self._books.put_intent(refused)

    def _granted(self, intent: LaunchIntent, result: LaunchResult) -> None:
        intent = replace(intent, attempts=intent.attempts + 1)
        now, count = self._clock.now(), len(result.instance_ids)
        error = "" if result.shortfall is None else describe(result.shortfall)
        answered = replace(intent, state=IntentState.GRANTED, granted=count, answered_at=now, error=error)
        self._log.info("launched", offering=intent.offering.name, count=count, asked=intent.count, token=intent.token)
        self._books.put_intent(answered)
        failures = NO_LAUNCH_FAILURES
        if result.shortfall is not None:
            previous = self._books.failures_of(intent.offering)
            failures = launch_fell_short(previous, result.shortfall.kind, error, now, self._random.random())
        self._books.put_failures(intent.offering, failures)
