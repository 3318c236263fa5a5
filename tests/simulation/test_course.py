"""How a run went over time, from what its cloud and its scheduler know at the end."""

from __future__ import annotations

from slotsmith.model.instance import InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import Machine
from slotsmith.schedulers.simulated import Job, JobState
from slotsmith.simulation.course import course_of
from slotsmith.simulation.loop import EPOCH


def machine(paid_from: float | None, paid_until: float | None, *earlier: tuple[float, float]) -> Machine:
    made = Machine("i", "t", Offering("g", Resources(4)), "i", EPOCH, 0.0, InstanceState.RUNNING, EPOCH)
    made.paid_from = None if paid_from is None else EPOCH + paid_from
    made.paid_until = None if paid_until is None else EPOCH + paid_until
    made.earlier = [(EPOCH + since, EPOCH + until) for since, until in earlier]
    return made


def job(slots: int, submitted: float, *runs: tuple[float, float | None]) -> JobState:
    """A job with its runs; the last one may go on, those before it were cut off."""
    state = JobState(Job(f"j{submitted}", submitted, 1.0, Resources(slots)), 0, 0, submitted)
    for number, (start, end) in enumerate(runs):
        state.start(start)
        if end is not None:
            if number < len(runs) - 1:
                state.lose(end)
            else:
                state.end(end)
    return state


def test_what_is_paid_runs_and_waits_at_each_time() -> None:
    machines = [machine(10, 100), machine(50, None, (20, 30)), machine(None, None)]
    jobs = [job(2, 5, (15, 60)), job(3, 40, (45, 55), (70, None)), job(1, 80)]
    course = course_of(machines, jobs, 0.0, 200.0)
    told = dict(zip(course.seconds, zip(*_columns(course), strict=True), strict=True))
    assert course.end == 200
    assert list(told) == [0, 5, 10, 15, 20, 30, 40, 45, 50, 55, 60, 70, 80, 100, 200]
    # instances, their slots, slots at work, slots asked for, waiting tasks
    assert told[0] == (0, 0, 0, 0, 0)
    assert told[5] == (0, 0, 0, 2, 1)
    assert told[15] == (1, 4, 2, 2, 0)
    assert told[20] == (2, 8, 2, 2, 0)
    assert told[40] == (1, 4, 2, 5, 1)
    assert told[50] == (2, 8, 5, 5, 0)
    assert told[55] == (2, 8, 2, 5, 1)
    assert told[70] == (2, 8, 3, 3, 0)
    assert told[100] == (1, 4, 3, 4, 1)


def test_a_window_begins_with_what_is_there() -> None:
    course = course_of([machine(10, 100)], [job(2, 5, (15, 60)), job(4, 500)], 50.0, 90.0)
    assert list(course.seconds) == [50, 60, 90]
    assert [values[:2] for values in _columns(course)] == [[1, 1], [4, 4], [2, 0], [2, 0], [0, 0]]


def test_nothing_at_all() -> None:
    course = course_of([], [], 0.0, 10.0)
    assert (list(course.seconds), [list(values) for values in _columns(course)]) == ([0], [[0]] * 5)


def _columns(course: object) -> list[list[float]]:
    return [list(getattr(course, name)) for name in ("instances", "capacity", "used", "asked", "waiting")]
