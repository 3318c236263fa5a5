"""What keeps a worker: tasks, actors, and what Dask does beside its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from . import stealing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distributed.scheduler import Scheduler, TaskState, WorkerState

_FILL = 0.6  # of the others' memory may be in use after a move: above it a worker writes results to disk
_READY_LATER = ("waiting", "no-worker")


def work_on(worker: WorkerState) -> str:
    """The work that is on a worker, for people; "" when it is idle."""
    if worker.processing:
        return f"{count(len(worker.processing), 'task')} on it, such as {next(iter(worker.processing)).key}"
    if worker.actors:
        return f"{count(len(worker.actors), 'actor')} on it, such as {next(iter(worker.actors)).key}"
    return ""


def at_work(scheduler: Scheduler) -> set[WorkerState]:
    """The workers that are not idle: no task, no actor, no stolen task on its way to it, and in no shuffle."""
    shuffling = in_shuffles(scheduler)
    arriving = stealing.arriving(scheduler)
    return {
        worker
        for worker in scheduler.workers.values()
        if worker.processing or worker.actors or worker in shuffling or worker in arriving
    }


def in_shuffles(scheduler: Scheduler) -> set[WorkerState]:
    """The workers that another plugin must not lose: they hold parts of a shuffle, which are results of no task."""
    everyone = list(scheduler.workers.values())
    free = everyone
    for plugin in list(scheduler.plugins.values()):
        if hasattr(plugin, "valid_workers_downscaling"):
            free = plugin.valid_workers_downscaling(scheduler, free)
    return set(everyone).difference(free)


def tied_tasks(scheduler: Scheduler) -> list[TaskState]:
    """Tasks that have still to run, and may do so on certain workers or hosts alone. A search through all tasks."""
    return [
        ts
        for ts in scheduler.tasks.values()
        if (ts.worker_restrictions or ts.host_restrictions) and ts.state in _READY_LATER and not ts.loose_restrictions
    ]


def only_here(scheduler: Scheduler, worker: WorkerState, tied: Iterable[TaskState]) -> str:
    """Why the worker must stay for tasks that could run nowhere else; "" when there are none."""
    needed = [ts for ts in tied if _is_only_place(scheduler, ts, worker)]
    if not needed:
        return ""
    return f"{count(len(needed), 'task')} that may run nowhere else still to come, such as {needed[0].key}"


def stuck_results(scheduler: Scheduler, worker: WorkerState, moving: int) -> str:
    """Why its results cannot be moved now, when `moving` bytes are on their way already; "" when they can."""
    running = scheduler.running
    unique = [ts for ts in worker.has_what if not ((ts.who_has or set()) - {worker}) & running]
    if not unique:
        return ""
    size = sum(ts.get_nbytes() for ts in unique)
    others = [ws for ws in running if ws is not worker]
    what = f"it holds the only copy of {count(len(unique), 'result')} ({format_bytes(size)}) {_needed(unique[0])}"
    if not others:
        return (
            f"{what}, and no other worker is there to take it over; it can go when the results are released or another "
            "worker has joined"
        )
    room = sum(max(0.0, _FILL * ws.memory_limit - ws.nbytes) if ws.memory_limit else float("inf") for ws in others)
    if size + moving > room:
        return (
            f"{what}, which the {count(len(others), 'other worker')} cannot take over without passing {_FILL:.0%} of "
            "the memory limit"
        )
    return ""


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is_only_place(scheduler: Scheduler, ts: TaskState, worker: WorkerState) -> bool:
    addresses: set[Any] = ts.worker_restrictions or set()
    hosts = {scheduler.coerce_hostname(host) for host in ts.host_restrictions or ()}
    may_run = [ws for ws in {worker, *scheduler.running} if ws.address in addresses or ws.host in hosts]
    return may_run == [worker]


def _needed(ts: TaskState) -> str:
    if ts.who_wants:
        return f"that {next(iter(ts.who_wants)).client_key} asked for, such as {ts.key}"
    return f"that other tasks need, such as {ts.key}"
