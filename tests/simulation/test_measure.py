"""The figures of a run, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from slotsmith.model.instance import InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import Machine, SimulatedSettings, SimulatedType
from slotsmith.schedulers.simulated import Job, JobState
from slotsmith.simulation.bounds import LowerBound
from slotsmith.simulation.loop import EPOCH
from slotsmith.simulation.measure import Measurement, TaskCounts, Waits, can_run, measure
from slotsmith.simulation.trial import Trial, run_trial

CAPACITY = Resources(4)


def machine(
    name: str,
    since: float | None,
    until: float | None,
    *,
    price: float | None = 2.0,
    earlier: Sequence[tuple[float, float]] = (),
) -> Machine:
    """A machine that was paid for between these times of the trace."""
    return Machine(
        id=name,
        token="",
        offering=Offering("small", CAPACITY, price=price),
        agent_name=name,
        created_at=EPOCH + (since or 0.0),
        min_billing=60.0,
        state=InstanceState.RUNNING,
        launched_at=EPOCH,
        paid_from=None if since is None else EPOCH + since,
        paid_until=None if until is None else EPOCH + until,
        earlier=[(EPOCH + begin, EPOCH + end) for begin, end in earlier],
    )


def state(
    number: int, submit: float, *runs: tuple[float, float | None], slots: int = 1, spans: bool = False
) -> JobState:
    """A job with its runs; all but the last were cut off, and the last may still go on."""
    made = JobState(Job(f"job-{number}", submit, 0.0, Resources(slots), spans), number, 0, submit)
    for position, (since, until) in enumerate(runs):
        made.start(since)
        if position < len(runs) - 1:
            assert until is not None
            made.lose(until)
        elif until is not None:
            made.end(until)
    return made


def measured(machines: list[Machine], jobs: list[JobState], start: float = 0.0, end: float = 10_000.0) -> Measurement:
    return measure(machines, jobs, start=start, end=end, now=10_000.0, capacity=CAPACITY, max_instances=3)


def test_hours_cost_peak_and_launches() -> None:
    machines = [
        machine("a", 0, 3600),
        machine("b", 1800, 5400),
        machine("c", 3600, 7200),  # begins when a ends
        machine("request", None, None),
        machine("short", 9000, 9001),  # at least a minute
    ]
    found = measured(machines, [])
    assert found.instance_hours == pytest.approx(3 + 1 / 60)
    assert found.cost_usd == pytest.approx(2 * (3 + 1 / 60))
    assert found.peak_instances == 2
    assert found.launches == 5
    assert found.utilisation == 0.0
    part = measured(machines, [], start=1800.0, end=3600.0)
    assert (part.instance_hours, part.launches, part.peak_instances) == (pytest.approx(1.0), 1, 2)


def test_one_that_was_stopped_and_started_again_and_one_that_is_still_paid() -> None:
    again = machine("a", 5000, 6000, earlier=[(0.0, 1000.0)])
    still = machine("b", 9000, None)
    found = measured([again, still], [])
    assert found.instance_hours == pytest.approx(3000 / 3600)
    assert found.peak_instances == 1


def test_a_price_that_is_not_known() -> None:
    assert measured([machine("a", 0, 3600), machine("b", 0, 3600, price=None)], []).cost_usd is None
    free = machine("b", 20_000, 30_000, price=None)
    assert measured([machine("a", 0, 3600), free], []).cost_usd == pytest.approx(2.0), "it costs nothing in the window"


def test_utilisation_counts_work_in_the_window_of_all_tasks() -> None:
    jobs = [state(0, 0, (0, 500), (900, 1400), slots=2), state(1, 0, (200, None))]
    assert measured([machine("a", 0, 2000)], jobs, 0.0, 1000.0).utilisation == pytest.approx(
        (2 * 600 + 800) / (4 * 1000)
    )


def test_waits_of_tasks_submitted_in_the_window() -> None:
    jobs = [state(n, n, (n + wait, None)) for n, wait in enumerate([0, 0, 10, 20, 30, 40, 50, 60, 70, 1000])]
    found = measured([], [*jobs, state(10, 9.5, (9.5, 10))], 0.0, 9.5).wait_s
    assert found == Waits(mean=128.0, p50=30.0, p95=1000.0, p99=1000.0, zero_fraction=0.2)
    assert measured([], jobs, 2.0, 4.0).wait_s == Waits(15.0, 10.0, 20.0, 20.0, 0.0)
    assert measured([], []).wait_s == Waits(0.0, 0.0, 0.0, 0.0, 1.0)


def test_tasks_that_wait_still_are_killed_or_never_run() -> None:
    jobs = [
        state(0, 0, (5, 10), (30, 40)),
        state(1, 9_000),
        state(2, 0, slots=8),
        state(3, 0, slots=16, spans=True),
        state(4, 0, (1, 2), slots=12, spans=True),
    ]
    found = measured([], jobs)
    assert found.tasks == TaskCounts(completed=2, unschedulable=2, killed=1)
    assert found.wait_s.mean == pytest.approx((5 + 20 + 1000 + 1) / 3)


def test_a_run_may_end_once_the_figures_of_its_window_are_final() -> None:
    """The later work is long, and what runs at the window's end goes on after it."""
    random = Random(3)
    jobs = tuple(
        Job(f"t{n}", 60.0 * n, round(random.uniform(30, 4000), 3), Resources(random.choice((1, 2, 4))))
        for n in range(200)
    )
    settings = SimulatedSettings(type="simulated", instance_types=(SimulatedType(name="small", slots=4),))
    trial = Trial(Policy(max_instances=40), settings, jobs, (3000.0, 6000.0))
    whole, short = (run_trial(replace(trial, whole=whole), lambda _: None).figures for whole in (True, False))
    assert whole["tasks"]["completed"] == 50
    assert short["api_calls"]["launch"] < whole["api_calls"]["launch"]
    final = whole.keys() - {"digest", "api_calls"}
    assert {key: short[key] for key in final} == {key: whole[key] for key in final}
    # Where something may go wrong later, a task that runs is not done.
    faulty = replace(trial, faults="light")
    assert replace(faulty, whole=False).scenario() == faulty.scenario()


def test_can_run() -> None:
    def fits(slots: int, most: int, *, spans: bool = False) -> bool:
        return can_run(Job("a", 0, 1, Resources(slots), spans), CAPACITY, most)

    assert fits(4, 1)
    assert not fits(4, 0)
    assert not fits(8, 9)
    assert fits(8, 2, spans=True)
    assert not fits(8, 1, spans=True)


def test_json_has_the_published_keys_in_their_order() -> None:
    figures = measured([machine("a", 0, 1000)], [state(0, 0, (1 / 3, 100))]).as_json(LowerBound(1 / 3, 2 / 3, 1))
    assert list(figures) == [
        "instance_hours",
        "cost_usd",
        "utilisation",
        "launches",
        "peak_instances",
        "wait_s",
        "tasks",
        "lower_bound",
    ]
    assert figures["wait_s"] == {
        "mean": 0.333333,
        "p50": 0.333333,
        "p95": 0.333333,
        "p99": 0.333333,
        "zero_fraction": 0.0,
    }
    assert figures["lower_bound"] == {"work_hours": 0.333333, "clairvoyant_hours": 0.666667}
    assert figures["tasks"] == {"completed": 1, "unschedulable": 0, "killed": 0}
