"""Virtual time: what it costs in CPU time.

The trace is not part of the project: its row is there when `SLOTSMITH_TRACES` names a directory with `philly.csv.gz`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Table, cpu_ms, figure
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType
from slotsmith.simulation.draw import draw
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.trace import read_trace
from slotsmith.simulation.trial import Trial, run_trial
from slotsmith.simulation.world import run_scenario

QUIET_DAYS = 10
QUIET_AT_LEAST = 100.0
"""Pool-hours in a second of CPU time."""
SEEDS = 50
WINDOW = (2_934_000.0, 4_143_600.0)
"""The busiest 14 days of the trace, in seconds; what lies before them is played as well."""


def provider(slots: int) -> SimulatedSettings:
    """A cloud with one instance type."""
    kind = SimulatedType(name="kind", slots=slots)
    # Nothing happens behind the back of a pool in which nothing goes wrong, so that it need not look often.
    return SimulatedSettings(type="simulated", instance_types=(kind,)).model_copy(update={"poll_period": 300.0})


def quiet_pool() -> Row:
    """Twenty idle instances that stay."""
    scenario = Scenario(
        seed=0,
        policy=Policy(min_instances=20, max_instances=20),
        provider=provider(4),
        jobs=(),
        ends_at=QUIET_DAYS * 86400.0,
        summaries=False,
    )
    ms, outcome = cpu_ms(lambda: run_scenario(scenario))
    assert len(outcome.machines) == 20
    rate = QUIET_DAYS * 24 / (ms / 1000)
    told = f"{rate:,.0f} pool-hours/s"
    return Row("a quiet pool of 20 instances", "", f"at least {QUIET_AT_LEAST:g}", told, rate < QUIET_AT_LEAST)


def swarm_seed() -> Row:
    """The mean of the first seeds."""
    ms, _ = cpu_ms(lambda: [run_scenario(draw(seed)) for seed in range(SEEDS)])
    return figure(f"a seed of the swarm, mean of {SEEDS}", ms / SEEDS, target=250)


def philly(file: Path) -> Iterator[Row]:
    """The whole trace up to the window's end."""
    jobs = tuple(job for job in read_trace(file) if job.submit_s < WINDOW[1])
    policy = Policy(max_instances=1_000_000)
    for rules, target in (("slotsmith", 60), ("reference", 300)):
        gc.collect()
        trial = Trial(policy, provider(4), jobs, WINDOW, rules, whole=False)
        ms, result = cpu_ms(lambda trial=trial: run_trial(trial, lambda _: None))  # type: ignore[misc]
        hours, wait = result.figures["instance_hours"], result.figures["wait_s"]["mean"]
        what = f"philly, 4 slots, rules {rules}: {hours:,.0f} instance-hours, mean wait {wait:.1f} s"
        yield figure(what, ms / 1000, "s", target=target)


def tables() -> list[Table]:
    """The quiet pool, the swarm and, where it is, the trace."""
    rows = [quiet_pool(), swarm_seed()]
    traces = os.environ.get("SLOTSMITH_TRACES")
    if traces and (file := Path(traces) / "philly.csv.gz").exists():
        rows += philly(file)
    return [Table("Simulation", rows)]
