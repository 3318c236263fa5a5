"""Worlds in which few things go wrong, and those most of the time.

Where everything fails now and then, hardly anything fails twice in a row, and what one fault has broken another hides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from slotsmith.clock import Random
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import FAULTS as CLOUD
from slotsmith.providers.simulated import LIGHT, Chance, CloudFaults, SimulatedSettings
from slotsmith.schedulers.simulated import FAULTS as SCHEDULER
from slotsmith.simulation.generation import POINTS, CrashFaults
from slotsmith.simulation.scenario import Scenario

_DRAINS: Final = (
    ("after_drain",),
    ("after_drain", "before_cancel_drain"),
    ("during_drain", "after_drain"),
    ("before_cancel_drain",),
    ("during_cancel_drain", "after_cancel_drain"),
)
"""Where the program dies of its drains."""
_SPOT_ONLY: Final = frozenset(
    ("spot_pending", "fulfilled_after_cancel", "reclaimed_with_notice", "reclaimed_without_notice")
)
_WITH: Final = {"started_again": "stopped_behind_back", "fulfilled_after_cancel": "spot_pending"}
"""What cannot happen unless something else does."""
_STORE: Final = ("busy", "full", "late")
_SOON: Final = 900.0


# Machines that somebody stops take so long for it that they are told to end again meanwhile.
_LINGERING: Final = CloudFaults(
    stopped_behind_back=Chance(0.8, 320.0, 900.0, after=300.0),
    unreadable=Chance(0.5, 1.0, 90.0, after=1500.0),
    ignored_terminate=Chance(0.6),
    slow_terminate=Chance(0.8, 60.0, 300.0),
    arrives_late=Chance(0.5, 20.0, 100.0),
)
# Machines are hardly up when they are gone, and listings know it last.
_VANISHING: Final = CloudFaults(
    deleted_behind_back=Chance(0.7, after=60.0),
    stopped_behind_back=Chance(0.7, 1.0, 200.0, after=60.0),
    vanishes_late=Chance(0.9, 20.0, 60.0),
    spot_pending=Chance(0.4, 1.0, 100.0),
    untold=Chance(1.0),
)
# Machines that are told to end are started again by somebody, and stopped again, and nobody can make them end.
_RESTLESS: Final = CloudFaults(
    stopped_behind_back=Chance(0.9, 10.0, 100.0, after=120.0),
    started_again=Chance(0.95, 1.0, 60.0),
    ignored_terminate=Chance(0.8),
    slow_terminate=Chance(0.5, 20.0, 200.0),
    unreadable=Chance(0.6, 1.0, 60.0, after=400.0),
    untold=Chance(0.7),
)
# Launches are asked for until nearly nobody remembers their tokens.
_FORGOTTEN: Final = CloudFaults(hang=Chance(0.6), arrives_late=Chance(0.9, 60.0, 100.0), calls=("launch",))
# They arrive when they have been given up.
_DELAYED: Final = CloudFaults(arrives_late=Chance(0.95, 60.0, 110.0), calls=("launch",))
# They arrive when they have been refused.
_DISPUTED: Final = CloudFaults(arrives_late=Chance(0.6, 30.0, 100.0), denied=Chance(0.5, 5.0, 30.0), calls=("launch",))
# What a listing shows was so long before it came.
_OLD_NEWS: Final = CloudFaults(late_answer=Chance(0.8, 5.0, 50.0), calls=("list",))


def concentrated(random: Random, scenario: Scenario) -> Scenario:
    """The same pool and work, with only a few things wrong."""
    scenario = replace(scenario, provider=_provider(random, scenario.provider))
    kind = random.random()
    if kind < 0.08:
        return _crashing_drains(random, scenario)
    if kind < 0.16:
        return _late_agents(random, scenario)
    if kind < 0.24:
        return replace(scenario, policies=back_and_forth(random, scenario.policy, scenario.faulty_until))
    if kind < 0.42:
        return _turbulent(random, scenario)
    if kind < 0.49:
        return _late_calls(Random(f"{scenario.seed} late calls"), scenario)
    return _few_faults(random, scenario)


def back_and_forth(random: Random, policy: Policy, lasts: float) -> tuple[tuple[float, Policy], ...]:
    """A maximum that is lowered and raised again and again, while agents are drained for it."""
    low = replace(policy, min_instances=0, max_instances=random.randint(0, policy.max_instances // 2))
    at, changes = random.uniform(0.0, 0.5) * lasts, []
    for number in range(random.choice((4, 8))):
        at += random.uniform(5.0, 0.06 * lasts)
        changes.append((min(lasts, round(at, 3)), policy if number % 2 else low))
    return tuple(changes)


def _late_calls(random: Random, scenario: Scenario) -> Scenario:
    """What becomes of a launch is known late, or only when its token is worth nothing any more."""
    faults, crashes = random.choice((_FORGOTTEN, _DELAYED, _DISPUTED, _OLD_NEWS)), scenario.crashes
    changes = {"consistency_window": 0.0} if faults is _OLD_NEWS else {"token_lifetime": 300.0}
    if faults is _DELAYED:
        # What was on record and not asked for is asked for when there is hardly time for it.
        crashes = CrashFaults(rate=0.5, longest_pause=200.0, most=12, only=("before_launch",))
    provider = scenario.provider.model_copy(update=changes)
    return replace(scenario, provider=provider, cloud_faults=faults, crashes=crashes)


def _turbulent(random: Random, scenario: Scenario) -> Scenario:
    """Much happens to machines, and often while nobody looks for long."""
    small = min(3, scenario.policy.max_instances)
    policy = replace(scenario.policy, min_instances=min(small, scenario.policy.min_instances), max_instances=small)
    crashes = CrashFaults(rate=0.5, longest_pause=1200.0, most=12, only=("during_launch", "after_launch"))
    # The faster a machine is up, the more can happen to it between two listings.
    changes: dict[str, Any] = {"boot_time": random.choice((1.0, 5.0, scenario.provider.boot_time))}
    kind = random.random()
    if kind < 0.35:
        # Many are told to end while somebody stops them.
        faults, crashes = _LINGERING, scenario.crashes
        policy = replace(policy, max_idle_agent_period=round(random.uniform(10.0, 40.0), 3))
        short = tuple(job._replace(duration_s=min(30.0, job.duration_s)) for job in scenario.jobs)
        scenario = replace(scenario, jobs=short)
    elif kind < 0.6:
        faults = _VANISHING
        changes = {"boot_time": 1.0, "consistency_window": 60.0}
        crashes = replace(crashes, longest_pause=200.0)
    elif kind < 0.75:
        faults, crashes = _RESTLESS, scenario.crashes
    else:
        faults = turbulent(random)
        crashes = random.choice((crashes, scenario.crashes))
    provider = scenario.provider.model_copy(update=changes)
    provider = _spot(provider) if random.random() < 0.7 else provider
    return replace(scenario, policy=policy, provider=provider, cloud_faults=faults, crashes=crashes)


def turbulent(random: Random) -> CloudFaults:
    """A cloud in which machines change their state faster than anybody looks, so that every move can be seen."""
    after = random.choice((60.0, 400.0, 1500.0))
    return CloudFaults(
        reboots=Chance(0.3, after=after),
        unreadable=Chance(0.8, 1.0, 90.0, after=after),
        untold=Chance(random.choice((0.0, 0.7, 1.0))),
        list_error=Chance(random.choice((0.0, 0.5, 0.8))),
        arrives_late=Chance(random.choice((0.0, 0.4)), 5.0, 100.0),
        state_late=Chance(0.2, 0.1, 60.0),
        vanishes_late=Chance(0.7, 0.1, 60.0),
        stopped_behind_back=Chance(0.7, 1.0, 200.0, after=after),
        started_again=Chance(0.8, 0.5, 60.0),
        deleted_behind_back=Chance(0.4, after=after),
        reclaimed_with_notice=Chance(0.2, 10.0, 60.0, after=after),
        spot_pending=Chance(0.6, 1.0, 200.0),
        fulfilled_after_cancel=Chance(0.5, 1.0, 60.0),
        denied=Chance(random.choice((0.0, 0.02)), 30.0, 300.0),
        slow_terminate=Chance(0.4, 5.0, 200.0),
        ignored_terminate=Chance(random.choice((0.0, 0.5))),
        failed_terminate=Chance(0.3, 5.0, 120.0),
        bad_id_fails_batch=Chance(1.0),
    )


def _provider(random: Random, provider: SimulatedSettings) -> SimulatedSettings:
    """Often with a short memory of tokens, and with listings that lag."""
    changes: dict[str, Any] = {}
    if random.random() < 0.5:
        changes["token_lifetime"] = 300.0
    if random.random() < 0.5:
        changes["consistency_window"] = random.choice((10.0, 60.0))
    return provider.model_copy(update=changes)


def _crashing_drains(random: Random, scenario: Scenario) -> Scenario:
    """The program dies of its drains, so that agents are left draining for nobody, at work or idle for long."""
    idle, lasts = round(random.uniform(900.0, 2400.0), 3), scenario.faulty_until
    policy = replace(scenario.policy, max_idle_agent_period=idle, max_instances=random.randint(2, 6))
    policy = replace(policy, min_instances=min(scenario.policy.min_instances, policy.max_instances))
    jobs = tuple(
        job._replace(submit_s=round(0.3 * job.submit_s, 3), duration_s=round(random.uniform(0.1, 0.7) * lasts, 3))
        for job in scenario.jobs
    )
    return replace(
        scenario,
        policy=policy,
        provider=scenario.provider.model_copy(update={"latency": 2.0}),
        jobs=jobs,
        policies=back_and_forth(random, policy, scenario.faulty_until),
        crashes=CrashFaults(rate=0.5, longest_pause=random.choice((10.0, 120.0)), most=25, only=random.choice(_DRAINS)),
    )


def _late_agents(random: Random, scenario: Scenario) -> Scenario:
    """Agents join when they have been given up, and what is told to end does not."""
    shortest = 1.3 * (scenario.provider.boot_time + scenario.provider.join_time) + 30.0
    starting = max(round(shortest, 3), round(random.uniform(120.0, 300.0), 3))
    up = starting - scenario.provider.boot_time - scenario.provider.join_time
    return replace(
        scenario,
        policy=replace(scenario.policy, max_agent_starting_period=starting),
        cloud_faults=CloudFaults(
            late_join=Chance(0.5, max(0.0, round(up - 20.0, 3)), round(up + 90.0, 3)), ignored_terminate=Chance(0.7)
        ),
    )


def _few_faults(random: Random, scenario: Scenario) -> Scenario:
    """One to three faults of any kind, each at a rate of 0.3 to 0.8."""
    for _ in range(random.choice((1, 2, 2, 3))):
        rate = round(random.uniform(0.3, 0.8), 3)
        scenario = _one_more(random)(random, scenario, rate)
    return scenario


def _one_more(random: Random) -> Callable[[Random, Scenario, float], Scenario]:
    kind = random.random()
    if kind < 0.6:
        return _at_the_cloud
    return _at_the_scheduler if kind < 0.75 else _at_the_store if kind < 0.85 else _of_the_program


def _at_the_cloud(random: Random, scenario: Scenario, rate: float) -> Scenario:
    name = random.choice(tuple(CLOUD))
    chosen: dict[str, Any] = {each: _often(each, rate) for each in (name, _WITH.get(name, name))}
    if not _SPOT_ONLY.isdisjoint(chosen):
        scenario = replace(scenario, provider=_spot(scenario.provider))
    return replace(scenario, cloud_faults=replace(scenario.cloud_faults, **chosen))


def _often(name: str, rate: float) -> Chance:
    light: Chance = getattr(LIGHT, name)
    return replace(light, rate=rate, after=min(light.after, _SOON))


def _spot(provider: SimulatedSettings) -> SimulatedSettings:
    types = tuple(each.model_copy(update={"market": "spot"}) for each in provider.instance_types)
    return provider.model_copy(update={"instance_types": types})


def _at_the_scheduler(random: Random, scenario: Scenario, rate: float) -> Scenario:
    name = random.choice(tuple(SCHEDULER))
    # How often a day; all others are drawn for each call or view.
    chosen: dict[str, Any] = {name: 100.0 * rate if name == "forgets" else rate}
    return replace(scenario, scheduler_faults=replace(scenario.scheduler_faults, **chosen))


def _at_the_store(random: Random, scenario: Scenario, rate: float) -> Scenario:
    chosen: dict[str, Any] = {random.choice(_STORE): rate}
    return replace(scenario, store_faults=replace(scenario.store_faults, **chosen))


def _of_the_program(random: Random, scenario: Scenario, rate: float) -> Scenario:
    only = (*scenario.crashes.only, random.choice(POINTS))
    pause = random.choice((5.0, 60.0, 600.0))
    return replace(scenario, crashes=CrashFaults(rate=rate, longest_pause=pause, most=12, only=only))
