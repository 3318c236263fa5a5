"""Takes tasks away from a worker before it has started them, by the protocol of work stealing.

Only the worker knows which of its tasks have started. It is asked, for each task, to give it up if it has not; that is
the request which work stealing sends. A task that was given up goes back to the scheduler, which assigns it anew, so it
can neither be lost nor run twice. Where work stealing is switched off, tasks stay where they are.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from distributed.core import Status

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

_AT_ONCE = 1000  # requests under way for one worker: about 0.1 s of the scheduler's time

# The worker that a task was asked of last, by its address. What is still there afterwards has most likely started.
_asked: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class _Nowhere:
    """Stands where a thief is expected. It is no worker of the scheduler, so a task meant for it is assigned anew."""

    address = "slotsmith-nowhere"
    name = address
    status = Status.closed
    nthreads = 1
    nbytes = 0
    occupancy = 0.0
    has_what = frozenset[Any]()
    processing = frozenset[Any]()
    actors = frozenset[Any]()


_NOWHERE: Any = _Nowhere()


def arriving(scheduler: Scheduler) -> set[Any]:
    """The workers that a stolen task may be about to reach."""
    stealing = scheduler.extensions.get("stealing")
    return {info["thief"] for info in stealing.in_flight.values()} if stealing is not None else set()


def turn_away(scheduler: Scheduler, worker: WorkerState) -> None:
    """Stolen tasks that are on their way to this worker go back to the scheduler instead."""
    stealing = scheduler.extensions.get("stealing")
    if stealing is None or not hasattr(stealing, "_add_to_in_flight"):
        return
    for ts, info in list(stealing.in_flight.items()):
        if info["thief"] is worker:
            stealing._remove_from_in_flight(ts)
            stealing._add_to_in_flight(ts, {**info, "thief": _NOWHERE})


def take_back(scheduler: Scheduler, worker: WorkerState) -> None:
    """Ask the worker to give up what it has not started, so much at a time; tasks tied to workers or hosts stay."""
    stealing = scheduler.extensions.get("stealing")
    if stealing is None:
        return
    asked = 0
    for ts in list(worker.processing):
        if asked >= _AT_ONCE + worker.nthreads:
            break
        if ts in stealing.in_flight:
            asked += 1
        elif ts not in worker.long_running and not (ts.worker_restrictions or ts.host_restrictions):
            stealing.move_task_request(ts, worker, _NOWHERE)
            asked += 1


def spread(scheduler: Scheduler) -> None:
    """Move tasks that wait for a resource of their worker to workers that have it free.

    As soon as one worker has a resource, the scheduler gives it all tasks that ask for it. Work stealing counts threads
    only, so a worker that joins later would idle beside them.
    """
    stealing = scheduler.extensions.get("stealing")
    crowded = [worker for worker in scheduler.running if _lacks(worker)]
    if stealing is None or not crowded:
        return
    room = {worker: _room(worker) for worker in scheduler.running if worker not in crowded}
    for info in stealing.in_flight.values():
        # What is on its way may ask for anything; the next look will tell what is left.
        room.pop(info["thief"], None)
    for victim in crowded:
        if not any(any(left.values()) for left in room.values()):
            return
        _relieve(stealing, victim, room)


def _lacks(worker: WorkerState) -> bool:
    return any(used > worker.resources.get(name, 0) for name, used in worker.used_resources.items())


def _room(worker: WorkerState) -> dict[str, float]:
    return {name: amount - worker.used_resources.get(name, 0) for name, amount in worker.resources.items()}


def _relieve(stealing: Any, victim: WorkerState, room: dict[Any, dict[str, float]]) -> None:
    """Ask the victim for what it will start last, as long as it has too much and others have room for it.

    It starts what reaches it first, and that may be what would be started last. So what was asked for in vain comes
    after all else: it must not keep the others where they are.
    """
    lacking = {name: used - victim.resources.get(name, 0) for name, used in victim.used_resources.items()}
    movable = [ts for ts in victim.processing if ts.resource_restrictions and ts not in stealing.in_flight]
    first = heapq.nlargest(_AT_ONCE, movable, key=lambda ts: (_asked.get(ts) != victim.address, ts.priority or ()))
    for ts in first:
        asked: dict[str, float] = ts.resource_restrictions or {}
        if ts.worker_restrictions or ts.host_restrictions or ts in victim.long_running:
            continue
        if not any(lacking.get(name, 0) > 0 for name in asked):
            continue
        thief = next(
            (worker for worker, left in room.items() if all(left.get(n, 0) >= a for n, a in asked.items())), None
        )
        if thief is None:
            continue
        stealing.move_task_request(ts, victim, thief)
        _asked[ts] = victim.address
        for name, amount in asked.items():
            lacking[name] -= amount
            room[thief][name] -= amount
