"""Makes a failing scenario small: without the faults, the work and the changes that it fails without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from slotsmith.providers.simulated.faults import NO_LIMITS, OFF
from slotsmith.schedulers.simulated import FAULTS as SCHEDULER_FAULTS
from slotsmith.schedulers.simulated import NO_SCHEDULER_FAULTS
from slotsmith.simulation.generation import NO_CRASHES
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.storage import NO_STORE_FAULTS
from slotsmith.simulation.world import Outcome, run_scenario

MOST_RUNS: Final = 150
"""Runs that are spent on one failure."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A scenario that still breaks the same promise, how it ends, and how many runs it took to find it."""

    scenario: Scenario
    outcome: Outcome
    runs: int


def shrink(scenario: Scenario, *, most_runs: int = MOST_RUNS) -> Shrunk:
    """Drop what is not needed for the first violation, one thing after the other, until nothing more can go.

    The run ends with the event at which the promise is broken, so its timeline is the shortest prefix that fails.

    Raises:
        ValueError: the scenario breaks no promise.
    """
    outcome = run_scenario(scenario)
    if not outcome.violations:
        raise ValueError(f"seed {scenario.seed} breaks no promise")
    promise = outcome.violations[0].promise
    runs, again = 1, True
    while again:
        again = False
        for smaller in _smaller(scenario):
            if runs >= most_runs:
                break
            runs += 1
            if _breaks(smaller, promise):
                scenario, again = smaller, runs < most_runs
                break
    return Shrunk(scenario, run_scenario(scenario, timeline=True), runs)


def _breaks(scenario: Scenario, promise: str) -> bool:
    violations = run_scenario(scenario).violations
    return bool(violations) and violations[0].promise == promise


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """All that is simpler by one step, the largest steps first."""
    if scenario.second_pool:
        yield replace(scenario, second_pool=False)
    for simpler in (
        replace(scenario, scheduler_faults=NO_SCHEDULER_FAULTS),
        replace(scenario, store_faults=NO_STORE_FAULTS),
        replace(scenario, crashes=NO_CRASHES),
        replace(scenario, policies=()),
        replace(scenario, strays=()),
    ):
        if simpler != scenario:
            yield simpler
    yield from _fewer_jobs(scenario)
    yield from _fewer_cloud_faults(scenario)
    for each in fields(scenario.scheduler_faults):
        if each.name in SCHEDULER_FAULTS and getattr(scenario.scheduler_faults, each.name):
            off: dict[str, Any] = {each.name: 0.0}
            yield replace(scenario, scheduler_faults=replace(scenario.scheduler_faults, **off))
    for name in ("busy", "full", "late", "latency"):
        if getattr(scenario.store_faults, name):
            yield replace(scenario, store_faults=replace(scenario.store_faults, **{name: 0.0}))


def _fewer_jobs(scenario: Scenario) -> Iterator[Scenario]:
    jobs = scenario.jobs
    size = len(jobs) // 2
    while size >= 1:
        for start in range(0, len(jobs), size):
            yield replace(scenario, jobs=jobs[:start] + jobs[start + size :])
        size //= 2


def _fewer_cloud_faults(scenario: Scenario) -> Iterator[Scenario]:
    faults = scenario.cloud_faults
    on = [name for name, chance in faults.chances().items() if chance.rate]
    size = len(on)
    while size >= 1:
        for start in range(0, len(on), size):
            off: dict[str, Any] = dict.fromkeys(on[start : start + size], OFF)
            yield replace(scenario, cloud_faults=replace(faults, **off))
        size //= 2
    if faults.limits != NO_LIMITS:
        yield replace(scenario, cloud_faults=replace(faults, limits=NO_LIMITS))
