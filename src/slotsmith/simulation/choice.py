"""Pools with several offerings and with limits in money, drawn after all else so that other seeds stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from slotsmith.clock import Random
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType
from slotsmith.schedulers.simulated import Job
from slotsmith.schedulers.simulated.agents import agents_for
from slotsmith.simulation.scenario import Scenario

_SHARE: Final = 0.05
"""Of all seeds, those with a choice of offerings, and half as many with limits and one offering."""
_BURSTS: Final = 0.01
"""Those of them in which so much comes at once that it takes a search to find the cheapest launches."""
_SLOTS: Final = (8, 6, 4, 3, 2)


def with_choice(scenario: Scenario) -> Scenario:
    """The same world, in some seeds with more to choose from, limits in slots and dollars, and headroom."""
    random = Random(f"slotsmith {scenario.seed} choice")
    kind = random.random()
    if kind >= 1.5 * _SHARE:
        return scenario
    if kind < _BURSTS:
        return _with_bursts(random, scenario)
    smaller = False
    if kind < _SHARE:
        smaller = random.random() < 0.5
        scenario = replace(scenario, provider=with_kinds(random, scenario.provider, smaller=smaller))
    else:
        scenario = replace(scenario, provider=_priced(random, scenario.provider))
    limits = _limits(random, scenario, smaller=smaller)
    policies = tuple((at, _limited(policy, limits, smaller=smaller)) for at, policy in scenario.policies)
    return replace(scenario, policy=_limited(scenario.policy, limits, smaller=smaller), policies=policies)


def _priced(random: Random, provider: SimulatedSettings) -> SimulatedSettings:
    (only,) = provider.instance_types
    types = (only.model_copy(update={"price_per_hour": round(random.uniform(0.5, 2.0), 3)}),)
    return provider.model_copy(update={"instance_types": types})


def with_kinds(random: Random, provider: SimulatedSettings, *, smaller: bool) -> SimulatedSettings:
    """Other zones and markets, or smaller instances; none of them is larger than the one that there was."""
    provider = _priced(random, provider)
    (first,) = provider.instance_types
    types: list[SimulatedType] = [first]
    for number in range(random.choice((1, 1, 2, 4))):
        divisors = [n for n in range(1, first.slots) if first.slots % n == 0] if smaller else []
        part = random.choice(divisors) / first.slots if divisors else 1.0
        price = first.price_per_hour or 1.0
        types.append(
            first.model_copy(
                update={
                    "name": f"kind-{number}",
                    "slots": int(first.slots * part),
                    "cpus": first.cpus * part,
                    "mem_gib": first.mem_gib * part,
                    "price_per_hour": round(price * part * random.uniform(0.4, 2.5), 3),
                    "market": random.choice(("on-demand", first.market)),
                }
            )
        )
    return provider.model_copy(update={"instance_types": tuple(types)})


def _with_bursts(random: Random, scenario: Scenario) -> Scenario:
    """Tasks of all sizes come at once, again and again, and what to launch for them is not plain."""
    (first,) = scenario.provider.instance_types
    types = tuple(
        first.model_copy(
            update={
                "name": f"slots-{slots}",
                "slots": slots,
                "cpus": 2.0 * slots,
                "mem_gib": 4.0 * slots,
                "price_per_hour": round((0.3 + slots) * random.uniform(0.8, 1.25), 3),
            }
        )
        for slots in _SLOTS
    )
    jobs = []
    for burst in range(random.randint(3, 8)):
        at = round(random.uniform(0.0, 0.9) * scenario.faulty_until, 3)
        for number in range(random.randint(4, 9)):
            # Some come a moment later, when what to launch for the others is being decided.
            submit = at + random.choice((0.0, 0.0, 0.0, round(random.uniform(0.0, 3.0), 3)))
            name, lasts = f"burst-{burst}-{number}", round(random.uniform(10.0, 600.0), 3)
            jobs.append(Job(name, submit, lasts, Resources(random.randint(1, _SLOTS[0]))))
    policy = replace(scenario.policy, min_instances=0, max_instances=len(jobs))
    provider = scenario.provider.model_copy(update={"instance_types": types})
    return replace(scenario, policy=policy, provider=provider, jobs=tuple(jobs), policies=())


def _limits(random: Random, scenario: Scenario, *, smaller: bool) -> Policy:
    """Limits that leave room for every single job, and for the minimum."""
    largest = scenario.provider.largest
    dearest = max(each.price or 0.0 for each in scenario.provider.offerings)
    lowest = min([scenario.policy, *(policy for _, policy in scenario.policies)], key=lambda each: each.max_instances)
    most = lowest.max_instances
    needs = [agents_for(job.resources, job.spans, largest.capacity) for job in scenario.jobs]
    least = max([1, *(count for count in needs if count <= scenario.highest_maximum)])
    warm = random.choice((0, 0, 0, 1, largest.capacity.slots)) if not smaller else 0
    held = max(policy.min_instances for policy in (scenario.policy, *(policy for _, policy in scenario.policies)))
    room = max(least, held) + (1 if warm else 0)
    capped = random.random()
    instances = random.uniform(room, max(room, 1.3 * most))
    return Policy(
        max_dollars_per_hour=round(instances * dearest + 0.001, 3) if capped < 0.6 else None,
        max_slots=int(instances) * largest.capacity.slots if 0.5 < capped < 0.8 else None,
        headroom_slots=warm,
    )


def _limited(policy: Policy, limits: Policy, *, smaller: bool) -> Policy:
    return replace(
        policy,
        # Idle instances of another size would take the places that tasks wait for.
        min_instances=0 if smaller else policy.min_instances,
        max_dollars_per_hour=limits.max_dollars_per_hour,
        max_slots=limits.max_slots,
        headroom_slots=limits.headroom_slots,
    )
