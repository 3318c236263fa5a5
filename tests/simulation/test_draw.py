"""What the seeds draw: pools, work and faults of every kind, and each of them often enough."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from slotsmith.core import foresight
from slotsmith.core.foresight import Foresight
from slotsmith.core.idle_period import PERIODS
from slotsmith.core.view import View
from slotsmith.model.foresight import Foreseen, Target
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import FAULTS as CLOUD
from slotsmith.providers.simulated import NO_FAULTS
from slotsmith.schedulers.simulated import FAULTS as SCHEDULER
from slotsmith.schedulers.simulated import NO_SCHEDULER_FAULTS
from slotsmith.simulation.draw import draw
from slotsmith.simulation.generation import NO_CRASHES, POINTS
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.storage import NO_STORE_FAULTS
from slotsmith.simulation.world import run_scenario


@cache
def drawn() -> list[Scenario]:
    return [draw(seed) for seed in range(1000)]


def chosen(scenario: Scenario) -> set[str]:
    """The faults of a scenario by name, and the points at which its program dies."""
    names = {name for name, chance in scenario.cloud_faults.chances().items() if chance.rate}
    names |= {name for name in SCHEDULER if getattr(scenario.scheduler_faults, name)}
    names |= {f"store_{name}" for name in ("busy", "full", "late") if getattr(scenario.store_faults, name)}
    crashes = scenario.crashes
    return names | set(crashes.only or (["crash"] if crashes.rate or crashes.mean_life else []))


def few(scenario: Scenario) -> bool:
    """Whether only a few things are wrong with it."""
    return 0 < len(chosen(scenario)) <= 5 and 3 <= len(scenario.jobs) <= 10 and not scenario.strays


def test_a_third_of_the_seeds_have_few_faults_and_those_most_of_the_time() -> None:
    scenarios = [scenario for scenario in drawn() if few(scenario)]
    assert 250 < len(scenarios) < 450
    rates = [c.rate for s in scenarios for c in s.cloud_faults.chances().values() if c.rate]
    assert sum(0.3 <= rate <= 0.8 for rate in rates) > 0.8 * len(rates)


def test_every_fault_and_every_point_of_death_is_alone_in_some_seed_or_has_few_beside_it() -> None:
    counts = Counter(name for scenario in drawn() if few(scenario) for name in chosen(scenario))
    assert [name for name in (*CLOUD, *SCHEDULER, "store_busy", "store_full", "store_late") if not counts[name]] == []
    assert sum(bool(counts[point]) for point in POINTS) > len(POINTS) / 2


def test_some_seeds_have_no_fault_at_all() -> None:
    nothing = (NO_FAULTS, NO_SCHEDULER_FAULTS, NO_CRASHES, NO_STORE_FAULTS)
    calm = [s for s in drawn() if (s.cloud_faults, s.scheduler_faults, s.crashes, s.store_faults) == nothing]
    assert 30 < len(calm) < 120


def test_tokens_are_forgotten_soon_and_listings_lag_in_many_seeds() -> None:
    settings = [scenario.provider for scenario in drawn()]
    assert sum(each.token_lifetime == 300.0 for each in settings) > 300
    assert sum(each.consistency_window > 0 for each in settings) > 500


def test_every_instance_has_time_to_join() -> None:
    for scenario in drawn():
        for policy in (scenario.policy, *(later for _, later in scenario.policies)):
            starts = scenario.provider.boot_time + scenario.provider.join_time
            assert policy.max_agent_starting_period > 1.2 * starts
            assert policy.min_instances <= policy.max_instances


def test_some_seeds_have_foresight_and_it_is_at_work_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Foreseen] = []
    foreseen = foresight.foreseen

    def noted(state: Foresight, view: View, policy: Policy, target: Target) -> Foreseen:
        told.append(foreseen(state, view, policy, target))
        return told[-1]

    monkeypatch.setattr(foresight, "foreseen", noted)
    scenarios = [scenario for scenario in drawn() if scenario.policy.foresight is not None]
    assert 15 < len(scenarios) < 45
    (spare, *_) = [each for each in scenarios if each.policy.foresight == Target(1.0)]
    assert not run_scenario(spare).violations
    assert any(each.headroom_slots for each in told)
    told.clear()
    (idle, *_) = [each for each in scenarios if each.policy.foresight and not each.policy.foresight.spare]
    assert not run_scenario(idle).violations
    assert {each.idle_period for each in told} & set(PERIODS)
