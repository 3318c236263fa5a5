"""What is to be planned: the tasks, what exists, what can be launched, and the limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from slotsmith.core.fitting import FreeCapacity
from slotsmith.model.offering import Offering
from slotsmith.model.task import Group, TaskClass

__all__ = ["NO_LIMITS", "Choice", "FreeCapacity", "Limits", "Problem"]

# Counts above this could not be added up in 64 bits with what else is counted.
_MOST_TASKS: Final = 10**12


@dataclass(frozen=True, slots=True)
class Choice:
    """An offering that may be launched, at most so many times more (None = any number).

    `barred` is a reason, in words for a person, why it may not be had now (`capacity errors until 12:30`); empty = it
    may. The price of the offering is needed.
    """

    offering: Offering
    at_most: int | None = None
    barred: str = ""

    def __post_init__(self) -> None:
        price = self.offering.price
        if price is None:
            raise ValueError(f"offering {self.offering.name} has no price, expected dollars per hour")
        if not (math.isfinite(price) and price > 0):
            raise ValueError(f"offering {self.offering.name} has the price {price}, expected more than 0")
        if self.at_most is not None and self.at_most < 0:
            raise ValueError(f"offering {self.offering.name} may be had {self.at_most} times, expected at least 0")

    @property
    def price(self) -> float:
        """Dollars per hour."""
        assert self.offering.price is not None
        return self.offering.price


@dataclass(frozen=True, slots=True)
class Limits:
    """A pool's limits and how much of each is used before anything is launched; None = no limit.

    The used amounts count all that is paid for or on its way: connected, starting and in flight. `dollars_reason` is
    how a person is told of the limit in dollars; empty = as what it is.
    """

    max_instances: int | None = None
    max_slots: int | None = None
    max_dollars_per_hour: float | None = None
    min_instances: int = 0
    instances: int = 0
    slots: int = 0
    dollars_per_hour: float = 0.0
    dollars_reason: str = ""

    def __post_init__(self) -> None:
        for name in ("max_instances", "max_slots", "max_dollars_per_hour", "min_instances", "instances", "slots"):
            _at_least_zero(name, getattr(self, name))
        _at_least_zero("dollars_per_hour", self.dollars_per_hour)

    @property
    def instances_left(self) -> int | None:
        """How many instances may be launched."""
        return None if self.max_instances is None else max(0, self.max_instances - self.instances)

    @property
    def slots_left(self) -> int | None:
        """How many slots the launched instances may have together."""
        return None if self.max_slots is None else max(0, self.max_slots - self.slots)

    @property
    def dollars_left(self) -> float | None:
        """What the launched instances may cost per hour together."""
        if self.max_dollars_per_hour is None:
            return None
        return max(0.0, self.max_dollars_per_hour - self.dollars_per_hour)

    @property
    def any_maximum(self) -> bool:
        return not (self.max_instances is None and self.max_slots is None and self.max_dollars_per_hour is None)


def _at_least_zero(name: str, value: float | None) -> None:
    if value is not None and not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, expected a finite number of at least 0")


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Problem:
    """Tasks to hold, capacity that exists, and what may be launched.

    An agent takes up to `max_zero_slot_tasks` tasks without slots, None = as many as fit. Existing capacity whose
    `offering` is None is of the only choice when there is one, and otherwise takes no task that says where it must run.
    Raises ValueError for an offering that is given twice and for counts that are out of all proportion.
    """

    tasks: tuple[TaskClass, ...]
    choices: tuple[Choice, ...] = ()
    existing: tuple[FreeCapacity, ...] = ()
    groups: tuple[Group, ...] = ()
    limits: Limits = NO_LIMITS
    max_zero_slot_tasks: int | None = None

    def __post_init__(self) -> None:
        _no_two(_place(choice.offering) for choice in self.choices)
        groups = [group.id for group in self.groups]
        if len(set(groups)) < len(groups):
            raise ValueError(f"group {_twice(groups)} is given twice")
        names = [name for free in self.existing for name in free.ids]
        if len(set(names)) < len(names):
            raise ValueError(f"instance {_twice(names)} is given twice")
        if self.max_zero_slot_tasks is not None:
            _at_least_zero("max_zero_slot_tasks", self.max_zero_slot_tasks)
        members = sum(tasks.count * tasks.gang for tasks in self.tasks)
        if members > _MOST_TASKS:
            raise ValueError(f"{members} tasks are too many to plan, expected at most {_MOST_TASKS}")

    @property
    def open_choices(self) -> tuple[Choice, ...]:
        """Those that may be had now."""
        return tuple(choice for choice in self.choices if not choice.barred and choice.at_most != 0)


def _place(offering: Offering) -> tuple[str, str, str]:
    return offering.instance_type, offering.zone, offering.market


def _no_two(places: Iterable[tuple[str, str, str]]) -> None:
    seen: set[tuple[str, str, str]] = set()
    for place in places:
        if place in seen:
            raise ValueError(f"offering {'/'.join(part for part in place if part)} is given twice")
        seen.add(place)


def _twice(names: list[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("called for names of which one is given twice")
