"""The bounds against a slow count, and against figures that were computed independently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated import Job
from slotsmith.schedulers.simulated.agents import agents_for
from slotsmith.simulation.bounds import LowerBound, lower_bound
from slotsmith.simulation.trace import read_trace


def job(name: str, at: float, lasts: float, slots: int = 1, *, spans: bool = False) -> Job:
    return Job(name, at, lasts, Resources(slots), spans)


def test_one_job_is_paid_from_a_boot_time_ahead() -> None:
    found = lower_bound([job("a", 1000, 3600)], Resources(4), start=0, end=10_000, lead_s=190)
    assert found == LowerBound(0.25, pytest.approx(3790 / 3600), 1)


def test_an_instance_is_kept_when_it_is_needed_again_before_a_new_one_is_ready() -> None:
    def hours(pause: float) -> float:
        jobs = [job("a", 1000, 100), job("b", 1100 + pause, 100)]
        return lower_bound(jobs, Resources(1), start=0, end=10_000, lead_s=200).clairvoyant_hours * 3600

    assert hours(50) == pytest.approx(200 + 100 + 50 + 100)
    assert hours(200) == pytest.approx(200 + 100 + 200 + 100)
    assert hours(5000) == pytest.approx(2 * 300)


def test_best_fit_whole_agents_and_what_never_fits() -> None:
    jobs = [
        job("three", 0, 100, 3),
        job("two", 1, 100, 2),
        job("one", 2, 100, 1),  # goes beside the three
        job("gang", 3, 100, 8, spans=True),
        job("never", 4, 100, 8),
        job("nor this", 4, 100, 6, spans=True),
    ]
    found = lower_bound(jobs, Resources(4), start=0, end=1000, lead_s=0)
    assert found.peak_instances == 4
    assert found.clairvoyant_hours * 3600 == pytest.approx(102 + 100 + 200)
    assert found.work_hours * 3600 == pytest.approx((3 + 2 + 1 + 8) * 100 / 4)


def test_only_what_lies_in_the_window() -> None:
    jobs = [job("before", 0, 100), job("into", 450, 100), job("in", 700, 100), job("after", 1150, 100)]
    found = lower_bound(jobs, Resources(1), start=500, end=1100, lead_s=100)
    assert found.work_hours * 3600 == pytest.approx(50 + 100)
    assert found.clairvoyant_hours * 3600 == pytest.approx(50 + 200 + 50)


def test_the_scarcest_resource_decides() -> None:
    jobs = [Job("a", 0, 100, Resources(1, 8, 2))]
    assert lower_bound(jobs, Resources(4, 16, 16), start=0, end=100, lead_s=0).work_hours * 3600 == pytest.approx(50)
    assert lower_bound([], Resources(4), start=0, end=100, lead_s=0) == LowerBound(0.0, 0.0, 0)
    assert lower_bound(jobs, Resources(4, 16, 16), start=9, end=9, lead_s=0) == LowerBound(0.0, 0.0, 0)


JOBS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from([0, 1, 1, 2, 3, 4, 8]), st.booleans()),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(JOBS, st.sampled_from([0, 1, 7]), st.sampled_from([(0, 200), (20, 50)]))
def test_against_a_slow_count(rows: list[tuple[int, int, int, bool]], lead: int, window: tuple[int, int]) -> None:
    """Second by second, with a list of agents and no index."""
    capacity = Resources(4)
    jobs = [job(f"job-{n}", at, lasts, slots, spans=spans) for n, (at, lasts, slots, spans) in enumerate(sorted(rows))]
    # In the second `t` the number from t to t + 1: all times are whole.
    occupied = [0] * 400
    agents: list[list[tuple[int, int]]] = []  # one list per open agent, of (end, slots)
    work = 0
    for each in jobs:
        if not agents_for(each.resources, each.spans, capacity):
            continue
        now, slots = int(each.submit_s), each.resources.slots
        end = now + int(each.duration_s)
        for agent in agents:
            agent[:] = [run for run in agent if run[0] > now]
        agents = [agent for agent in agents if agent]
        count = max(1, -(-slots // 4))
        free = [(4 - sum(used for _, used in agent), n) for n, agent in enumerate(agents)]
        fits = min(((left, n) for left, n in free if left >= slots), default=None) if count == 1 else None
        if fits is not None:
            agents[fits[1]].append((end, slots))
        else:
            agents += [[(end, slots // count)] for _ in range(count)]
        for second in range(now, end):
            work += slots * (window[0] <= second < window[1])
        # Whoever was opened is occupied until its last run ends; counted anew for each second below.
        for second in range(now, 400):
            occupied[second] = sum(any(run_end > second for run_end, _ in agent) for agent in agents)
    # In the second from t to t + 1, whatever is needed up to the second that begins at t + lead is there.
    kept = [max(occupied[second : second + lead + 1]) for second in range(*window)]
    found = lower_bound(jobs, capacity, start=window[0], end=window[1], lead_s=lead)
    assert found.work_hours * 3600 == pytest.approx(work / 4)
    assert found.clairvoyant_hours * 3600 == pytest.approx(sum(kept))
    assert found.clairvoyant_hours >= found.work_hours - 1e-9


TRACES = os.environ.get("SLOTSMITH_TRACES", "")


@pytest.mark.skipif(not TRACES, reason="SLOTSMITH_TRACES does not name a directory with philly.csv.gz")
@pytest.mark.parametrize(
    ("slots", "work", "clairvoyant", "peak"),
    [(1, 187_482, 188_582, 1243), (4, 46_870, 50_881, 311), (8, 23_435, 27_533, 156)],
)
def test_against_figures_of_another_program(slots: int, work: float, clairvoyant: float, peak: int) -> None:
    """Which of equal agents a task goes to is not part of the definition, and moves the sum by as much as 1 %."""
    jobs = read_trace(Path(TRACES) / "philly.csv.gz")
    found = lower_bound(jobs, Resources(slots), start=2_934_000, end=4_143_600, lead_s=190)
    assert found.work_hours == pytest.approx(work, abs=0.5)
    assert found.clairvoyant_hours == pytest.approx(clairvoyant, rel=0.006 if slots > 1 else 3e-6)
    assert found.peak_instances == peak
