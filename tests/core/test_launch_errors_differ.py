"""The default launch error differs from the reference's only where the table below says how and why.

As in `test_rules_differ`: `Between` with no line of the table is the reference, with all of them the default.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from slotsmith.core.backoff import launch_error, launch_failed, launch_fell_short, retry_delay
from slotsmith.core.reference import StickyError
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES, ErrorKind

DIFFERENCES = {
    "W5": "Consecutive failures count however far apart they are; the reference begins again when the next comes later "
    "than the timeout, so with a timeout shorter than its ticks the error never shows.",
    "W6": "A launch that brought fewer than it was asked for is no success: earlier failures are not forgotten.",
    "W2": "The timeout runs from the next attempt that back-off permits, not from the last one.",
}

JITTER = 0.5
CAPACITY = ErrorKind.CAPACITY


class Between:
    """A launch error with some of the changes."""

    def __init__(self, timeout: float, retries: int, changes: Iterable[str]) -> None:
        self.timeout, self.retries, self.changes = timeout, retries, frozenset(changes)
        self.failures, self.message, self.runs_from = 0, "", 0.0

    def get(self, now: float) -> str | None:
        shown = self.failures > max(0, self.retries) and not self.expired(now)
        return self.message if shown else None

    def expired(self, now: float) -> bool:
        return self.timeout <= 0 or now > self.runs_from + self.timeout

    def launched(self, now: float, outcome: str, message: str) -> None:
        if outcome == "works" or (outcome == "falls short" and "W6" not in self.changes):
            self.failures = 0
            return
        if outcome == "fails":
            self.failures = 1 if self.expired(now) and "W5" not in self.changes else self.failures + 1
        attempts = self.failures if outcome == "fails" else 1
        pause = retry_delay(CAPACITY, attempts, JITTER) if "W2" in self.changes else 0
        self.message, self.runs_from = message, now + pause


@dataclass
class Ours:
    """The default rules, called as the provisioner calls them."""

    timeout: float
    retries: int
    failures = NO_LAUNCH_FAILURES

    def get(self, now: float) -> str | None:
        return launch_error(self.failures, retries=self.retries, timeout=self.timeout, now=now)

    def launched(self, now: float, outcome: str, message: str) -> None:
        if outcome == "works":
            self.failures = NO_LAUNCH_FAILURES
        elif outcome == "fails":
            self.failures = launch_failed(self.failures, CAPACITY, message, now, JITTER)
        else:
            self.failures = launch_fell_short(self.failures, CAPACITY, message, now, JITTER)


@dataclass
class Theirs:
    """The reference, to which a part of what was asked for is a success."""

    held: StickyError

    def get(self, now: float) -> str | None:
        return self.held.get(now)

    def launched(self, now: float, outcome: str, message: str) -> None:
        self.held, _ = self.held.set(now, message if outcome == "fails" else None)


def explained(rng: random.Random) -> Counter[str]:
    """Run one random sequence of launches; count the moments that each line of the table makes differ."""
    timeout, retries = rng.choice([0, 5, 30, 600]), rng.choice([-1, 0, 1, 3])
    ours, theirs = Ours(timeout, retries), Theirs(StickyError(timeout, retries))
    between = [Between(timeout, retries, tuple(DIFFERENCES)[:number]) for number in range(len(DIFFERENCES) + 1)]
    lines, now = Counter[str](), 0.0
    for number in range(rng.randint(1, 12)):
        now += rng.choice([0, 1, 5, 5, 6, 30, 31, 601])
        outcome = rng.choice(["fails", "fails", "fails", "falls short", "works", "none was due"])
        if outcome != "none was due":
            for each in (ours, theirs, *between):
                each.launched(now, outcome, f"failure {number}")
        told = [each.get(now) for each in between]
        assert told[0] == theirs.get(now)
        assert told[-1] == ours.get(now)
        lines.update(name for name, one, other in zip(DIFFERENCES, told, told[1:], strict=False) if one != other)
        lines["the same"] += theirs.get(now) == ours.get(now)
        lines["in force"] += ours.get(now) is not None
    return lines


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_difference_is_without_an_explanation(rng: random.Random) -> None:
    explained(rng)


def test_every_line_explains_something() -> None:
    lines = Counter[str]()
    for seed in range(500):
        lines += explained(random.Random(seed))
    assert min(lines[name] for name in (*DIFFERENCES, "in force")) >= 20, lines
    assert lines["the same"] > 500, lines
