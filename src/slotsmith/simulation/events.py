"""What happens in a simulated world: one line an event, their digest, and counts of what was exercised."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from slotsmith.clock import Clock
from slotsmith.simulation.loop import EPOCH

Field = str | int | float | None

FAULT: Final = "fault "
"""What an event begins with that tells of a fault; the rest is the fault's name in its catalogue."""


class Violation(NamedTuple):
    """A promise that was broken: which one, when (seconds since the start), at which event, and how."""

    promise: str
    at: float
    event: int
    text: str

    def __str__(self) -> str:
        return f"{self.promise} at {self.at:.3f} s (event {self.event}): {self.text}"


class EventLog:
    """Takes every event of a world (it is the `Tell` of all its parts).

    `digest` is that of all lines; `timeline` has the lines themselves when `keep`, with the log lines of the program
    among them, which are not part of the digest. `coverage` counts the faults that fired.
    """

    def __init__(self, clock: Clock, *, keep: bool = False) -> None:
        self.count = 0
        self.timeline: list[str] = []
        self.coverage: Counter[str] = Counter()
        self.listeners: list[Callable[[str, dict[str, Field]], None]] = []
        self._clock = clock
        self._keep = keep
        self._sum = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The digest of all events so far, as 64 hexadecimal digits."""
        return self._sum.hexdigest()

    @property
    def elapsed(self) -> float:
        """Seconds since the world began."""
        return self._clock.now() - EPOCH

    def tell(self, what: str, /, **fields: Field) -> None:
        """Something has happened, now."""
        self.count += 1
        line = f"{self.elapsed:.3f} {what}{''.join(f' {name}={_told(value)}' for name, value in fields.items())}"
        self._sum.update(line.encode("utf-8", "backslashreplace"))
        self._sum.update(b"\n")
        if what.startswith(FAULT):
            self.coverage[what] += 1
        if self._keep:
            self.timeline.append(line)
        for listener in self.listeners:
            listener(what, fields)

    def note(self, line: str) -> None:
        """A line for the timeline alone."""
        if self._keep:
            self.timeline.append(f"{self.elapsed:.3f}   {line}")


def _told(value: Field) -> str:
    if isinstance(value, float):
        # Milliseconds are what durations are drawn in; epoch times would bury the line in digits.
        return f"{value - EPOCH if value > EPOCH / 2 else value:.3f}"
    return str(value)
