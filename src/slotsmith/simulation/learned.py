"""Pools with foresight, drawn after all else so that other seeds stay as they are.

A world is shorter than the time for which a pool only watches. So the program takes up what it learned before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from slotsmith.clock import Random
from slotsmith.core.foresight import EVIDENCE, WAYS, Foresight, to_body
from slotsmith.core.idle_period import PERIODS
from slotsmith.core.rises import Rises
from slotsmith.core.shadows import Shadow
from slotsmith.model.foresight import Target
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import SimulatedSettings
from slotsmith.simulation.scenario import Scenario

_SHARE: Final = 0.03
"""Of all seeds, those in which something is foreseen."""
_BEFORE: Final = 10_000.0
"""Instance-seconds that the fleets that are only reckoned have come to before; what happens now weighs as much."""
_HOUR: Final = 3600.0


def with_foresight(scenario: Scenario) -> Scenario:
    """The same world, in some seeds with spare or an idle period that has been learned."""
    random = Random(f"slotsmith {scenario.seed} foresight")
    policies = (scenario.policy, *(policy for _, policy in scenario.policies))
    if random.random() >= _SHARE or any(policy.headroom_slots for policy in policies):
        return scenario
    # Where there are several sizes, how many instances the headroom takes depends on which are there.
    alike = len({each.capacity.slots for each in scenario.provider.offerings}) == 1
    spare = random.random() < 0.8 and alike
    target = Target(
        max_extra_cost=random.choice((0.0, 0.1, 1.0)),
        wait_p95=random.choice((None, None, 60.0)),
        spare=spare,
        idle_period=not spare or random.random() < 0.3,
    )

    def changed(policy: Policy) -> Policy:
        return replace(policy, foresight=target)

    return replace(
        scenario,
        policy=changed(scenario.policy),
        policies=tuple((at, changed(policy)) for at, policy in scenario.policies),
        learned=to_body(_learned(random, scenario.provider)),
    )


def _learned(random: Random, provider: SimulatedSettings) -> Foresight:
    """Something that makes one of the ways look best at first, and asks for up to two instances."""
    boot = max(1.0, provider.boot_time + provider.join_time)
    largest = max(1, provider.largest.capacity.slots)
    begun = Rises.begin(boot, 0.0, 0)
    counts, lately = np.zeros_like(begun.counts), np.zeros_like(begun.lately)
    for row in (*counts, lately):
        for _ in range(3):
            row[random.randint(0, min(2 * largest, len(row) - 1))] += 1.0
    best = random.randint(1, len(WAYS))
    waited = [_HOUR if way != best else 0.0 for way in range(len(WAYS) + 1)]
    return Foresight(
        boots={each.name: boot for each in provider.offerings},
        joined_until=0.0,
        rises=replace(begun, counts=counts, lately=lately),
        ways=tuple(Shadow(0.0, cost=_BEFORE, waited=each, late=each / _HOUR, rises=2.0) for each in waited),
        pool=Shadow(0.0, cost=_BEFORE, waited=_HOUR),
        watched=2 * EVIDENCE,
        periods=tuple(Shadow(0.0, cost=_BEFORE * random.uniform(0.9, 1.0)) for _ in PERIODS),
    )
