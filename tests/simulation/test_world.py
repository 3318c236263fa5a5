"""The simulated world: it is the same every time, it runs the real program, and it tells when that is wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from slotsmith.clock import Random
from slotsmith.model.instance import InstanceState
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.base import LaunchRequest
from slotsmith.providers.simulated import CloudFaults, SimulatedSettings, SimulatedType
from slotsmith.providers.simulated.faults import Chance
from slotsmith.provisioner.absence import Absences
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.launching import Launcher
from slotsmith.provisioner.terminating import Terminator
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.coverage import faults, never_seen, transitions
from slotsmith.simulation.draw import draw
from slotsmith.simulation.events import EventLog
from slotsmith.simulation.generation import Crashed, CrashFaults, Generation
from slotsmith.simulation.loop import VirtualClock, run_virtually
from slotsmith.simulation.scenario import Delivery, Scenario
from slotsmith.simulation.shrink import shrink
from slotsmith.simulation.storage import StoreFaults
from slotsmith.simulation.world import run_scenario

SETTINGS = SimulatedSettings.model_validate(
    {
        "type": "simulated",
        "instance_types": [{"name": "m", "slots": 2}],
        "boot_time": "180s",
        "join_time": "10s",
        "min_billing": "0s",
    }
)
POLICY = Policy(max_instances=4, max_idle_agent_period=300.0)


def jobs(count: int, every: float = 100.0, lasts: float = 300.0) -> tuple[Job, ...]:
    return tuple(Job(f"job-{n}", n * every, lasts, Resources(1)) for n in range(count))


def calm(**changes: object) -> Scenario:
    scenario = Scenario(seed=1, policy=POLICY, provider=SETTINGS, jobs=jobs(1))
    return replace(scenario, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("delivery", list(Delivery))
def test_one_job_takes_one_machine_for_its_boot_its_work_and_the_idle_period(delivery: Delivery) -> None:
    outcome = run_scenario(calm(delivery=delivery))
    assert not outcome.violations
    (machine,) = outcome.machines
    (job,) = outcome.jobs
    assert job.started_at == pytest.approx(190.0, abs=0.1)
    assert job.ended_at == pytest.approx(490.0, abs=0.1)
    assert machine.gone_at is not None
    assert machine.billed(machine.gone_at) == pytest.approx(790.0, abs=0.2)


QUICK = (8, 16)
"""Worlds with many starts of the program that do not take long."""


def test_a_world_is_the_same_every_time() -> None:
    for seed in QUICK:
        one, other = run_scenario(draw(seed)), run_scenario(draw(seed), timeline=True)
        assert (one.digest, one.events, one.coverage) == (other.digest, other.events, other.coverage)
    assert len({run_scenario(draw(seed)).digest for seed in QUICK}) == len(QUICK)


def test_a_world_is_the_same_in_another_process_with_other_hashes() -> None:
    code = "from slotsmith.simulation.draw import draw\nfrom slotsmith.simulation.world import run_scenario\n"
    code += f"print([run_scenario(draw(seed)).digest for seed in {QUICK}])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True
        ).stdout
        for hashes in ("1", "2")
    }
    assert told == {f"{[run_scenario(draw(seed)).digest for seed in QUICK]}\n"}


def test_a_scenario_is_the_same_every_time_and_another_for_another_seed() -> None:
    assert draw(7) == draw(7)
    assert len({repr(draw(seed)) for seed in range(50)}) == 50


def test_a_dead_generation_reaches_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        log, died = EventLog(clock), []
        generation = Generation(1, CrashFaults(rate=1.0), Random(1), log, clock, lambda: died.append(1))
        calls = []

        async def call() -> None:
            calls.append(1)

        async def many_calls() -> None:
            for _ in range(100):
                await generation.cross("launch", call)

        with pytest.raises(Crashed):
            await many_calls()
        assert died == [1]
        made = len(calls)
        with pytest.raises(Crashed):
            await generation.cross("list", call)
        assert len(calls) == made
        assert sum(log.coverage.values()) == 1

    run_virtually(main)


def test_the_program_goes_on_after_every_crash_without_losing_or_doubling_anything() -> None:
    crashes = CrashFaults(rate=0.5, mean_life=300.0, longest_pause=60.0, most=12)
    outcome = run_scenario(calm(jobs=jobs(12), crashes=crashes, faulty_until=3600.0))
    assert not outcome.violations
    assert outcome.generations > 3
    assert all(job.ended_at is not None for job in outcome.jobs)


def test_a_store_that_fails_now_and_then_loses_nothing() -> None:
    store = StoreFaults(busy=0.1, full=0.1, late=0.01, latency=0.05)
    outcome = run_scenario(calm(jobs=jobs(12), store_faults=store, faulty_until=3600.0))
    assert not outcome.violations
    assert outcome.coverage["fault store_busy"]
    assert outcome.coverage["fault store_full"]


def test_a_run_can_be_cut_off_after_so_many_events() -> None:
    whole = run_scenario(calm(jobs=jobs(5)))
    part = run_scenario(calm(jobs=jobs(5)), most_events=20, timeline=True)
    assert 20 <= part.events < whole.events


# A simulation that finds nothing proves nothing: each of these breaks the program, and must be found.


def test_launching_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Launcher._attempt

    async def twice(self: Launcher, intent: object) -> object:
        intents = self._books.intents
        await self._provider.launch(LaunchRequest("another", intent.offering, intent.count))  # type: ignore[attr-defined]
        assert intents is not None
        return await attempt(self, intent)  # type: ignore[arg-type]

    monkeypatch.setattr(Launcher, "_attempt", twice)
    assert run_scenario(calm()).violations[0].promise == "I3"


def test_forgetting_what_is_in_flight_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Books, "in_flight", lambda _self: ())
    window = SETTINGS.model_copy(update={"latency": 2.0})
    assert run_scenario(calm(provider=window, jobs=jobs(6, every=0.5))).violations[0].promise in ("I1", "I3")


def test_terminating_without_a_drain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def release(self: Terminator, *, when_done: bool) -> None:
        for instance_id, record in list(self._books.terminations.items()):
            self._books.put_termination(instance_id, replace(record, phase=type(record.phase).TERMINATING))
            self._released[instance_id] = self._books.fleet.agents
            self._on_release()

    monkeypatch.setattr(Terminator, "_drain", release)
    assert run_scenario(calm()).violations[0].promise == "I4"


def forgetful_cloud() -> Scenario:
    """Every machine is missing from listings once, for less than the consistency window."""
    return calm(
        provider=SETTINGS.model_copy(update={"consistency_window": 60.0, "poll_period": 10.0}),
        cloud_faults=CloudFaults(missing_from_listing=Chance(1.0, 15.0, 30.0, after=300.0)),
        faulty_until=3600.0,
        jobs=jobs(6),
    )


def test_trusting_one_listing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not run_scenario(forgetful_cloud()).violations
    monkeypatch.setattr(Absences, "complete", lambda _self, listing, *_: listing)
    assert run_scenario(forgetful_cloud()).violations[0].promise == "I7"


def test_a_failure_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Absences, "complete", lambda _self, listing, *_: listing)
    shrunk = shrink(forgetful_cloud(), most_runs=60)
    assert shrunk.outcome.violations[0].promise == "I7"
    assert len(shrunk.scenario.jobs) < len(forgetful_cloud().jobs)
    assert shrunk.outcome.events < run_scenario(forgetful_cloud()).events
    assert "violation" in shrunk.outcome.timeline[-1]


def test_a_promise_that_holds_cannot_be_made_small() -> None:
    with pytest.raises(ValueError, match="breaks no promise"):
        shrink(calm())


def test_what_was_never_seen_is_told() -> None:
    everything = Counter(dict.fromkeys((*faults(), *transitions()), 1))
    assert never_seen(everything) == ()
    del everything["fault capacity"]
    assert never_seen(everything) == ("fault capacity",)
    assert f"instance {InstanceState.RUNNING.value} -> gone" in transitions()


def test_virtual_time_costs_nothing() -> None:
    async def main(clock: VirtualClock) -> float:
        await clock.sleep(1e6)
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 1e6
    assert SimulatedType(name="m").slots == 1
