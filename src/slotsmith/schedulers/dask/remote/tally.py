"""How many tasks of which shape wait, or are assigned to each worker: counted as they change, never by a search.

`Scheduler` tells a plugin of every change of a task's state, but not where the task was before it; so each counted task
is remembered with the entry it is counted in. A task that leaves is then taken from that very entry, and the counts
cannot drift, whatever way a task takes through the states.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .shapes import Shape, shape_of

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

COUNTED = frozenset({"no-worker", "queued", "processing"})


class Place:
    """Where tasks are counted: at a worker, or (no worker) among those that wait for one.

    `taken` counts every task that ever came here.
    """

    __slots__ = ("count", "entries", "taken", "worker")

    def __init__(self, worker: WorkerState | None) -> None:
        self.worker = worker
        self.count = 0
        self.taken = 0
        self.entries: dict[Shape, Entry] = {}


class Entry:
    """The tasks of one shape in one place; `last` is the key of the one that came last, which may have left."""

    __slots__ = ("count", "last", "place", "shape")

    def __init__(self, place: Place, shape: Shape) -> None:
        self.place = place
        self.shape = shape
        self.count = 0
        self.last: Any = None


class Tally:
    """The counts of one scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.waiting = Place(None)
        self.places: dict[str, Place] = {}
        self._entries: dict[Any, Entry] = {}
        self.repairs = 0
        self.scan()

    def scan(self) -> None:
        """Count afresh; the only step whose cost grows with the number of tasks."""
        self.waiting = Place(None)
        self.places = {}
        self._entries = {}
        for worker in self._scheduler.workers.values():
            self.place(worker)
            for ts in worker.processing:
                self._enter(ts.key, None)
        for ts in self._scheduler.unrunnable:
            self._enter(ts.key, None)
        for ts in self._scheduler.queued:
            self._enter(ts.key, None)

    def move(self, key: Any, finish: str) -> bool:
        """A task has come to the state `finish`. True when that may be news: new demand, a worker got or lost work."""
        left = self._entries.pop(key, None)
        news = finish in COUNTED and self._enter(key, left)
        if left is not None:
            place = left.place
            left.count -= 1
            if not left.count:
                # Names of gangs never come back: an entry kept at zero would be kept for ever.
                del place.entries[left.shape]
            place.count -= 1
            if not place.count and place.worker is not None:
                return True
        return news

    def moved_by_theft(self, key: Any) -> bool:
        """Work stealing has given a task to another worker, which is no change of state."""
        ts = self._scheduler.tasks.get(key)
        return ts is not None and key in self._entries and self.move(key, ts.state)

    def place(self, worker: WorkerState) -> Place:
        """The place of a worker, made if it is new."""
        place = self.places.get(worker.address)
        if place is None or place.worker is not worker:
            place = self.places[worker.address] = Place(worker)
        return place

    def forget(self, address: str) -> None:
        """A worker has gone, and its tasks have been moved already."""
        self.places.pop(address, None)

    def example(self, entry: Entry) -> str:
        """The key of a task that is counted in this entry, "" when none is at hand."""
        return str(entry.last) if self._entries.get(entry.last) is entry else ""

    def mend(self) -> None:
        """Count again at each worker whose number of tasks is not ours: a change that nobody told us of."""
        for place in list(self.places.values()):
            worker = place.worker
            if worker is not None and place.count != len(worker.processing):
                self.repairs += 1
                for key in [key for key, entry in self._entries.items() if entry.place is place]:
                    self.move(key, "")
                for ts in worker.processing:
                    self.move(ts.key, ts.state)

    def differences(self) -> list[str]:
        """In what the counts differ from a search through every task of the scheduler; nothing, if all is well."""
        expected: Counter[tuple[str, Shape]] = Counter()
        for ts in self._scheduler.tasks.values():
            if ts.state in COUNTED:
                expected[ts.processing_on.address if ts.processing_on else "", shape_of(ts)] += 1
        counted: Counter[tuple[str, Shape]] = Counter()
        found = []
        for address, place in (("", self.waiting), *self.places.items()):
            if place.count != sum(entry.count for entry in place.entries.values()):
                found.append(f"{address or 'waiting'}: {place.count} in all is not the sum of its entries")
            counted.update({(address, shape): entry.count for shape, entry in place.entries.items()})
        for what in expected.keys() | counted.keys():
            if expected[what] != counted[what]:
                found.append(f"{what}: counted {counted[what]}, found {expected[what]}")
        if len(self._entries) != sum(expected.values()):
            found.append(f"{len(self._entries)} tasks are remembered, found {sum(expected.values())}")
        return found

    def _enter(self, key: Any, left: Entry | None) -> bool:
        ts = self._scheduler.tasks[key]
        worker = ts.processing_on
        place = self.waiting if worker is None else self.place(worker)
        shape = shape_of(ts) if left is None else left.shape
        entry = place.entries.get(shape)
        if entry is None:
            entry = place.entries[shape] = Entry(place, shape)
        entry.count += 1
        entry.last = key
        place.count += 1
        place.taken += 1
        self._entries[key] = entry
        # Its first task makes a worker busy; a later one may be more than it can run at once.
        return worker is None or place.count == 1 or place.count > worker.nthreads or bool(shape.resources)
