"""One pass without I/O: a parsed listing and scaling info in, a decision out."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks.harness import Table, cpu_ms, figure
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.view import OnOffer, View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass

OFFERING = Offering("gpu-4", Resources(slots=4, cpus=16, mem_gib=64))
START = 1.7e9
Seen = tuple[tuple[Instance, ...], tuple[Agent, ...]]


def seen(size: int, chance: random.Random, now: float) -> Seen:
    """Fresh objects, as a parser makes them: most instances running, most of those with an agent, a third idle."""
    states = [InstanceState.RUNNING] * 90 + [InstanceState.STARTING] * 7 + [InstanceState.STOPPING] * 3
    names = [f"i-{number:017x}" for number in range(size)]
    instances = tuple(
        Instance(name, chance.choice(states), now - chance.random() * 600, name, "token", "", OFFERING.capacity)
        for name in names
    )
    agents = tuple(Agent(name, chance.random() < 0.3) for number, name in enumerate(names) if number % 10)
    return instances, agents


def few_changed(last: Seen, chance: random.Random) -> Seen:
    """The next listing and view: ten instances and ten agents differ, the others are the same objects."""
    instances, agents = list(last[0]), list(last[1])
    for _ in range(10):
        row = chance.randrange(len(instances))
        instances[row] = instances[row]._replace(state=InstanceState.RUNNING)
        row = chance.randrange(len(agents))
        agents[row] = agents[row]._replace(idle=not agents[row].idle)
    return tuple(instances), tuple(agents)


def one_pass(fleet: Fleet, now_seen: Seen, policy: Policy, now: float) -> tuple[Fleet, Decision]:
    """What the provisioner does between reading and acting."""
    instances, agents = now_seen
    fleet = observe(fleet, instances, agents, now)
    info = ScalingInfo(agents, desired_new=5)
    return fleet, decide(View(fleet, info, OFFERING), policy, now)


def measure(size: int, *, fresh: bool, rounds: int) -> float:
    """CPU milliseconds of a pass: the median of several runs of `rounds` passes, each on input of its own."""
    chance, now = random.Random(size), START
    policy = Policy(max_instances=2 * size)
    last = seen(size, chance, now)
    fleet, _ = one_pass(EMPTY_FLEET, last, policy, now)
    times = []
    for _ in range(5):
        inputs = []
        for _ in range(rounds):
            last = seen(size, chance, now) if fresh else few_changed(last, chance)
            inputs.append(last)
        # What was made before is not looked through by the garbage collector during the measurement.
        gc.collect()
        gc.freeze()
        spent, fleet = cpu_ms(partial(passes, fleet, inputs, policy, now))
        gc.unfreeze()
        now += rounds
        times.append(spent / rounds)
    return median(times)


def passes(fleet: Fleet, inputs: Sequence[Seen], policy: Policy, now: float) -> Fleet:
    """One pass after the other, a second apart: no period ends meanwhile, as in nearly every pass of a real pool."""
    for number, each in enumerate(inputs, start=1):
        fleet, _ = one_pass(fleet, each, policy, now + number)
    return fleet


def memory_per_instance(size: int = 20_000) -> float:
    """Bytes for each instance that is tracked: its entry in the listing, its agent and its rows."""
    chance = random.Random(0)
    gc.collect()
    tracemalloc.start()
    last = seen(size, chance, START)
    fleet, _ = one_pass(EMPTY_FLEET, last, Policy(max_instances=2 * size), START)
    fleet, _ = one_pass(fleet, last, Policy(max_instances=2 * size), START + 5)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / size


def offerings(count: int) -> tuple[Offering, ...]:
    """Offerings of five sizes in three shapes, each with a price of its own."""
    chance = random.Random(count)
    sizes = [2 ** (number % 5) for number in range(count)]
    return tuple(
        Offering(
            f"type-{number}",
            Resources(size, 4.0 * size, 16.0 * size * (1 + number % 3)),
            price=round(size * chance.uniform(1.0, 1.1), 3),
        )
        for number, size in enumerate(sizes)
    )


def choosing(count: int, shapes: int) -> float:
    """CPU milliseconds of a pass that launches for new tasks of so many shapes, of one offering or several."""
    chance = random.Random(shapes)
    first, *others = (OFFERING,) if count == 1 else offerings(count)
    policy, times = Policy(max_instances=1000), []
    for _ in range(5):
        # Never the same twice, since a plan that was just made is not made again.
        asked = (Resources(chance.randint(1, 4), chance.randint(1, 4), chance.randint(1, 30)) for _ in range(shapes))
        tasks = tuple(TaskClass(each, chance.randint(1, 20)) for each in asked)
        view = View(EMPTY_FLEET, ScalingInfo((), tasks), first, others=tuple(map(OnOffer, others)))
        spent, decision = cpu_ms(partial(decide, view, policy, START))
        assert decision.launches
        times.append(spent)
    return median(times)


def tables() -> list[Table]:
    """The figures, with the reference's and the targets beside them."""
    reference = {1_000: 0.86, 10_000: 12.6, 100_000: 221.0}
    rows = [
        figure(
            f"{size:,} instances, {what}",
            measure(size, fresh=fresh, rounds=max(3, 50_000 // size)),
            reference=reference[size],
            target=target,
        )
        for what, fresh, targets in (
            ("few changed", False, (0.2, 1.5, 20)),
            ("all fresh and changed", True, (1, 8, 80)),
        )
        for size, target in zip(reference, targets, strict=True)
    ]
    rows.append(figure("memory for each tracked instance", memory_per_instance(), "B", target=1024))
    choices = [
        figure(
            f"{count} offering{'s' if count > 1 else ''}, new tasks of {shapes} shapes",
            choosing(count, shapes),
            target=10 if shapes < 10 else None,
        )
        for count in (1, 10, 100)
        for shapes in (1, 3, 10, 40)
    ]
    return [
        Table("One pass without I/O (CPU time, median)", rows),
        Table("One pass that launches for new tasks (CPU time, median)", choices),
    ]
