"""Takes tasks back from a worker before it has started them, by the protocol of work stealing.

Only the worker knows which of its tasks have started. It is asked, for each task, to give it up if it has not; that is
the request which work stealing sends. A task that was given up goes back to the scheduler, which assigns it anew, so it
can neither be lost nor run twice. Where work stealing is switched off, tasks stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.core import Status

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

_AT_ONCE = 1000  # requests under way for one worker: about 0.1 s of the scheduler's time


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
