"""Foresight: what it buys on traces, with its defaults, and what it costs a pass.

The traces are not part of the project: their rows are there when `SLOTSMITH_TRACES` names a directory with
`philly.csv.gz` and `openb2023.csv.gz`. `SLOTSMITH_SEEDS` says how many seeds each case is the mean of (default 1). The
runs are made side by side, on a terminal with a bar for each; those of one seed take about a quarter of an hour on two
cores. With `SLOTSMITH_PLOT=FILE.png` cost against wait is drawn for one case, with the rules of both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from benchmarks.harness import Row, Table, figure, median_ms
from benchmarks.simulation import provider
from slotsmith.cli.simulate_runs import run_several
from slotsmith.cli.simulate_tables import sweep_points
from slotsmith.core import foresight
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.foresight import Foresight
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.foresight import DEFAULT_TARGET
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.plot import plot_sweep
from slotsmith.simulation.trace import read_trace
from slotsmith.simulation.trial import Trial
from slotsmith.simulation.world import run_scenario

DAY = 86400.0
WARM_UP = 6 * DAY
"""Seconds before a window that are played as well, with what runs when they begin."""
BUSY = (2_934_000.0, 4_143_600.0)
PLAIN = Policy(max_instances=1_000_000, max_idle_agent_period=1200.0)
AGENTS = 300
GANG = 128
GANG_WARM_UP = 30 * 3600.0
GANG_PATIENCE = 2 * 3600.0
LONGEST_GANG_WAIT = 400.0


@dataclass(frozen=True)
class Case:
    """A trace on instances of so many slots; `wait` and `extra` are the most seconds and per cent of instance-hours.

    `wait` may be a share of that without foresight instead (at most 1). `group` is how ids of the tasks begin. `drawn`:
    it is the one of the chart. Tasks without slots or duration are left out; those of whole instances may span several.
    """

    what: str
    trace: str
    slots: int
    window: tuple[float, float]
    wait: float
    extra: float = 1.0
    group: str = ""
    drawn: bool = False

    @property
    def measured(self) -> tuple[float, float]:
        """The window by the case's own clock, which begins with its warm-up."""
        start, end = self.window
        return (WARM_UP, WARM_UP + end - start) if self.trace else self.window


CASES = (
    Case("philly, 8 slots", "philly", 8, BUSY, 14.0, 0.0),
    Case("philly, 4 slots", "philly", 4, BUSY, 20.0, 0.0),
    Case("openb, 1 slot", "openb2023", 1, (11_689_200.0, 12_898_800.0), 26.0, 0.0),
    Case("philly, another week, 8 slots", "philly", 8, (2_000_000.0, 2_604_800.0), 1.0, drawn=True),
    Case("philly, another week, 4 slots", "philly", 4, (6_000_000.0, 6_604_800.0), 1.0),
    Case("philly, one virtual cluster, 4 slots", "philly", 4, (3_000_000.0, 6_000_000.0), 1.0, group="6c71a0"),
    Case("philly, another virtual cluster, 8 slots", "philly", 8, (3_000_000.0, 6_000_000.0), 1.0, group="b436b2"),
    Case("bursts of two-minute gangs", "", 8, (0.0, 7 * DAY), 1.0),
)


def bursts() -> tuple[Job, ...]:
    """Gangs of 2 to 16 instances for about two minutes, every half hour or so."""
    random, at, jobs = Random(5), 0.0, []
    while at < 7 * DAY:
        at += random.expovariate(1 / 1800)
        slots, lasts = 8 * random.choice((2, 4, 8, 16)), 120 * random.uniform(0.7, 1.3)
        jobs.append(Job(f"gang-{len(jobs)}", round(at, 3), round(lasts, 3), Resources(slots), spans=True))
    return tuple(jobs)


def jobs_of(case: Case, traces: Path) -> tuple[Job, ...]:
    """The tasks of a case, by its own clock, with those that run when its warm-up begins."""
    if not case.trace:
        return bursts()
    jobs = between(read_trace(traces / f"{case.trace}.csv.gz"), case.window[0] - WARM_UP, case.window[1])
    return tuple(
        job._replace(spans=job.spans or (job.resources.slots > case.slots and job.resources.slots % case.slots == 0))
        for job in jobs
        if job.id.startswith(case.group) and job.resources.slots
    )


def between(jobs: Iterable[Job], start: float, end: float) -> Iterator[Job]:
    """What is submitted from `start` (time 0 of the result) to `end`, and what is left of what runs at `start`."""
    for job in jobs:
        begins, ends = max(job.submit_s, start), job.submit_s + job.duration_s
        if begins < min(end, ends):
            yield job._replace(submit_s=begins - start, duration_s=ends - begins)


def compared(cases: Mapping[Case, Sequence[Job]], seeds: int) -> Iterator[Row]:
    """Both on the same seeds: the reference's rules at 20 minutes, and ours with what is learned."""
    learned = replace(PLAIN, foresight=DEFAULT_TARGET)
    tried = [
        (f"{case.what}: {rules}, seed {seed}", _trial(case, jobs, policy, rules, seed))
        for case, jobs in cases.items()
        for rules, policy in (("reference", PLAIN), ("slotsmith", learned))
        for seed in range(seeds)
    ]
    figures = iter(run_several([trial for _, trial in tried], [label for label, _ in tried]))
    for case in cases:
        theirs, ours = list(islice(figures, seeds)), list(islice(figures, seeds))
        yield _against(case, theirs, ours)


def _trial(case: Case, jobs: Sequence[Job], policy: Policy, rules: str, seed: int = 0) -> Trial:
    return Trial(policy, provider(case.slots), tuple(jobs), case.measured, rules, seed=seed, whole=False)


def _against(case: Case, theirs: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> Row:
    before, after = (mean(each["instance_hours"] for each in runs) for runs in (theirs, ours))
    waited, waits_now = (mean(each["wait_s"]["mean"] for each in runs) for runs in (theirs, ours))
    extra, most = 100 * (after / before - 1), case.wait if case.wait > 1 else case.wait * waited
    broken = any(each["violations"] for each in ours)
    return Row(
        case.what,
        f"{before:,.0f} h, {waited:.1f} s",
        f"{case.extra:+.1f} %, {most:.1f} s",
        f"{after:,.0f} h ({extra:+.2f} %), {waits_now:.1f} s",
        extra > case.extra or waits_now > most or broken,
    )


def gangs(traces: Path) -> Row:
    """The longest that a gang of `GANG` single-slot instances waits where idle agents go after a minute."""
    jobs = [job for job in read_trace(traces / "philly.csv.gz") if job.resources.slots]
    policy, waits = replace(PLAIN, max_idle_agent_period=60.0), {"reference": 0.0, "slotsmith": 0.0}
    for at in [job.submit_s for job in jobs if job.resources.slots == GANG]:
        start, end = at - GANG_WARM_UP, at + GANG_PATIENCE
        played = tuple(between(jobs, start, end))
        for rules, longest in waits.items():
            scenario = Trial(policy, provider(1), played, rules=rules).scenario()
            states = run_scenario(replace(scenario, ends_at=end - start), until_violation=False).jobs
            gang = [state for state in states if state.job.resources.slots == GANG]
            waited = [(state.started_at or end - start) - state.job.submit_s for state in gang]
            waits[rules] = max(longest, *waited)
    what = f"philly, 1 slot, idle period 1 m: the longest wait of a {GANG}-slot gang"
    theirs, ours = waits["reference"], waits["slotsmith"]
    return Row(what, f"{theirs:,.0f} s", f"{LONGEST_GANG_WAIT:,.0f} s", f"{ours:,.0f} s", ours > LONGEST_GANG_WAIT)


def drawn(case: Case, jobs: Sequence[Job], file: Path) -> None:
    """Cost against wait, by idle period and (ours) with what is learned, as a chart."""
    tried = [
        (rules, f"{minutes}m", _trial(case, jobs, replace(PLAIN, max_idle_agent_period=60.0 * minutes), rules))
        for rules in ("reference", "slotsmith")
        for minutes in (60, 20, 5, 1)
    ]
    for share in (0.02, DEFAULT_TARGET.max_extra_cost):
        policy = replace(PLAIN, foresight=replace(DEFAULT_TARGET, max_extra_cost=share))
        trial = _trial(case, jobs, policy, "slotsmith")
        tried.append(("slotsmith, learned headroom", f"learned, {share:.1%}", trial))
    labels = [label for _, label, _ in tried]
    unit, points = sweep_points(labels, run_several([trial for *_, trial in tried], labels))
    points = [replace(point, series=series) for point, (series, *_) in zip(points, tried, strict=True)]
    subtitle = "one seed; by idle period, and with a learned headroom by what it may cost"
    plot_sweep(points, file, parameter="rules", unit=unit, title=case.what, subtitle=subtitle)


def costs() -> Iterator[Row]:
    """A look of a pool with three hundred busy agents, after a day of them."""
    kind = Offering("kind", Resources(8))
    instances = [Instance("i", InstanceState.RUNNING, 0.0, "i", "t", kind.name, kind.capacity)]
    fleet = observe(EMPTY_FLEET, instances, (), 0.0)
    fleet = observe(fleet, instances, (Agent("i", True, kind.capacity, Resources()),), 190.0)
    busy = tuple(Agent(f"a{n}", False, kind.capacity, Resources(5)) for n in range(AGENTS))
    random, state, now = Random(1), Foresight(), 200.0
    while now < DAY:
        now += random.expovariate(1 / 60)
        view = View(fleet, ScalingInfo(busy[: random.randint(AGENTS // 2, AGENTS)]), kind)
        state = foresight.looked(state, view, PLAIN, DEFAULT_TARGET, now)
    view = View(fleet, ScalingInfo(busy), kind)

    def look() -> None:
        seen = foresight.looked(state, view, PLAIN, DEFAULT_TARGET, now + 15.0)
        foresight.foreseen(seen, view, PLAIN, DEFAULT_TARGET)

    yield figure(f"a look at a pool with {AGENTS} busy agents", median_ms(look), target=1.0)


def tables() -> list[Table]:
    """What a look costs and, where they are, the traces."""
    rows = list(costs())
    traces, seeds = os.environ.get("SLOTSMITH_TRACES"), int(os.environ.get("SLOTSMITH_SEEDS", "1"))
    place = Path(traces or ".")
    found = [case for case in CASES if traces and (not case.trace or (place / f"{case.trace}.csv.gz").exists())]
    cases = {case: jobs_of(case, place) for case in found}
    rows += compared(cases, seeds)
    rows += [gangs(place)] if any(case.trace == "philly" for case in found) else []
    if (file := os.environ.get("SLOTSMITH_PLOT")) and (case := next((each for each in found if each.drawn), None)):
        drawn(case, cases[case], Path(file))
    return [Table("Foresight: instance-hours and mean wait", rows, "reference's rules, 20 min")]
