"""How near to the least possible cost plans come, and how long they take.

The cases with recorded tasks need the environment variable SLOTSMITH_TRACES: the directory with `openb2023.csv.gz`.
"""

import csv
import gzip
import os
import resource
from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.harness import Row, Table, cpu_ms, figure, median_ms
from slotsmith.core.fitting import FreeCapacity
from slotsmith.core.planning.budget import QUICK, Budget
from slotsmith.core.planning.plan import Plan
from slotsmith.core.planning.problem import Choice, Problem
from slotsmith.core.planning.solve import plan
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

Shape = tuple[int, float, float]
"""Slots, cpus, GiB of memory."""

# Dollars per hour on demand, us-east-1.
EIGHT_TYPES: Mapping[str, tuple[Shape, float]] = {
    "g4dn.xlarge": ((1, 4, 16), 0.526),
    "g4dn.12xlarge": ((4, 48, 192), 3.912),
    "g5.xlarge": ((1, 4, 16), 1.006),
    "g5.12xlarge": ((4, 48, 192), 5.672),
    "g5.48xlarge": ((8, 192, 768), 16.288),
    "p4d.24xlarge": ((8, 96, 1152), 32.77),
    "m5.4xlarge": ((0, 16, 64), 0.768),
    "c5.9xlarge": ((0, 36, 72), 1.53),
}
TEN_TYPES = {**EIGHT_TYPES, "p3.2xlarge": ((1, 8, 61), 3.06), "p3.16xlarge": ((8, 64, 488), 24.48)}

# Lower bounds proved with a budget of 50 seconds, by number of tasks and first task; the others prove their own sooner.
PROVED: Mapping[tuple[int, int], float] = {
    (5_000, 0): 4356.29,
    (5_000, 1_576): 4628.49,
    (5_000, 3_152): 4501.82,
}
SNAPSHOTS = {200: range(0, 7953, 1590), 1_000: range(0, 7153, 1430), 5_000: range(0, 3153, 1576)}


def tables() -> list[Table]:
    """The figures, with what the best known planners need beside them."""
    plan(mixed(0), Budget.of(0.5))
    return [
        Table("Planner: 2,000 mixed tasks, 10 EC2 types (CPU time; dearest of 5 seeds)", _mixed(), "Ray v2"),
        Table("Planner: recorded tasks (openb), 8 EC2 types (CPU time; mean)", _snapshots(), "LP + MILP"),
        Table("Planner: many alike (CPU time)", _alike(), "Ray v2"),
        Table("Planner: large (CPU time)", _large(), "Karpenter"),
    ]


def problem(tasks: Mapping[Shape, int], types: Mapping[str, tuple[Shape, float]]) -> Problem:
    """Tasks counted by what they ask for, and offerings."""
    return Problem(
        tuple(TaskClass(Resources(*shape), count) for shape, count in tasks.items()),
        tuple(Choice(Offering(name, Resources(*shape), price=price)) for name, (shape, price) in types.items()),
    )


def mixed(seed: int) -> Problem:
    """2,000 tasks of 0 to 8 slots, 1 to 16 cpus and 2 to 64 GiB, hardly two of them alike."""
    rng = np.random.default_rng(seed)
    slots = rng.choice([0, 1, 2, 4, 8], 2_000, p=[0.3, 0.45, 0.1, 0.1, 0.05])
    cpus, mem_gib = rng.integers(1, 17, 2_000), rng.integers(2, 65, 2_000)
    shapes = zip(slots.tolist(), cpus.astype(float).tolist(), mem_gib.astype(float).tolist(), strict=True)
    return problem(Counter(shapes), TEN_TYPES)


def _gap(made: Plan) -> float:
    """How much the plan costs above its own bound, in percent."""
    return 100 * made.gap


def _mixed() -> list[Row]:
    problems = [mixed(seed) for seed in range(1, 6)]
    first = [plan(each, QUICK) for each in problems]
    better = [cpu_ms(lambda each=each: plan(each, Budget.of(0.5))) for each in problems]  # type: ignore[misc]
    bounds = [made.lower_bound_per_hour for _, made in better]
    dearest = max(made.cost_per_hour / bound for made, bound in zip(first, bounds, strict=True))
    return [
        figure("first plan", median_ms(lambda: plan(problems[0], QUICK)), reference=20_000, target=50),
        figure("first plan, cost above the bound", 100 * (dearest - 1), "%", reference=56, target=3),
        figure("plan", max(ms for ms, _ in better), reference=20_000, target=500),
        figure("plan, cost above its own bound", max(_gap(made) for _, made in better), "%", reference=56, target=1),
    ]


def openb() -> list[Shape]:
    """The recorded tasks in the order of their submission; empty when they are not at hand."""
    path = Path(os.environ.get("SLOTSMITH_TRACES", "")) / "openb2023.csv.gz"
    if not os.environ.get("SLOTSMITH_TRACES") or not path.exists():
        return []
    with gzip.open(path, "rt", newline="") as lines:
        return [
            (ceil(float(row["gpus"] or 0)), float(row["cpus"] or 0), float(row["mem_gib"] or 0))
            for row in csv.DictReader(lines)
        ]


def _snapshots() -> list[Row]:
    tasks = openb()
    if not tasks:
        return [Row("SLOTSMITH_TRACES does not name the directory of openb2023.csv.gz", "", "", "")]
    rows = []
    peers = {200: (5_600.0, 0.4), 1_000: (31_000.0, 0.2), 5_000: (149_000.0, 0.2)}
    # Seconds, and per cent above the bound. The first plan, and what is found in one second, are what a pool launches.
    budgets = {0.0: None, 0.5: 2.0, 1.0: None, 2.0: 1.0, 30.0: 0.5}
    for size, starts in SNAPSHOTS.items():
        problems = {start: problem(Counter(tasks[start : start + size]), EIGHT_TYPES) for start in starts}
        made = {seconds: _planned(problems, Budget.of(seconds)) for seconds in budgets}
        proved = {start: [plans[start][1].lower_bound_per_hour for plans in made.values()] for start in starts}
        bounds = {start: max(PROVED.get((size, start), 0.0), *each) for start, each in proved.items()}
        peer_ms, peer_gap = peers[size]
        for seconds, most in budgets.items():
            what = f"{size:,} tasks, {seconds:g} s" if seconds else f"{size:,} tasks, first plan"
            took = max(ms for ms, _ in made[seconds].values())
            above = mean(100 * (each.cost_per_hour / bounds[start] - 1) for start, (_, each) in made[seconds].items())
            own = max(_gap(each) for _, each in made[seconds].values())
            rows.append(figure(what, took, reference=peer_ms, target=1000 * seconds if most else None))
            rows.append(figure(f"{what}, cost above the best bound", above, "%", reference=peer_gap, target=most))
            rows.append(figure(f"{what}, cost above its own bound, most", own, "%", target=3 if seconds == 2 else None))
    return rows


def _planned(problems: Mapping[int, Problem], budget: Budget) -> dict[int, tuple[float, Plan]]:
    return {start: cpu_ms(lambda each=each: plan(each, budget)) for start, each in problems.items()}  # type: ignore[misc]


def _alike() -> list[Row]:
    equal = {(1, 3.0, 9.0): 10_000}
    rows = []
    for what, asked, ms, target in (
        ("10,000 equal tasks", problem(equal, EIGHT_TYPES), 5_000, 20),
        ("100,000 equal tasks", problem({(1, 3.0, 9.0): 100_000}, EIGHT_TYPES), 408_000, 20),
        ("10,000 tasks in 50 shapes", fifty_shapes(), 20_200, 100),
        ("1,000 tasks on a half-full fleet of 5,000", half_full(), 92_000, 50),
    ):
        rows += _case(what, asked, Budget.of(target / 1000), ms, target, 5.0)
    return rows


def _case(what: str, asked: Problem, budget: Budget, peer: float | None, ms: float, most: float | None) -> list[Row]:
    made = plan(asked, budget)
    rows = [figure(what, median_ms(lambda: plan(asked, budget), runs=3), reference=peer, target=ms)]
    if made.cost_per_hour:
        rows.append(figure(f"{what}, cost above its own bound", _gap(made), "%", target=most))
    return rows


def fifty_shapes(seed: int = 4) -> Problem:
    """10,000 tasks of 50 kinds."""
    rng = np.random.default_rng(seed)
    slots = rng.choice([0, 1, 2, 4], 50, p=[0.4, 0.4, 0.1, 0.1])
    cpus = rng.integers(1, 17, 50).astype(float)
    mem_gib = rng.integers(1, 65, 50).astype(float)
    counts = rng.multinomial(10_000, np.full(50, 0.02))
    return problem(_counted(zip(slots.tolist(), cpus.tolist(), mem_gib.tolist(), strict=True), counts), EIGHT_TYPES)


def _counted(shapes: Iterable[Shape], counts: Iterable[int]) -> dict[Shape, int]:
    total: Counter[Shape] = Counter()
    for shape, count in zip(shapes, counts, strict=True):
        total[shape] += int(count)
    return {shape: count for shape, count in total.items() if count}


def half_full(seed: int = 5) -> Problem:
    """1,000 tasks of 50 kinds; 5,000 agents, each with something on it."""
    rng = np.random.default_rng(seed)
    offerings = [Offering(name, Resources(*shape), price=price) for name, (shape, price) in EIGHT_TYPES.items()]
    existing = []
    for number in range(5_000):
        offering = offerings[int(rng.integers(len(offerings)))]
        capacity = offering.capacity
        used = rng.uniform(0.2, 0.8)
        free = Resources(int(capacity.slots * (1 - used)), round(capacity.cpus * (1 - used), 1), capacity.mem_gib / 2)
        existing.append(FreeCapacity(free, 1, 10, False, (f"i-{number:05}",), offering=offering))
    tasks = fifty_shapes(seed)
    counts = rng.multinomial(1_000, np.full(len(tasks.tasks), 1 / len(tasks.tasks)))
    wanted = tuple(
        TaskClass(kind.resources, int(count)) for kind, count in zip(tasks.tasks, counts, strict=True) if count
    )
    return Problem(wanted, tasks.choices, tuple(existing))


def catalogue(types: int, zones: int, markets: int, spot: int | None = None, seed: int = 6) -> tuple[Choice, ...]:
    """Offerings whose prices are about in line with what they have; `spot`: how many of each there are to be had."""
    rng = np.random.default_rng(seed)
    choices = []
    for number in range(types):
        slots = int(rng.choice([0, 0, 0, 1, 2, 4, 8]))
        cpus = float(rng.choice([2, 4, 8, 16, 32, 48, 64, 96]) * (2 if slots >= 4 else 1))
        mem_gib = cpus * float(rng.choice([2, 4, 8]))
        price = (cpus * 0.04 + mem_gib * 0.004 + slots * rng.choice([0.4, 0.9, 2.5])) * rng.uniform(0.85, 1.2)
        capacity = Resources(slots, cpus, mem_gib)
        for zone in range(zones):
            for market in ("on-demand", "spot")[:markets]:
                paid = round(float(price * (0.35 if market == "spot" else 1.0) * (1 + 0.01 * zone)), 4)
                most = spot if market == "spot" else None
                choices.append(Choice(Offering(f"t{number:03}", capacity, f"zone-{zone}", market, paid), most))
    largest = Offering("largest", Resources(16, 256.0, 2048.0), "zone-0", price=60.0)
    return (*choices, Choice(largest))


def shapes(tasks: int, kinds: int, seed: int = 7) -> tuple[TaskClass, ...]:
    """So many tasks of so many kinds, of 0 to 8 slots and 0.5 to 128 cpus."""
    rng = np.random.default_rng(seed)
    slots = rng.choice([0, 1, 2, 4, 8], kinds, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    cpus = np.round(rng.uniform(0.5, 32, kinds) * np.maximum(1, slots / 2), 1)
    mem_gib = np.round(cpus * rng.uniform(1, 8, kinds), 1)
    counts = rng.multinomial(tasks - kinds, np.full(kinds, 1 / kinds)) + 1
    counted = _counted(zip(slots.tolist(), cpus.tolist(), mem_gib.tolist(), strict=True), counts)
    return tuple(TaskClass(Resources(*shape), count) for shape, count in counted.items())


def _large() -> list[Row]:
    rows = []
    for what, offered, target in (
        ("400 types x 3 zones x 2 markets", catalogue(400, 3, 2), 5.0),
        ("400 types", catalogue(400, 1, 1), 5.0),
        ("400 types x 3 zones x 2 markets, 20 of each spot offering", catalogue(400, 3, 2, 20), None),
    ):
        asked = Problem(shapes(20_000, 1_000), offered)
        rows += _case(f"20,000 tasks in 1,000 shapes, {what}", asked, Budget.of(1.0), 20_200, 1_000, target)
    huge = Problem(shapes(1_000_000, 10_000), catalogue(800, 1, 1))
    for budget, name in ((QUICK, "first plan"), (Budget.of(2.5), "plan")):
        ms, made = cpu_ms(lambda b=budget: plan(huge, b))  # type: ignore[misc]
        what = f"1,000,000 tasks in 10,000 shapes, 800 types, {name}"
        rows.append(figure(what, ms, target=5_000))
        rows.append(figure(f"{what}, cost above its own bound", _gap(made), "%"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*rows, figure("memory of all of this, at its peak", peak, "MiB", target=1024)]
