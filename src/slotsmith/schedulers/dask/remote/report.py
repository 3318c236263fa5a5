"""The view of a scheduler, as lists and dicts for the wire. Its cost grows with workers and shapes, not with tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from distributed.core import Status

from . import claims
from .shapes import Shape, amounts

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

    from .tally import Place, Tally

_TAKES_TASKS = (Status.running, Status.init)  # a worker that has just joined is running within milliseconds
_TOLERANCE = 1e-9  # ten tasks of 0.1 fit in 1


def report(scheduler: Scheduler, tally: Tally) -> dict[str, Any]:
    """Every worker and every kind of task that has no thread or resource to run on.

    `agents` are lists of name, idle, draining, nthreads, memory limit (bytes), resources, tasks taken so far, and what
    runs there as `[resources, count]`; `demand` of resources, where, group, gang size, count and an example; `groups`
    of name, maximum (-1 = none) and resources in use.
    """
    view = _View()
    for shape, entry in tally.waiting.entries.items():
        view.waits(shape, entry.count, tally.example(entry))
    agents = []
    at_work = claims.at_work(scheduler)
    for worker in scheduler.workers.values():
        place = tally.place(worker)
        runs = _share_out(place, worker, view) if place.count else []
        agents.append(
            [
                str(worker.name),
                worker not in at_work,
                worker.status not in _TAKES_TASKS,
                worker.nthreads,
                worker.memory_limit,
                amounts(worker.resources),
                place.taken,
                runs,
            ]
        )
    return {"agents": agents, "demand": view.demand(), "groups": view.groups()}


def _share_out(place: Place, worker: WorkerState, view: _View) -> list[Any]:
    """Decide which of a worker's tasks it can run at once: first come, first served. The others wait.

    Dask assigns every task to some worker as soon as one has the resource at all, however many are there already. What
    the worker's own record of used resources says is not asked: work stealing does not keep it.
    """
    threads = worker.nthreads + len(worker.long_running)  # a task that has seceded leaves its thread to another
    free = dict(amounts(worker.resources))
    runs: dict[Any, int] = defaultdict(int)
    for shape, entry in place.entries.items():
        fit = min(entry.count, threads)
        for name, amount in shape.resources:
            fit = min(fit, math.floor(free.get(name, 0.0) / amount + _TOLERANCE))
        if fit:
            threads -= fit
            for name, amount in shape.resources:
                free[name] -= amount * fit
            runs[shape.resources] += fit
            view.runs(shape, fit)
        if fit < entry.count:
            view.waits(shape, entry.count - fit, "")
    return list(runs.items())


class _View:
    """Gathers what waits and what runs, and puts gangs together."""

    def __init__(self) -> None:
        self._waiting: dict[Shape, int] = defaultdict(int)
        self._examples: dict[Shape, str] = {}
        self._gangs_at_work: set[str] = set()
        self._groups: dict[str, int] = {}
        self._group_use: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def waits(self, shape: Shape, count: int, example: str) -> None:
        self._waiting[shape] += count
        if example:
            self._examples[shape] = example
        if shape.group:
            self._see_group(shape)

    def runs(self, shape: Shape, count: int) -> None:
        if shape.gang:
            self._gangs_at_work.add(shape.gang)
        if shape.group:
            self._see_group(shape)
            for name, amount in shape.resources:
                self._group_use[shape.group][name] += amount * count

    def _see_group(self, shape: Shape) -> None:
        known = self._groups.get(shape.group, -1)
        most = shape.group_slots
        # Tasks that disagree about the maximum of their group: the smallest one is safe.
        self._groups[shape.group] = most if known < 0 else known if most < 0 else min(known, most)

    def demand(self) -> list[Any]:
        counts: dict[Any, int] = defaultdict(int)
        examples: dict[Any, str] = {}
        for shape, count in self._waiting.items():
            # Members that wait while others of the gang run, or have still to become ready, are ordinary tasks: a gang
            # is one to be started as a whole only while all of it waits.
            whole = 0 if not shape.gang or shape.gang in self._gangs_at_work else count // shape.gang_size
            rest = count - whole * shape.gang_size
            if whole:
                kind = (shape.resources, shape.where, shape.group, shape.gang_size)
                counts[kind] += whole
                examples[kind] = shape.gang
            if rest:
                kind = (shape.resources, shape.where, shape.group, 1)
                counts[kind] += rest
                examples[kind] = self._examples.get(shape) or examples.get(kind, "")
        return [[*kind, count, examples[kind]] for kind, count in counts.items()]

    def groups(self) -> list[Any]:
        return [[name, most, dict(self._group_use.get(name, {}))] for name, most in self._groups.items()]
