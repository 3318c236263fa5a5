"""What a run has cost, and how long its tasks have waited: the figures of `slotsmith simulate`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import Machine
from slotsmith.schedulers.simulated.agents import agents_for
from slotsmith.schedulers.simulated.job import Job, JobState
from slotsmith.simulation.bounds import LowerBound
from slotsmith.simulation.loop import EPOCH


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from submission to start; of a task that was killed, all the time it has been queued.

    Percentiles are waits that have occurred: the smallest that so many of the tasks do not exceed. `zero_fraction` are
    those that started at once. All are 0 (and the fraction 1) when there are no tasks.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    zero_fraction: float


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Of the tasks submitted in the window: those that have ended, those that can never run, and runs cut off."""

    completed: int
    unschedulable: int
    killed: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one window. `cost_usd` is None when something paid for has no known price."""

    instance_hours: float
    cost_usd: float | None
    utilisation: float
    launches: int
    peak_instances: int
    wait_s: Waits
    tasks: TaskCounts

    def as_json(self, bound: LowerBound) -> dict[str, Any]:
        """The part of `slotsmith simulate --json` that is measured, rounded to what means something."""
        figures: dict[str, Any] = asdict(self)
        figures["lower_bound"] = {"work_hours": bound.work_hours, "clairvoyant_hours": bound.clairvoyant_hours}
        return {name: _rounded(value) for name, value in figures.items()}


def measure(
    machines: Iterable[Machine],
    jobs: Iterable[JobState],
    *,
    start: float,
    end: float,
    now: float,
    capacity: Resources,
    max_instances: int,
    started_is_done: bool = False,
) -> Measurement:
    """The figures between two times (seconds from the start of the world): tasks submitted then, instance-time of then.

    A task that still waits counts with what it has waited until `now`. A task that `max_instances` instances of
    `capacity` can never run is unschedulable, and its wait counts nowhere. `started_is_done`: nothing cuts a task off,
    so one that runs at `now` counts as completed.
    """
    paid = list(machines)
    all_jobs = list(jobs)
    hours = [machine.billed_between(EPOCH + start, EPOCH + end) / 3600 for machine in paid]
    offered = math.fsum(
        hour * 3600 * machine.offering.capacity.slots for hour, machine in zip(hours, paid, strict=True)
    )
    submitted = [state for state in all_jobs if start <= state.job.submit_s < end]
    able = [state for state in submitted if can_run(state.job, capacity, max_instances)]
    return Measurement(
        instance_hours=math.fsum(hours),
        cost_usd=_cost(paid, hours),
        utilisation=_worked(all_jobs, start, end) / offered if offered else 0.0,
        launches=sum(start <= machine.created_at - EPOCH < end for machine in paid),
        peak_instances=_peak(paid, start, end),
        wait_s=_waits([state.waited(now) for state in able]),
        tasks=TaskCounts(
            completed=sum(
                state.ended_at is not None or (started_is_done and state.started_at is not None) for state in submitted
            ),
            unschedulable=len(submitted) - len(able),
            killed=sum(len(state.lost) for state in submitted),
        ),
    )


def can_run(job: Job, capacity: Resources, max_instances: int) -> bool:
    """Whether a pool of at most so many instances can ever run it."""
    return 0 < agents_for(job.resources, job.spans, capacity) <= max_instances


def _cost(machines: Sequence[Machine], hours: Sequence[float]) -> float | None:
    prices = [machine.offering.price for machine in machines]
    if any(price is None and hour for price, hour in zip(prices, hours, strict=True)):
        return None
    return math.fsum(hour * (price or 0.0) for price, hour in zip(prices, hours, strict=True))


def _worked(jobs: Iterable[JobState], start: float, end: float) -> float:
    """Slot-seconds for which tasks ran, those of runs that were cut off too."""
    return math.fsum(
        state.job.resources.slots * max(0.0, min(until, end) - max(since, start))
        for state in jobs
        for since, until in state.runs()
    )


def _peak(machines: Iterable[Machine], start: float, end: float) -> int:
    """The most that were paid for at once; one that ends when another begins makes room for it."""
    changes: list[tuple[float, int]] = []
    for machine in machines:
        stretches = list(machine.earlier)
        if machine.paid_from is not None:
            stretches.append((machine.paid_from, math.inf if machine.paid_until is None else machine.paid_until))
        for since, until in stretches:
            if until > EPOCH + start and since < EPOCH + end:
                changes += ((since, 1), (until, -1))
    peak = count = 0
    for _, change in sorted(changes):
        count += change
        peak = max(peak, count)
    return peak


def _waits(waits: Sequence[float]) -> Waits:
    if not waits:
        return Waits(0.0, 0.0, 0.0, 0.0, 1.0)
    ordered = sorted(waits)
    p50, p95, p99 = (ordered[math.ceil(len(ordered) * percent / 100) - 1] for percent in (50, 95, 99))
    return Waits(math.fsum(ordered) / len(ordered), p50, p95, p99, ordered.count(0.0) / len(ordered))


def _rounded(value: Any) -> Any:
    """Six digits behind the point: a microsecond, a milli-instance-second, a millionth of a dollar."""
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value
