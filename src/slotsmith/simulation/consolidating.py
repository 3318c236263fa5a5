"""Pools that consolidate, drawn after all else so that other seeds stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from slotsmith.clock import Random
from slotsmith.model.policy import Consolidation, Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SimulatedSettings
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.choice import with_kinds
from slotsmith.simulation.scenario import Scenario

_SHARE: Final = 0.02
_UNLIMITED: Final[dict[str, Any]] = {"max_slots": None, "max_dollars_per_hour": None}
"""Limits that were drawn for other prices could leave no room for the minimum."""


def with_consolidation(scenario: Scenario, *, always: bool = False) -> Scenario:
    """The same world, in some seeds with a pool that consolidates, tasks that may be moved, and a choice of kinds."""
    random = Random(f"slotsmith {scenario.seed} consolidation")
    if random.random() >= _SHARE and not always:
        return scenario
    rules = Consolidation(
        max_at_once=random.choice((1, 1, 2, 5)),
        max_share=random.choice((1.0, 1.0, 0.5)),
        horizon=random.choice((3600.0, 8 * 3600.0, 86400.0)),
        move_cost=random.choice((0.0, 0.0, 0.2)),
        dry_run=random.random() < 0.05,
    )
    smaller = random.random() < 0.7
    provider = with_kinds(random, _larger(random, scenario.provider), smaller=smaller)

    warm = random.choice((0, 0, 1))

    def consolidating(policy: Policy) -> Policy:
        # Idle instances of another size would take the places that tasks wait for.
        least, free = (0, 0) if smaller else (policy.min_instances, warm)
        return replace(policy, **_UNLIMITED, consolidation=rules, min_instances=least, headroom_slots=free)

    return replace(
        scenario,
        provider=provider,
        policy=consolidating(scenario.policy),
        policies=tuple((at, consolidating(policy)) for at, policy in scenario.policies),
        jobs=tuple(_uneven(random, job) for job in scenario.jobs),
        movable=random.random() < 0.8,
    )


def _larger(random: Random, provider: SimulatedSettings) -> SimulatedSettings:
    """One kind, on which several jobs find room."""
    first = provider.instance_types[0]
    times = max(1, random.choice((2, 4, 8)) // first.slots)
    more = {"slots": first.slots * times, "cpus": first.cpus * times, "mem_gib": first.mem_gib * times}
    return provider.model_copy(update={"instance_types": (first.model_copy(update=more),)})


def _uneven(random: Random, job: Job) -> Job:
    """Small jobs that last, so that what is left of those that came together is not much for where it lies."""
    if random.random() < 0.3 and not job.spans:
        return job
    return job._replace(resources=Resources(1), spans=False, duration_s=job.duration_s * random.choice((1.0, 3.0, 8.0)))
