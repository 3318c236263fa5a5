"""Decides when a fault strikes, and for how long."""

from __future__ import annotations

import zlib
from typing import Final

from slotsmith.clock import Random
from slotsmith.providers.simulated.faults import Chance, CloudFaults, Tell

_MS: Final = 3
"""Lengths are whole milliseconds, so that no machine's arithmetic makes a difference."""


class Dice:
    """All chance in a cloud.

    Each fault has a random stream of its own: switching one off, or another rate for it, leaves the draws of all
    others as they were, which is what makes a failing run small.
    """

    def __init__(self, faults: CloudFaults, random: Random, tell: Tell) -> None:
        seed = random.getrandbits(64)
        self._tell = tell
        self._on: dict[str, tuple[Chance, Random]] = {
            name: (chance, Random(seed ^ zlib.crc32(name.encode())))
            for name, chance in faults.chances().items()
            if chance.rate > 0
        }
        self.calm = not self._on
        """No fault will strike any more."""

    def fires(self, name: str) -> bool:
        """Draw whether this fault strikes; whoever carries it out says so by `struck`."""
        found = self._on.get(name)
        return found is not None and found[1].random() < found[0].rate

    def struck(self, name: str, **details: str | int | float | None) -> None:
        """Tell that this fault has taken effect."""
        self._tell(f"fault {name}", **details)

    def strikes(self, name: str, **details: str | int | float | None) -> bool:
        """Draw, and tell if so: for a fault that takes effect at once."""
        if not self.fires(name):
            return False
        self._tell(f"fault {name}", **details)
        return True

    def seconds(self, name: str, most: float | None = None) -> float:
        """How long this fault lasts; at most `most`."""
        chance, _ = self._on[name]
        longest = chance.most if most is None else min(chance.most, most)
        least = min(chance.least, longest)
        return self._skewed(name, least, longest)

    def after(self, name: str) -> float:
        """When in a machine's life it strikes, in seconds."""
        return self._skewed(name, 0.0, self._on[name][0].after)

    def below(self, name: str, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        return int(self._on[name][1].random() * count)

    def _skewed(self, name: str, least: float, most: float) -> float:
        share = self._on[name][1].random()
        # Products only: unlike powers and logarithms, they are the same everywhere.
        return round(least + (most - least) * share * share * share, _MS)

    def stop(self) -> None:
        """From now on nothing strikes."""
        self._on.clear()
        self.calm = True
