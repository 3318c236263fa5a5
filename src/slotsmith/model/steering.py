"""What people set by hand for a pool, over what its file says, and the record of who did it and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LIMITS: Final = ("min_instances", "max_instances", "max_slots", "max_dollars_per_hour", "max_dollars_per_month")
"""The fields of `Policy` that can be set by hand."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when (epoch seconds) a pool begins nothing, at whose wish, and why."""

    since: float
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Steering:
    """What is in force of it. `limits` by name stand in the place of the file's.

    `kept`: until when (epoch seconds, infinity = until it is asked for) an instance is not given up, by id.
    `forced`: the instances that are to end whatever their agents are doing.
    """

    pause: Pause | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, float] = field(default_factory=dict)
    forced: frozenset[str] = frozenset()

    def kept_at(self, now: float) -> frozenset[str]:
        """The instances that are not to be given up now."""
        return frozenset(i for i, until in self.kept.items() if until > now)


UNSTEERED: Final = Steering()


@dataclass(frozen=True, slots=True)
class Action:
    """One change that somebody made: `pool` None = it concerns no pool alone; `details` are JSON-ready, no secrets."""

    at: float
    pool: str | None
    who: str
    what: str
    why: str
    details: Mapping[str, Any] = field(default_factory=dict)
