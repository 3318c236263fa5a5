"""Foresight in a running pool: it is learned, kept over restarts, told, and recorded so that a day can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from provisioner.test_recording import _lived
from provisioner.world import World
from slotsmith.core import foresight
from slotsmith.core.foresight import Foresight
from slotsmith.core.recording import fold
from slotsmith.core.replay import parse_cases, run_case
from slotsmith.core.view import View
from slotsmith.model.foresight import Foreseen, Target
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.trial import Trial, run_trial
from slotsmith.store.base import Changes

TARGET = Target()


def jobs(random: Random, days: float) -> Iterator[Job]:
    """An hour's work of one instance, every six minutes or so."""
    at = 0.0
    while at < days * 86400:
        at += random.expovariate(1 / 360)
        yield Job(f"job-{at:.3f}", round(at, 3), round(random.expovariate(1 / 3600), 3) + 1, Resources(2))


def test_in_simulated_pools_it_halves_the_wait_at_no_cost_and_breaks_no_promise() -> None:
    """Two of them: what one day brings is much a matter of chance."""
    kind = SimulatedType(name="two", slots=2, price_per_hour=1.0)
    settings = SimulatedSettings(type="simulated", instance_types=(kind,), boot_time="180s", join_time="10s")
    policy = Policy(max_instances=100, max_idle_agent_period=1200.0)
    hours, waits = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for seed in (1, 2):
        plain = Trial(policy, settings, tuple(jobs(Random(seed), 1.0)), (0.4 * 86400, 86400.0))
        for target in (None, TARGET):
            trial = replace(plain, policy=replace(policy, foresight=target))
            figures = run_trial(trial, lambda _: None).figures
            assert figures["violations"] == []
            hours[target is TARGET] += figures["instance_hours"]
            waits[target is TARGET] += figures["wait_s"]["mean"]
    assert waits[True] < 0.5 * waits[False]
    assert hours[True] < hours[False]


async def _busy_day(world: World, passes: int) -> None:
    """A pool whose demand goes up and down; instances join with the next pass."""
    random = Random(7)
    await world.pool.setup()
    for _ in range(passes):
        names, needed = sorted(world.provider.instances), random.randint(0, 4)
        world.push(max(0, needed - len(names)), busy=names[:needed], idle=names[needed:])
        await world.pool.provision()
        world.clock.at += 60.0


def test_what_was_learned_survives_a_restart() -> None:
    world = World(max_instances=9, foresight=TARGET)
    asyncio.run(_busy_day(world, 200))
    kept = world.store.load("p").foresight
    assert kept is not None
    assert kept["watched"] > 100 * 60.0
    world.pool = world.provisioner()
    asyncio.run(_busy_day(world, 30))
    assert (world.store.load("p").foresight or {})["watched"] > kept["watched"]


def test_a_record_that_cannot_be_read_stops_no_pool() -> None:
    world = World(max_instances=9, foresight=TARGET)
    asyncio.run(_busy_day(world, 2))
    world.store.commit(Changes("p", world.clock.at, foresight={"ways": "none"}))
    world.pool = world.provisioner()
    asyncio.run(_busy_day(world, 2))
    assert world.pool.last_decision is not None


def test_without_it_nothing_is_learned_or_told() -> None:
    world = World(max_instances=9)
    asyncio.run(_busy_day(world, 40))
    assert world.store.load("p").foresight is None
    summary = asyncio.run(world.pool.summary())  # type: ignore[arg-type]
    assert summary is not None
    assert summary["foresight"] is None


@pytest.mark.parametrize("seed", range(3))
def test_a_day_with_foresight_is_told_again(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for changes from pass to pass, and is on record with each."""
    told: list[Foreseen] = []

    def foreseen(_state: Foresight, _view: View, _policy: Policy, _target: Target) -> Foreseen:
        told.append(Foreseen(len(told) // 3 % 4, (5.0, 60.0)[len(told) // 5 % 2], True, "so it is"))
        return told[-1]

    monkeypatch.setattr(foresight, "foreseen", foreseen)
    periods = {"max_agent_starting_period": 60, "max_agent_disconnect_period": 30, "max_idle_agent_period": 20}
    world = World(**periods, foresight=Target(), max_instances=9)
    decisions = {decision.at: decision for decision in asyncio.run(_lived(world, Random(seed)))}
    rows = world.store.recorded_views("p")
    assert sum(row.get("complete") is True for _, row in rows) < 5, "a change of the headroom alone is a short record"
    (case,) = parse_cases(fold("p", rows))
    assert {tick.in_force["headroom_slots"] for tick in case.ticks} == {0, 1, 2, 3}
    told_again = {tick.at: (tick.launch, set(tick.terminations)) for tick in run_case(case)}
    acted = {at: (d.launch_count, set(d.terminations)) for at, d in decisions.items() if d.launches or d.terminations}
    assert len(acted) > 10
    assert {at: told_again[at] for at in acted} == acted
    summary = asyncio.run(world.pool.summary())  # type: ignore[arg-type]
    assert summary is not None
    assert summary["foresight"]["why"] == "so it is"
    assert summary["policy"]["headroom_slots"] == told[-1].headroom_slots


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (
            Foreseen(11, 63.0, True, "it pays", used=1, saved_seconds=7320.0, extra_instance_seconds=-5400.0),
            [
                "  Foresight keeps 11 slots free, and idle agents beyond them for 1m3s:",
                "    it pays.",
                "    So far it has found room 1 time when there would have been none, saved 2h2m of waiting and "
                "cost -1.5 instance-hours, all by its own reckoning.",
            ],
        ),
        (Foreseen(0, 1200.0, False, "it is too dear"), ["  Foresight holds no spare:", "    it is too dear."]),
        (
            Foreseen(0, 300.0, False, None, "it is worth it"),
            ["  How long idle agents are kept is learned, 5m now:", "    it is worth it."],
        ),
    ],
)
def test_explain_says_what_is_held_and_why(told: Foreseen, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "foreseen", lambda *_: told)
    world = World(max_instances=9, foresight=TARGET)
    asyncio.run(_busy_day(world, 2))
    summary = asyncio.run(world.pool.summary())  # type: ignore[arg-type]
    narrated = world.narrated(summary)
    begins = narrated.index(lines[0])
    assert narrated[begins : begins + len(lines)] == lines
    assert summary is not None
    assert summary["policy"]["max_idle_agent_period"] == told.idle_period
