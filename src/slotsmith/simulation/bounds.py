"""What a trace costs at least, to compare a policy with.

Two figures, both in instance-hours within a window. The work: what all resources together would take if every task
started at once, and instances were always full. The clairvoyant figure: what a fleet takes that knows its demand as
long ahead as an instance needs to be ready. There every task starts at once, on the agent where it fits best, and stays
there; an instance is kept while it is needed again sooner than a new one could be ready. As fitting best is not the
best that could be, and equal agents are told apart by age alone, another packing may take somewhat less than that.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated.agents import agents_for
from slotsmith.schedulers.simulated.job import Job, JobState
from slotsmith.schedulers.simulated.placement import Placement

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LowerBound:
    """Instance-hours in the window, and the most instances that the clairvoyant fleet has in it."""

    work_hours: float
    clairvoyant_hours: float
    peak_instances: int


def lower_bound(jobs: Iterable[Job], capacity: Resources, *, start: float, end: float, lead_s: float) -> LowerBound:
    """The bounds for instances of this capacity between two times of the trace, in seconds.

    `jobs` are in order of submission; those that fit on no number of instances are left out. `lead_s` is how long an
    instance takes from its launch to its first task.
    """
    able = [job for job in jobs if agents_for(job.resources, job.spans, capacity)]
    moments, counts = _occupied(able, capacity)
    hours, peak = _kept(moments, counts, lead_s, start, end)
    return LowerBound(_work(able, capacity, start, end) / 3600, hours / 3600, peak)


def _work(jobs: Sequence[Job], capacity: Resources, start: float, end: float) -> float:
    """Instance-seconds of full instances; the scarcest resource decides."""
    spans = [max(0.0, min(job.submit_s + job.duration_s, end) - max(job.submit_s, start)) for job in jobs]
    totals = [
        math.fsum(span * amount(job.resources) for span, job in zip(spans, jobs, strict=True)) / amount(capacity)
        for amount in (_slots, _cpus, _memory)
        if amount(capacity)
    ]
    return max(totals, default=0.0)


def _slots(amount: Resources) -> float:
    return amount.slots


def _cpus(amount: Resources) -> float:
    return amount.cpus


def _memory(amount: Resources) -> float:
    return amount.mem_gib


def _occupied(jobs: Sequence[Job], capacity: Resources) -> tuple[_Floats, _Ints]:
    """How many agents have work: ascending moments, and the number from each to the next."""
    placement = Placement(None)
    running: list[tuple[float, int, JobState]] = []
    changes: list[tuple[float, int]] = []
    opened = 0

    def end_until(moment: float) -> None:
        while running and running[0][0] <= moment:
            ended_at, _, state = heapq.heappop(running)
            names = state.agents
            placement.finish(state)
            idle = [name for name in names if not placement.agents[name].jobs]
            for name in idle:
                placement.leave(name)
            changes.append((ended_at, -len(idle)))

    for job in jobs:
        end_until(job.submit_s)
        state = placement.submit(job, job.submit_s)
        if not placement.place():
            count = agents_for(job.resources, job.spans, capacity)
            for number in range(opened, opened + count):
                placement.join(f"agent-{number}", capacity)
            opened += count
            changes.append((job.submit_s, count))
            assert placement.place(), "a job that can run does so on new agents"
        heapq.heappush(running, (job.submit_s + job.duration_s, state.number, state))
    end_until(math.inf)
    return _summed(changes)


def _summed(changes: Sequence[tuple[float, int]]) -> tuple[_Floats, _Ints]:
    moments, steps = np.unique(np.array([moment for moment, _ in changes], dtype=float), return_inverse=True)
    counts = np.zeros(len(moments), np.int64)
    np.add.at(counts, steps, np.array([change for _, change in changes], dtype=np.int64))
    return moments, np.cumsum(counts)


def _kept(moments: _Floats, counts: _Ints, lead_s: float, start: float, end: float) -> tuple[float, int]:
    """Instance-seconds between two times when at each moment there are as many as are needed within `lead_s` of it."""
    edges = np.unique(np.clip(np.concatenate((moments, moments - lead_s, [start, end])), start, end))
    if len(edges) < 2 or not len(moments):
        return 0.0, 0
    # In the middle between two edges nothing hangs on how a sum of times was rounded.
    middles = (edges[:-1] + edges[1:]) / 2
    counts = np.append(counts, 0)  # before the first moment, which is at index -1
    first = np.searchsorted(moments, middles, side="right") - 1
    last = np.searchsorted(moments, middles + lead_s, side="right") - 1
    most = _maxima(np.roll(counts, 1), first + 1, last + 1)
    return math.fsum((np.diff(edges) * most).tolist()), int(most.max())


def _maxima(values: _Ints, first: _Ints, last: _Ints) -> _Ints:
    """The largest of `values[first : last + 1]`, for each pair."""
    lengths = last - first + 1
    levels = np.frexp(lengths)[1] - 1  # the largest power of two that fits into each stretch
    result = np.zeros(len(first), np.int64)
    for level in range(int(levels.max()) + 1):
        here = levels == level
        result[here] = np.maximum(values[first[here]], values[last[here] - (1 << level) + 1])
        if len(values) <= 1 << level:
            break
        values = np.maximum(values[: -(1 << level)], values[1 << level :])
    return result
