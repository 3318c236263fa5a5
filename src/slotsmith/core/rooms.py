"""What agents have free for work that is moved to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from slotsmith.model.resources import Resources


class Work(NamedTuple):
    """What runs on an agent, as one piece: where it fits as a whole, each task of it does."""

    used: Resources
    zero_slot_tasks: int


NO_WORK: Final = Work(Resources(), 0)


class Room(NamedTuple):
    """What an agent has free; `price` is what is saved (dollars per hour) by leaving it without work."""

    free: Resources
    zero_slot_tasks: int
    price: float


class Rooms:
    """Agents by what they have free, as instance ids; those that are alike are looked at once."""

    def __init__(self, rooms: Iterable[tuple[Room, str]] = ()) -> None:
        self._ids: dict[Room, list[str]] = {}
        for room, instance_id in rooms:
            self._ids.setdefault(room, []).append(instance_id)
        for ids in self._ids.values():
            ids.sort()

    def fitting(self, work: Work, owner: str) -> list[Room]:
        """Rooms that hold a piece of work, the tightest first, beside that of its owner."""
        fitting = [
            room
            for room, ids in self._ids.items()
            if len(ids) > (owner in ids[:2])
            and work.used.fits_in(room.free)
            and work.zero_slot_tasks <= room.zero_slot_tasks
        ]
        return sorted(fitting, key=lambda room: (tuple(room.free.items()), room.zero_slot_tasks, room.price))

    def first(self, room: Room, owner: str) -> str:
        """Which instance work goes to that is moved into a room."""
        return next(instance_id for instance_id in self._ids[room] if instance_id != owner)

    def has(self, room: Room, instance_id: str) -> bool:
        return instance_id in self._ids[room]

    def take(self, room: Room, work: Work, instance_id: str) -> None:
        """Work is moved to an instance with that room."""
        self._ids[room].remove(instance_id)
        left = Room(room.free - work.used, room.zero_slot_tasks - work.zero_slot_tasks, 0.0)
        self._ids.setdefault(left, []).append(instance_id)

    def drop(self, instance_id: str) -> None:
        """An instance goes, and its room with it."""
        for ids in self._ids.values():
            if instance_id in ids:
                ids.remove(instance_id)
                return
