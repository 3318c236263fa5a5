"""A pool's demand as one look shows it, in a few numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

from slotsmith.core.view import View
from slotsmith.model.policy import Policy
from slotsmith.model.task import TaskClass


class Seen(NamedTuple):
    """`slots` at work or asked for; `instances` that are busy or needed for what is pending, of `size` slots each.

    `room`: free slots of the busy ones.
    """

    slots: int
    instances: int
    room: int
    size: int


def seen(view: View, policy: Policy) -> Seen:
    """What runs, and what is pending and could be served within the pool's maximum."""
    size = max(1, view.offering.capacity.slots)
    largest = max(each.offering.capacity.slots for each in view.on_offer)
    used = busy = room = 0
    for agent in view.info.agents:
        if agent.idle:
            continue
        total = size if agent.capacity is None else agent.capacity.slots
        # A scheduler that tells no amounts leaves only this to go by: busy is all taken.
        taken = total if agent.used is None else agent.used.slots
        busy, used, room = busy + 1, used + taken, room + max(0, total - taken)
    if view.info.desired_new is not None:
        waiting, new = view.info.desired_new * size, view.info.desired_new
    else:
        waiting, new = _pending(view.info.tasks, size, largest, policy.max_instances * largest)
    instances = min(busy + new, max(busy, policy.max_instances))
    return Seen(min(used + waiting, max(used, policy.max_instances * largest)), instances, room, size)


def _pending(tasks: tuple[TaskClass, ...], size: int, largest: int, most: int) -> tuple[int, int]:
    """Slots, and instances that they take, of what could ever start."""
    slots = whole = parts = 0
    for kind in tasks:
        each = kind.resources.slots
        fits = each <= largest or (kind.spans and each % largest == 0)
        if not fits or each * kind.gang > most:
            continue
        amount = each * kind.gang * kind.count
        slots += amount
        if each >= size:
            whole += math.ceil(each / size) * kind.gang * kind.count
        else:
            parts += amount
    return slots, whole + math.ceil(parts / size)
