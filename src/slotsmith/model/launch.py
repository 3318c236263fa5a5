"""Launches on record: the intent before the call, the answer after it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slotsmith.model.offering import Offering


class IntentState(StrEnum):
    """What is known of a launch intent."""

    OPEN = "open"
    """Recorded; the call may have happened or not. It is repeated with the same token until an answer is definite."""
    GRANTED = "granted"
    """Answered: `granted` instances were launched. Those not listed yet count as in flight."""
    CLOSED = "closed"
    """All that was granted has been listed once, or its consistency window is over."""
    REFUSED = "refused"
    """A definite refusal: nothing was launched and this token will never be used again."""


INTENT_TRANSITIONS: dict[IntentState, frozenset[IntentState]] = {
    # Open to closed: the answer was lost and the token has expired, so the listing by tag decided.
    IntentState.OPEN: frozenset({IntentState.GRANTED, IntentState.REFUSED, IntentState.CLOSED}),
    IntentState.GRANTED: frozenset({IntentState.CLOSED}),
    IntentState.CLOSED: frozenset(),
    IntentState.REFUSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class LaunchIntent:
    """One offering asked for `count` instances under one `token`, written before the provider is asked.

    `granted` is how many the provider said it launched (None = no answer yet); `answered_at` is when it said so. Times
    are epoch seconds; `attempts` counts the calls made; `error` is the text of the last one that failed.
    """

    token: str
    pool: str
    offering: Offering
    count: int
    created_at: float
    reason: str
    state: IntentState = IntentState.OPEN
    granted: int | None = None
    answered_at: float | None = None
    attempts: int = 0
    error: str = ""

    @property
    def answer_pending(self) -> bool:
        """Whether the provider may yet be asked for this, so that it must be on disk before."""
        return self.state is IntentState.OPEN

    @property
    def expected(self) -> int:
        """How many instances it may still bring into the world, listed or not."""
        return self.count if self.granted is None else self.granted


@dataclass(frozen=True, slots=True)
class InFlight:
    """Instances asked for under `token` and not listed yet: they count as starting."""

    token: str
    offering: str
    count: int
    asked_at: float
