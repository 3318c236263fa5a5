"""How a run went over time: fleet, demand and waiting tasks, as steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slotsmith.providers.simulated import Machine
from slotsmith.schedulers.simulated import JobState
from slotsmith.simulation.loop import EPOCH

Stretch = tuple[float, float, float]
"""From when, until when (seconds from the start; infinite = still), and how much."""


@dataclass(frozen=True, slots=True)
class Course:
    """The values at index i hold from `seconds[i]` (ascending, from the start of the trace) to the next, or to `end`.

    `instances` are those that are paid; `capacity` are their slots, and `used` those of them with work. `asked` are
    the slots of tasks that run or wait, `waiting` the tasks that wait; tasks that can never run are left out.
    """

    seconds: Sequence[float]
    instances: Sequence[float]
    capacity: Sequence[float]
    used: Sequence[float]
    asked: Sequence[float]
    waiting: Sequence[float]
    end: float


def course_of(machines: Iterable[Machine], jobs: Iterable[JobState], start: float, end: float) -> Course:
    """The course from `start` to `end`, in seconds from the start of the trace; `jobs` are those that can run."""
    paid = [(since, until, machine.offering.capacity.slots) for machine in machines for since, until in _paid(machine)]
    running, waiting = [], []
    for state in jobs:
        slots = state.job.resources.slots
        runs = [(since, math.inf if until is None else until) for since, until in state.runs()]
        running += [(since, until, slots) for since, until in runs]
        waiting += [(since, until, slots) for since, until in _waits(state, runs)]
    columns: dict[str, Sequence[Stretch]] = {
        "instances": [(since, until, 1) for since, until, _ in paid],
        "capacity": paid,
        "used": running,
        "asked": running + waiting,
        "waiting": [(since, until, 1) for since, until, _ in waiting],
    }
    moments = np.array([moment for stretches in (paid, running, waiting) for each in stretches for moment in each[:2]])
    seconds = np.unique(np.append(np.clip(moments, start, end), start))
    values = {name: _steps(stretches, seconds, start, end).tolist() for name, stretches in columns.items()}
    return Course(seconds=seconds.tolist(), end=end, **values)


def _steps(stretches: Sequence[Stretch], seconds: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """How much there is at each of `seconds`, all stretches together."""
    table = np.array(stretches, dtype=float).reshape(-1, 3)
    changes = np.zeros(len(seconds))
    for column, sign in ((0, 1.0), (1, -1.0)):
        np.add.at(changes, np.searchsorted(seconds, np.clip(table[:, column], start, end)), sign * table[:, 2])
    return np.cumsum(changes)


def _paid(machine: Machine) -> Iterator[tuple[float, float]]:
    yield from ((since - EPOCH, until - EPOCH) for since, until in machine.earlier)
    if machine.paid_from is not None:
        until = math.inf if machine.paid_until is None else machine.paid_until - EPOCH
        yield machine.paid_from - EPOCH, until


def _waits(state: JobState, runs: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """What lies before, between and, when it has not ended, after its runs."""
    since = state.job.submit_s
    for begin, end in runs:
        yield since, begin
        since = end
    if state.started_at is None:
        yield since, math.inf
