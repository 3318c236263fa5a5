"""Which places had no capacity lately, so that a launch goes elsewhere first. Pure but for what it is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slotsmith.model.launch_error import ErrorKind

FIRST_BLOCK: Final = 180.0
"""Seconds: capacity of a place comes back within minutes, if it comes back."""
LONGEST_BLOCK: Final = 1800.0
FORGET_AFTER: Final = 3600.0
"""Seconds after the end of a block from which on a failure counts as a first one again."""

_SPECIAL: Final = ("p", "g", "x", "f", "inf", "trn", "dl", "u", "hpc")
_FAMILY = re.compile(r"([a-z]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance can be launched: a type, in a zone, in a market."""

    instance_type: str
    zone: str
    market: str

    @property
    def family(self) -> str:
        """What quotas are counted by: the class of the type, and the market."""
        match = _FAMILY.match(self.instance_type)
        letters = match[1] if match else self.instance_type
        # EC2's "Standard" quota is one for all of these; GPU and other special classes have each their own.
        family = "g" if letters in ("gr", "vt") else letters if letters in _SPECIAL else "standard"
        return f"{family}/{self.market}"


@dataclass(frozen=True, slots=True)
class Block:
    """Not before `until` (epoch seconds), because of `reason`; `failures` in a row."""

    until: float
    reason: str
    failures: int = 1


class CapacityMemory:
    """Blocks by place for want of capacity, by family for quotas. A throttled or failed call leaves no trace here."""

    def __init__(self) -> None:
        self._blocks: dict[Place | str, Block] = {}

    def failed(self, place: Place, kind: ErrorKind, reason: str, now: float) -> None:
        """A launch there was refused for want of capacity or by a quota; other kinds say nothing of the place."""
        if kind not in (ErrorKind.CAPACITY, ErrorKind.QUOTA):
            return
        key: Place | str = place if kind is ErrorKind.CAPACITY else place.family
        last = self._blocks.get(key)
        failures = 1 if last is None or now > last.until + FORGET_AFTER else last.failures + 1
        # Asked again while it is blocked (nothing else was left), it is no new sign.
        if last is not None and now < last.until:
            failures = last.failures
        length = min(LONGEST_BLOCK, FIRST_BLOCK * 2.0 ** (failures - 1))
        self._blocks[key] = Block(now + length, reason, failures)

    def worked(self, place: Place) -> None:
        """A launch there was granted in full."""
        self._blocks.pop(place, None)
        self._blocks.pop(place.family, None)

    def __bool__(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self._blocks)

    def forget(self, now: float) -> None:
        """What a failure from now on would not be counted together with."""
        self._blocks = {key: each for key, each in self._blocks.items() if now <= each.until + FORGET_AFTER}

    def block(self, place: Place, now: float) -> Block | None:
        """The block in force for a place; None = it may be tried."""
        found = [self._blocks.get(place), self._blocks.get(place.family)]
        return next((each for each in found if each is not None and now < each.until), None)
