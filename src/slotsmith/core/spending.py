"""What a pool spends and holds, and how much more its limits allow."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from slotsmith.core.view import View
from slotsmith.model.decision import Launch
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy

COMMITTED: Final = 3600.0
"""Seconds of all that runs, and of what is launched, that a month's money must still pay for: nothing that is begun is
given up for money, so a launch that would use up the rest within the hour is not begun."""

# Sums of prices in floating point must not make a limit look a hair too low.
_SAME: Final = 1e-9
_ENDLESS: Final = 1 << 60


class Money(NamedTuple):
    """Dollars per hour: what is spent by all that is listed or in flight, the most allowed (None = any), and why."""

    spent: float
    most: float | None
    reason: str

    @property
    def left(self) -> float:
        if self.most is None:
            return math.inf
        # As a limit it is a number, however large.
        return min(max(0.0, self.most - self.spent) * (1 + _SAME) + _SAME, sys.float_info.max)


def _counts(view: View) -> Counter[str]:
    """How many instances of each offering are listed, whatever their state and whoever they belong to, or in flight."""
    counts = Counter(instance.offering for instance in view.fleet.instances)
    for launch in view.in_flight:
        counts[launch.offering] += launch.count
    return counts


def money(view: View, policy: Policy) -> Money:
    """What the pool spends, and which of its limits on that is the lower one now."""
    if policy.max_dollars_per_hour is None and policy.max_dollars_per_month is None:
        return Money(0.0, None, "")
    prices = {each.offering.name: each.offering.price or 0.0 for each in view.on_offer}
    # What is not on offer any more cost no less than anybody can tell.
    dearest = max(prices.values())
    spent = sum(count * prices.get(name, dearest) for name, count in sorted(_counts(view).items()))
    limits: list[tuple[float, str]] = []
    if policy.max_dollars_per_hour is not None:
        most = policy.max_dollars_per_hour
        limits.append((most, f"the pool's maximum of ${most:,.2f} per hour (${spent:,.2f} of it is spent)"))
    if policy.max_dollars_per_month is not None:
        month, so_far = policy.max_dollars_per_month, view.spent_this_month
        left = max(0.0, month - so_far) * (3600.0 / COMMITTED)
        text = f"${so_far:,.2f} of it is spent, and what runs costs ${spent:,.2f} per hour"
        limits.append((left, f"the pool's maximum of ${month:,.2f} per month ({text})"))
    most, reason = min(limits)
    return Money(spent, most, reason)


def slots_held(view: View) -> int:
    """The slots of all that is listed or in flight."""
    slots = {each.offering.name: each.offering.capacity.slots for each in view.on_offer}
    default = view.offering.capacity.slots
    listed = sum(
        instance.capacity.slots if instance.capacity else slots.get(instance.offering, default)
        for instance in view.fleet.instances
    )
    return listed + sum(launch.count * slots.get(launch.offering, default) for launch in view.in_flight)


def limits_on(view: View, policy: Policy, offering: Offering, begun: Sequence[Launch] = ()) -> list[tuple[int, str]]:
    """How many instances of an offering the limits on slots and money allow beside launches that are begun, and why."""
    limits: list[tuple[int, str]] = []
    slots = offering.capacity.slots
    if policy.max_slots is not None and slots:
        held = slots_held(view) + sum(launch.count * launch.offering.capacity.slots for launch in begun)
        room = max(0, policy.max_slots - held) // slots
        limits.append((room, f"the pool's maximum of {policy.max_slots:,} slots"))
    spending = money(view, policy)
    if spending.most is not None:
        if offering.price is None:
            limits.append((0, f"the price of {offering.name} is not known, and the pool has a maximum in dollars"))
        elif offering.price:
            dollars = sum(launch.count * (launch.offering.price or 0.0) for launch in begun)
            limits.append((_bought_for(spending.left - dollars, offering.price), spending.reason))
    return limits


def _bought_for(dollars: float, price: float) -> int:
    if dollars < price:
        return 0
    count = dollars // price
    # Beyond all numbers the quotient is infinite, or none.
    return int(count) if math.isfinite(count) else _ENDLESS
