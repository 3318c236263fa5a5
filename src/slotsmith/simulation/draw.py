"""Draws a scenario from a seed: each has its own pool, its own work, and its own mix of faults."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from slotsmith.clock import Random
from slotsmith.model.durations import format_duration
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import FAULTS as CLOUD_FAULTS
from slotsmith.providers.simulated import HEAVY, LIGHT, NO_FAULTS, CloudFaults, SimulatedSettings, SimulatedType
from slotsmith.providers.simulated.faults import EC2_LIMITS, GCE_LIMITS, NO_LIMITS, Bucket, Limits
from slotsmith.schedulers.simulated import FAULTS as SCHEDULER_FAULTS
from slotsmith.schedulers.simulated import HEAVY as HEAVY_SCHEDULER
from slotsmith.schedulers.simulated import NO_SCHEDULER_FAULTS, Job, SchedulerFaults
from slotsmith.simulation.choice import with_choice
from slotsmith.simulation.concentrated import back_and_forth, concentrated, turbulent
from slotsmith.simulation.consolidating import with_consolidation
from slotsmith.simulation.generation import NO_CRASHES, CrashFaults
from slotsmith.simulation.learned import with_foresight
from slotsmith.simulation.replicas import with_replicas
from slotsmith.simulation.scenario import Delivery, Scenario
from slotsmith.simulation.storage import NO_STORE_FAULTS, StoreFaults

_CALM: Final = 0.04
"""The share of seeds without any fault: what breaks there is no fault's doing."""
_CONCENTRATED: Final = 0.4
"""The share of the others in which only a few things go wrong, and often."""
_LASTS: Final = (1200.0, 2400.0, 4800.0, 9600.0)
_FEW_LAST: Final = (900.0, 1800.0, 3600.0)
_TURBULENT: Final = 0.1
_OFTEN: Final = ("missing_from_listing", "joins_twice", "agent_dies", "reboots", "capacity", "quota", "partial")
"""What comes up once in a machine's life or at a launch, and in a small pool would hardly ever happen."""
# A cloud that lets itself be called so rarely that a small pool feels it.
_TIGHT_LIMITS: Final = Limits(Bucket(10, 0.5), Bucket(2, 0.05), Bucket(10, 0.1), Bucket(5, 0.1))


def draw(seed: int) -> Scenario:
    """The scenario of a seed; the same on every machine."""
    return with_foresight(with_replicas(with_consolidation(with_choice(_plain(seed)))))


def _plain(seed: int) -> Scenario:
    """The scenario with one offering, and with no limit but the number of instances."""
    random = Random(f"slotsmith {seed}")
    capacity = _capacity(random)
    provider = _provider(random, capacity)
    policy = _policy(random, 1.3 * (provider.boot_time + provider.join_time) + 30.0)
    faulty = random.random() >= _CALM
    few = faulty and _chance(random, _CONCENTRATED)
    lasts = round(random.choice(_FEW_LAST if few else _LASTS) * random.uniform(0.5, 1.0), 3)
    count = random.randint(3, 10) if few else random.choice((1, 5, 10, 18, 30))
    scenario = Scenario(
        seed=seed,
        policy=policy,
        provider=provider,
        jobs=_jobs(random, capacity, count, policy.max_instances, lasts),
        faulty_until=lasts,
        delivery=random.choice(tuple(Delivery)),
        second_pool=_chance(random, 0.04 if few else 0.25),
    )
    if few:
        return concentrated(random, scenario)
    if not faulty:
        return scenario
    return replace(
        scenario,
        cloud_faults=_cloud_faults(random),
        scheduler_faults=_scheduler_faults(random),
        crashes=_crashes(random),
        store_faults=_store_faults(random),
        policies=_policies(random, policy, lasts),
        strays=_strays(random, lasts),
    )


def _chance(random: Random, probability: float) -> bool:
    return random.random() < probability


def _seconds(random: Random, *choices: float) -> float:
    return round(random.choice(choices) * random.uniform(0.7, 1.3), 3)


def _capacity(random: Random) -> Resources:
    slots = random.choice((1, 1, 2, 4, 8))
    if _chance(random, 0.3):
        return Resources(slots, 4.0 * slots, 16.0 * slots)
    return Resources(slots)


def _policy(random: Random, start: float) -> Policy:
    """`start`: seconds that an instance must have to join, or none ever would."""
    most = random.choice((1, 2, 3, 5, 8, 12))
    return Policy(
        min_instances=random.choice((0, 0, 0, 1, 2, most)) if most > 1 else random.choice((0, 0, 1)),
        max_instances=most,
        max_idle_agent_period=_seconds(random, 30.0, 60.0, 300.0, 1200.0),
        max_agent_starting_period=max(round(start, 3), _seconds(random, 240.0, 600.0, 1200.0)),
        max_agent_disconnect_period=_seconds(random, 60.0, 300.0, 600.0),
        launch_error_timeout=random.choice((0.0, 600.0)),
        launch_error_retries=random.choice((0, 3)),
    )


def _provider(random: Random, capacity: Resources) -> SimulatedSettings:
    kind = SimulatedType(
        name="kind",
        slots=capacity.slots,
        cpus=capacity.cpus,
        mem_gib=capacity.mem_gib,
        price_per_hour=random.choice((None, 1.0)),
        zone=random.choice(("", "zone-a")),
        market=random.choice(("on-demand", "spot")),
    )
    return SimulatedSettings.model_validate(
        {
            "type": "simulated",
            "instance_types": (kind,),
            "boot_time": format_duration(_seconds(random, 5.0, 30.0, 120.0, 180.0)),
            "join_time": format_duration(_seconds(random, 0.5, 10.0)),
            "poll_period": format_duration(_seconds(random, 20.0, 60.0)),
            "consistency_window": format_duration(random.choice((0.0, 10.0, 60.0))),
            "token_lifetime": format_duration(random.choice((300.0, 1800.0, 86400.0))),
            "latency": format_duration(random.choice((0.0, 0.2, 2.0))),
        }
    )


def _jobs(random: Random, capacity: Resources, count: int, max_instances: int, lasts: float) -> tuple[Job, ...]:
    longest = random.choice((30.0, 300.0, 1800.0))
    # Some come one by one and some in bursts, and the last ones early enough to be hit by faults.
    moments = [round(random.uniform(0.0, lasts * 0.9), 3) for _ in range(max(1, count // random.choice((1, 1, 4))))]
    times = sorted(random.choice(moments) for _ in range(count))
    return tuple(
        Job(f"job-{number}", at, round(random.uniform(1.0, longest), 3), *_asked(random, capacity, max_instances))
        for number, at in enumerate(times)
    )


def _asked(random: Random, capacity: Resources, max_instances: int) -> tuple[Resources, bool]:
    """What a job asks for, and whether it may lie on several instances."""
    kind = random.random()
    if kind < 0.15:
        several = random.randint(1, max_instances)
        return Resources(capacity.slots * several), True
    if kind < 0.19:
        return Resources(capacity.slots * (max_instances + 1) + random.choice((0, 1))), _chance(random, 0.5)
    slots = random.randint(1, capacity.slots)
    if capacity.cpus and _chance(random, 0.5):
        return Resources(slots, round(random.uniform(0.5, capacity.cpus), 1), round(random.uniform(0.5, 8.0), 1)), False
    return Resources(slots), False


def _cloud_faults(random: Random) -> CloudFaults:
    """Each fault is on or off, and its rate somewhere between a bad day and a disaster."""
    if _chance(random, 0.08):
        return NO_FAULTS
    if _chance(random, _TURBULENT):
        return turbulent(random)
    density = random.choice((0.1, 0.25, 0.5))
    chosen = {}
    for name in CLOUD_FAULTS:
        light, heavy = getattr(LIGHT, name), getattr(HEAVY, name)
        if _chance(random, density):
            rate = round(random.uniform(light.rate, max(heavy.rate, 0.05) if name not in _OFTEN else 0.5), 4)
            # In a run of a few hours, what comes late in a machine's life would hardly ever come.
            chosen[name] = replace(light, rate=rate, after=min(light.after, 3600.0))
    limits = random.choice((NO_LIMITS, NO_LIMITS, EC2_LIMITS, GCE_LIMITS, _TIGHT_LIMITS))
    return CloudFaults(limits=limits, **chosen)


def _scheduler_faults(random: Random) -> SchedulerFaults:
    if _chance(random, 0.3):
        return NO_SCHEDULER_FAULTS
    density = random.choice((0.15, 0.4))
    chosen: dict[str, float] = {}
    for each in fields(SchedulerFaults):
        if each.name in SCHEDULER_FAULTS and _chance(random, density):
            chosen[each.name] = round(random.uniform(0.1, 1.0) * getattr(HEAVY_SCHEDULER, each.name), 4)
    return SchedulerFaults(**chosen)  # type: ignore[arg-type]


def _crashes(random: Random) -> CrashFaults:
    if _chance(random, 0.3):
        return NO_CRASHES
    return CrashFaults(
        rate=random.choice((0.0, 0.05, 0.2, 0.5)),
        mean_life=random.choice((0.0, 0.0, 600.0, 3600.0)),
        mean_stop=random.choice((0.0, 0.0, 0.0, 1800.0)),
        longest_pause=random.choice((10.0, 60.0, 2400.0)),
        most=random.choice((2, 6, 12)),
    )


def _store_faults(random: Random) -> StoreFaults:
    if _chance(random, 0.4):
        return NO_STORE_FAULTS
    return StoreFaults(
        busy=random.choice((0.0, 0.0, 0.02, 0.1)),
        full=random.choice((0.0, 0.0, 0.02, 0.1)),
        late=random.choice((0.0, 0.0, 0.002, 0.01)),
        latency=random.choice((0.0, 0.0, 0.005, 0.05)),
    )


def _policies(random: Random, policy: Policy, lasts: float) -> tuple[tuple[float, Policy], ...]:
    """Sometimes the pool's owner changes its limits."""
    if _chance(random, 0.1):
        return back_and_forth(random, policy, lasts)
    if not _chance(random, 0.35):
        return ()
    changes = []
    for _ in range(random.choice((1, 2))):
        most = random.choice((1, 2, 3, 5, 8, 12))
        later = replace(policy, max_instances=most, min_instances=random.choice((0, 0, min(1, most), most // 2)))
        at = round(random.uniform(0.0, lasts), 3)
        changes.append((at, later))
        if _chance(random, 0.7):
            # Back soon, while agents are being drained for it.
            changes.append((min(lasts, round(at + random.uniform(1.0, 150.0), 3)), policy))
    return tuple(sorted(changes, key=lambda change: change[0]))


def _strays(random: Random, lasts: float) -> tuple[float, ...]:
    """Sometimes somebody launches under our tags, even before the pool begins."""
    if not _chance(random, 0.15):
        return ()
    first = 0.0 if _chance(random, 0.4) else round(random.uniform(0.0, lasts), 3)
    more = [round(random.uniform(0.0, lasts), 3) for _ in range(random.choice((0, 0, 2)))]
    return tuple(sorted((first, *more)))
