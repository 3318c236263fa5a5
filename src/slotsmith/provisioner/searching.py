"""Cheaper launches than a pass finds at once: looked for beside the event loop, and launched if nothing has changed.

With several offerings a pass has a good plan within milliseconds, and knows how far it may be from the cheapest. Where
that is far, the launches wait a little for a search, which runs in a process of its own, so that pushes and other pools
do not wait for it. What it finds replaces the plan only while its inputs hold: whatever is new ends the wait, and the
pass decides anew and launches at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final, Protocol

import structlog

from slotsmith.core.rules import Decide
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Policy
from slotsmith.provisioner.faults import describe

LONGEST_SEARCH: Final = 2.0
"""Seconds for which launches wait for cheaper ones, at most."""
WORTH: Final = 0.01
"""A search begins where launches may cost more than so much of their price too much."""


Search = Callable[[View, Policy, float], Awaitable[Decision]]


class Searcher(Protocol):
    """Makes a search somewhere else; whoever waits for it may give up."""

    async def __call__(self, search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
        """What `search` decides. Any exception says that it could not be made."""


class Outcome(StrEnum):
    """How a search ended."""

    CHEAPER = "cheaper"
    NONE_CHEAPER = "none_cheaper"
    NEWS = "news"
    LATE = "late"
    FAILED = "failed"


class Searching:
    """One pool's searches; without a `search`, none. `news` is set while no pass has taken in what has come."""

    def __init__(
        self,
        search: Search | None,
        news: asyncio.Event,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._search = search
        self._news = news
        self._log = log
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._saved = 0.0
        self.waited = 0.0
        """Seconds that all passes together have waited for searches."""

    def summary(self) -> dict[str, Any] | None:
        """What came of them since the program began, JSON-ready, with the dollars per hour saved; None = none yet."""
        if not any(self._outcomes.values()):
            return None
        outcomes = {outcome.value: count for outcome, count in self._outcomes.items()}
        return {"outcomes": outcomes, "saved_dollars_per_hour": self._saved, "waited_seconds": self.waited}

    def pays(self, decision: Decision) -> bool:
        """Whether the launches of a decision may be so dear that they should wait for cheaper ones."""
        may_search = self._search is not None and bool(decision.launches)
        return may_search and decision.excess > WORTH * decision.dollars_per_hour

    async def better(self, view: View, policy: Policy, decision: Decision) -> Decision | None:
        """The cheaper of a decision and what a search finds; None = it has not ended in time, or there is news."""
        began = asyncio.get_running_loop().time()
        search = asyncio.create_task(self._decided(view, policy, decision.at))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({search, news}, timeout=LONGEST_SEARCH, return_when=asyncio.FIRST_COMPLETED)
            ended = search.done() and not self._news.is_set()
        finally:
            search.cancel()
            news.cancel()
            self.waited += asyncio.get_running_loop().time() - began
        found = search.result() if ended else None
        outcome = self._outcome(decision, found, ended=ended)
        self._outcomes[outcome] += 1
        if outcome is not Outcome.CHEAPER:
            return decision if outcome is Outcome.NONE_CHEAPER else None
        assert found is not None, "it is cheaper"
        new, old = found.dollars_per_hour, decision.dollars_per_hour
        self._saved += old - new
        self._log.info("cheaper launches", dollars_per_hour=round(new, 4), instead_of=round(old, 4))
        return found

    def _outcome(self, decision: Decision, found: Decision | None, *, ended: bool) -> Outcome:
        if not ended:
            return Outcome.NEWS if self._news.is_set() else Outcome.LATE
        if found is None:
            return Outcome.FAILED
        cheaper = found.unmet == decision.unmet and found.dollars_per_hour < decision.dollars_per_hour
        return Outcome.CHEAPER if cheaper else Outcome.NONE_CHEAPER

    async def _decided(self, view: View, policy: Policy, now: float) -> Decision | None:
        assert self._search is not None
        try:
            return await self._search(view, policy, now)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is a plan already
            self._log.warning("no cheaper launches could be looked for", error=describe(error))
            return None
