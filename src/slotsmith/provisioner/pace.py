"""How soon the pools of one program pass again.

The first push is served at once, and those that follow closely are one pass. How closely is a question of how busy all
pools' passes keep the program: where many are pushed to without end, each gathers more into a pass, before answers to
pushes have to wait.
"""

from __future__ import annotations

import math
from typing import Final

GATHER: Final = 0.005
"""Seconds between two passes of a pool, at least."""
LONGEST_GATHER: Final = 0.9
"""Seconds that they grow to: what is pushed is decided upon within a second."""
GATHER_WHEN_FULL: Final = 8.0
"""Seconds from the beginning of a pool's pass to that of its next one if passes took all the time there is.

They are less in proportion to what passes take.

A hundred pools of which each is pushed to all the time, with passes of 1 ms, keep an eighth of a core busy by that."""
_MEMORY: Final = 1.0
"""Seconds after which a pass counts for 1/e of what it took."""


class Pace:
    """What all passes of a program took lately. Shared by its pools."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._at = -math.inf

    def passed(self, took: float, now: float) -> None:
        """A pass has taken so many seconds, until `now`."""
        # The clock may have been set back, here and below.
        self._busy = self._busy_at(now) + max(0.0, took)
        self._at = now

    def gather(self, now: float) -> float:
        """Seconds from the beginning of a pool's pass to that of its next one, at least."""
        return max(GATHER, min(LONGEST_GATHER, GATHER_WHEN_FULL * self._busy_at(now) / _MEMORY))

    def _busy_at(self, now: float) -> float:
        return self._busy * math.exp(min(0.0, self._at - now) / _MEMORY)
