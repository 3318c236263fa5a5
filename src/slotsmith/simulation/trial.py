"""A trace replayed against one pool: from settings to figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import HEAVY as HEAVY_CLOUD
from slotsmith.providers.simulated import LIGHT as LIGHT_CLOUD
from slotsmith.providers.simulated import NO_FAULTS, CloudFaults, SimulatedSettings
from slotsmith.schedulers.simulated import HEAVY as HEAVY_SCHEDULER
from slotsmith.schedulers.simulated import LIGHT as LIGHT_SCHEDULER
from slotsmith.schedulers.simulated import NO_SCHEDULER_FAULTS, Job, SchedulerFaults
from slotsmith.simulation.bounds import lower_bound
from slotsmith.simulation.course import Course, course_of
from slotsmith.simulation.generation import NO_CRASHES, CrashFaults
from slotsmith.simulation.measure import can_run, measure
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.storage import NO_STORE_FAULTS, StoreFaults
from slotsmith.simulation.trace import only_stated
from slotsmith.simulation.world import collect_rarely, run_scenario


@dataclass(frozen=True, slots=True)
class FaultLevel:
    """What goes wrong everywhere, under one name."""

    cloud: CloudFaults
    scheduler: SchedulerFaults
    crashes: CrashFaults
    store: StoreFaults


_DAY: Final = 86400.0
# A trace may last for years, and its crashes go on to the end.
_WITHOUT_END: Final = 1_000_000

FAULT_LEVELS: Final[Mapping[str, FaultLevel]] = MappingProxyType(
    {
        "none": FaultLevel(NO_FAULTS, NO_SCHEDULER_FAULTS, NO_CRASHES, NO_STORE_FAULTS),
        "light": FaultLevel(
            LIGHT_CLOUD,
            LIGHT_SCHEDULER,
            CrashFaults(rate=0.001, mean_life=2 * _DAY, mean_stop=7 * _DAY, most=_WITHOUT_END),
            StoreFaults(busy=0.001, latency=0.005),
        ),
        "heavy": FaultLevel(
            HEAVY_CLOUD,
            HEAVY_SCHEDULER,
            CrashFaults(rate=0.02, mean_life=_DAY / 4, mean_stop=_DAY, most=_WITHOUT_END),
            StoreFaults(busy=0.02, full=0.005, late=0.001, latency=0.05),
        ),
    }
)
"""The faults of `slotsmith simulate --faults`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is replayed: the jobs of a trace against a pool. `window` (seconds from the start) limits the figures.

    `rules` are `slotsmith` or `reference`; `faults` is a name of `FAULT_LEVELS`. `whole`: to the end of the trace, or
    only until nothing more changes the window's figures, which is known where nothing goes wrong.
    """

    policy: Policy
    provider: SimulatedSettings
    jobs: tuple[Job, ...]
    window: tuple[float, float] | None = None
    rules: str = "slotsmith"
    faults: str = "none"
    seed: int = 0
    whole: bool = True

    @property
    def _wanted_until(self) -> float | None:
        """Without faults what has started ends, and what comes after the window changes no figure."""
        return self.window[1] if self.window and not self.whole and self.faults == "none" else None

    def scenario(self) -> Scenario:
        """The world of this trial. Faults strike until the last task is submitted."""
        level = FAULT_LEVELS[self.faults]
        jobs = tuple(only_stated(self.jobs, [each.capacity for each in self.provider.offerings]))
        return Scenario(
            seed=self.seed,
            policy=self.policy,
            provider=self.provider,
            jobs=jobs,
            cloud_faults=level.cloud,
            scheduler_faults=level.scheduler,
            crashes=level.crashes,
            store_faults=level.store,
            faulty_until=0.0 if self.faults == "none" else max((job.submit_s for job in jobs), default=0.0),
            wanted_until=self._wanted_until,
            rules=self.rules,
            scheduler_seed=self.seed,
            summaries=False,
        )


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The figures, with the keys of `slotsmith simulate --json`, and how it went over time."""

    figures: Mapping[str, Any]
    course: Course


def run_trial(trial: Trial, progress: Callable[[float], None]) -> TrialResult:
    """Replay the trace to its end; `progress` is told how much of it has come, from 0 to 1."""
    scenario = trial.scenario()
    outcome = run_scenario(scenario, until_violation=False, progress=progress)
    start, end = trial.window or (0.0, outcome.ended_at)
    capacity, most = scenario.provider.largest.capacity, trial.policy.max_instances
    lead = scenario.provider.boot_time + scenario.provider.join_time + scenario.provider.latency
    measured = measure(
        outcome.machines,
        outcome.jobs,
        start=start,
        end=end,
        now=outcome.ended_at,
        capacity=capacity,
        max_instances=most,
        started_is_done=scenario.wanted_until is not None,
    )
    able = [job for job in scenario.jobs if can_run(job, capacity, most)]
    bound = lower_bound(able, capacity, start=start, end=end, lead_s=lead)
    figures = measured.as_json(bound) | {
        "api_calls": dict(sorted(outcome.calls.items())),
        "violations": [violation._asdict() for violation in outcome.violations],
        "seed": trial.seed,
        "digest": outcome.digest,
    }
    states = [state for state in outcome.jobs if can_run(state.job, capacity, most)]
    return TrialResult(figures, course_of(outcome.machines, states, start, min(end, outcome.ended_at)))


def run_for_figures(trial: Trial, progress: Callable[[float], None]) -> Mapping[str, Any]:
    """Like `run_trial`, in a process of its own, and only the figures: what one hands to another should be small."""
    collect_rarely()
    return run_trial(trial, progress).figures
