"""What a task asks for and an agent has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

# Sums of cpus and memory in floating point must not make a full agent look 1e-16 too small.
_TOLERANCE = 1e-9
_ENDLESS = math.inf


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each kind of resource.

    `slots` are whole units (GPUs, or CPU slots); `cpus` are cores; `mem_gib` is memory in GiB; `extras` are named
    amounts, sorted by name, none of them zero.
    """

    slots: int = 0
    cpus: float = 0.0
    mem_gib: float = 0.0
    extras: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        # Most have no extras, and there are a great many of them.
        plain = 0 <= self.slots < _ENDLESS and 0 <= self.cpus < _ENDLESS and 0 <= self.mem_gib < _ENDLESS
        if self.extras or not plain:
            self._check()

    def _check(self) -> None:
        for name, amount in self.items():
            if not (amount >= 0 and math.isfinite(amount)):
                raise ValueError(f"resource {name} is {amount}, expected a finite number of at least 0")
        normal = tuple(sorted((name, float(amount)) for name, amount in self.extras if amount))
        if normal != self.extras:
            object.__setattr__(self, "extras", normal)

    def items(self) -> Iterator[tuple[str, float]]:
        """Every kind with its amount, the three standard ones first."""
        yield "slots", self.slots
        yield "cpus", self.cpus
        yield "mem_gib", self.mem_gib
        yield from self.extras

    def __str__(self) -> str:
        units = {"slots": "slot", "cpus": "cpu", "mem_gib": "GiB of memory"}
        amounts = [(amount, units.get(name, name), "s" * (name in ("slots", "cpus"))) for name, amount in self.items()]
        told = [f"{amount:g} {unit}{plural * (amount != 1)}" for amount, unit, plural in amounts if amount]
        return ", ".join(told) or "nothing"

    def extra(self, name: str) -> float:
        """The amount of a named extra; 0 when there is none."""
        return next((amount for key, amount in self.extras if key == name), 0.0)

    def fits_in(self, other: Resources) -> bool:
        """Whether `other` holds at least this much of everything."""
        return self.times_in(other) >= 1

    def times_in(self, other: Resources) -> float:
        """How many times this much goes into `other`: a whole number, or infinity when nothing is asked."""
        times = math.inf
        if self.slots:
            times = other.slots // self.slots
        if self.cpus:
            times = min(times, math.floor(other.cpus / self.cpus + _TOLERANCE))
        if self.mem_gib:
            times = min(times, math.floor(other.mem_gib / self.mem_gib + _TOLERANCE))
        for name, amount in self.extras:
            times = min(times, math.floor(other.extra(name) / amount + _TOLERANCE))
        return times

    def __add__(self, other: Resources) -> Resources:
        return self._combine(other, 1)

    def __sub__(self, other: Resources) -> Resources:
        """What is left; an amount never falls below 0 (an overcommitted agent has nothing free, not a debt)."""
        return self._combine(other, -1)

    def __mul__(self, count: int) -> Resources:
        return Resources(
            self.slots * count,
            self.cpus * count,
            self.mem_gib * count,
            tuple((name, amount * count) for name, amount in self.extras),
        )

    def _combine(self, other: Resources, sign: int) -> Resources:
        names = {name for name, _ in self.extras} | {name for name, _ in other.extras}
        return Resources(
            max(0, self.slots + sign * other.slots),
            max(0.0, self.cpus + sign * other.cpus),
            max(0.0, self.mem_gib + sign * other.mem_gib),
            tuple((name, max(0.0, self.extra(name) + sign * other.extra(name))) for name in sorted(names)),
        )
