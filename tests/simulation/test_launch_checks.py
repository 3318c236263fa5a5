"""The checks about launches: each is silent while the program is sound, and tells when it is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slotsmith.core import backoff, decider, launches
from slotsmith.core.conditions import Conditions
from slotsmith.core.view import View
from slotsmith.model.launch import LaunchIntent
from slotsmith.model.launch_error import NO_JOIN_FAILURES, NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import NO_FAULTS, Chance, SimulatedSettings
from slotsmith.provisioner import launching, pool
from slotsmith.provisioner.joining import Joining
from slotsmith.provisioner.pending import Pending
from slotsmith.provisioner.pool import Pool
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.events import Violation
from slotsmith.simulation.generation import CrashFaults
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.storage import StoreFaults
from slotsmith.simulation.world import run_scenario

Break = Callable[[pytest.MonkeyPatch], None]

SETTINGS = SimulatedSettings.model_validate(
    {"type": "simulated", "instance_types": [{"name": "m", "slots": 1}], "boot_time": "20s", "poll_period": "20s"}
)
POLICY = Policy(
    max_instances=4,
    max_idle_agent_period=300.0,
    max_agent_starting_period=120.0,
    max_agent_disconnect_period=600.0,
    launch_error_retries=0,
    launch_error_timeout=600.0,
)
CALM = Scenario(
    seed=1,
    policy=POLICY,
    provider=SETTINGS,
    jobs=tuple(Job(f"job-{n}", 5.0 + n // 3, 900.0, Resources(1)) for n in range(6)),
    faulty_until=3000.0,
)


def with_faults(**faults: Any) -> Scenario:
    return replace(CALM, cloud_faults=replace(NO_FAULTS, **faults))


def with_minimum(scenario: Scenario, minimum: int) -> Scenario:
    return replace(scenario, policy=replace(scenario.policy, min_instances=minimum))


def first_violation(scenario: Scenario, seeds: range) -> Violation | None:
    violations = (each for seed in seeds for each in run_scenario(replace(scenario, seed=seed)).violations)
    return next(violations, None)


def ask_at_once_for_the_rest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(launching, "launch_fell_short", lambda *_: NO_LAUNCH_FAILURES)


def have_no_brake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(launches, "BRAKE_AFTER", 1_000)


def forget_at_a_restart_who_never_joined(patch: pytest.MonkeyPatch) -> None:
    begin = Joining.__init__

    def forget(self: Joining, _failures: JoinFailures, **others: Any) -> None:
        begin(self, NO_JOIN_FAILURES, **others)

    patch.setattr(Joining, "__init__", forget)


def brake_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backoff, "joined", lambda: JoinFailures(3, 0.0, "i-1"))


def count_dead_agents_as_working(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conditions, "working", property(lambda self: self.counted & ~self.never_joined))


def sleep_through_back_off(patch: pytest.MonkeyPatch) -> None:
    deadline = decider._next_deadline

    def sleep(view: View, *others: Any) -> float | None:
        return deadline(replace(view, launch_failures=NO_LAUNCH_FAILURES), *others)

    patch.setattr(decider, "_next_deadline", sleep)


def resume_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "resume_launches", lambda _self: None)


def ask_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(launching, "retry_delay", lambda *_: 1e6)


def leave_open_what_could_not_be_written(patch: pytest.MonkeyPatch) -> None:
    put = Pending.intent

    def forget(self: Pending, intent: LaunchIntent) -> None:
        if intent.error != "never asked for":
            put(self, intent)

    patch.setattr(Pending, "intent", forget)


def tell_no_launch_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pool, "launch_error_of_all", lambda *_, **__: None)


def count_each_failure_as_the_first(patch: pytest.MonkeyPatch) -> None:
    failed = backoff.launch_failed

    def forget(previous: LaunchFailures, *others: Any) -> LaunchFailures:
        return failed(replace(previous, failures=0), *others)

    patch.setattr(launching, "launch_failed", forget)


FALLS_SHORT = with_faults(partial=Chance(0.7))
NEVER_JOINS = with_faults(never_joins=Chance(1.0))
OFTEN_NEVER_JOINS = with_faults(never_joins=Chance(0.5))
STOPPED_OFTEN = replace(OFTEN_NEVER_JOINS, crashes=CrashFaults(mean_stop=200.0, most=12))
AGENTS_DIE = replace(with_minimum(with_faults(agent_dies=Chance(1.0, after=60.0)), 2), jobs=CALM.jobs[:1])
REFUSED = with_faults(capacity=Chance(0.6, 20.0, 300.0))
DIES_AT_LAUNCH = replace(CALM, crashes=CrashFaults(rate=0.5, most=2))
NO_ANSWER = with_faults(lost_answer=Chance(0.5))
DISK_HANGS = replace(
    CALM,
    policy=replace(POLICY, max_idle_agent_period=30.0),
    jobs=tuple(Job(f"job-{n}", 5.0 + 200.0 * n, 30.0, Resources(1)) for n in range(14)),
    store_faults=StoreFaults(late=0.1),
)


@pytest.mark.parametrize(
    ("scenario", "break_it", "promise", "text"),
    [
        (FALLS_SHORT, ask_at_once_for_the_rest, "back-off", "after refusal"),
        (NEVER_JOINS, have_no_brake, "brake", "launched"),
        (STOPPED_OFTEN, forget_at_a_restart_who_never_joined, "brake", "are on record as ended without joining"),
        (OFTEN_NEVER_JOINS, brake_for_ever, "brake", "are on record as ended without joining"),
        (AGENTS_DIE, count_dead_agents_as_working, "I5", "the minimum is 2, there is room"),
        (REFUSED, sleep_through_back_off, "I5", "there is room, and nothing has come"),
        (DIES_AT_LAUNCH, resume_nothing, "I3", "is open and nobody has asked for it"),
        (NO_ANSWER, ask_once, "I3", "is open and nobody has asked for it"),
        (DISK_HANGS, leave_open_what_could_not_be_written, "I3", "are coming, all that is pending needs 1"),
        (REFUSED, tell_no_launch_error, "I6", "the launch error that is told is None"),
        (REFUSED, count_each_failure_as_the_first, "I6", "in a row are on record, there were"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_found(
    scenario: Scenario, break_it: Break, promise: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = range(6)
    assert first_violation(scenario, seeds) is None
    break_it(monkeypatch)
    found = first_violation(scenario, seeds)
    assert found is not None
    assert (found.promise, text in found.text) == (promise, True), str(found)


def test_an_agent_that_joins_while_nothing_can_be_listed_ends_the_row_of_those_that_did_not() -> None:
    scenario = with_faults(never_joins=Chance(0.5), list_error=Chance(0.5))
    scenario = replace(scenario, crashes=CrashFaults(mean_stop=100.0, longest_pause=40.0, most=12))
    assert not any(run_scenario(replace(scenario, seed=seed)).violations for seed in (9, 11, 18))


def test_a_stray_that_vanishes_before_it_has_joined_is_no_failure_to_join() -> None:
    scenario = with_faults(never_joins=Chance(0.5), deleted_behind_back=Chance(0.5, after=60.0))
    # They are there when the pool lists for the first time.
    late = SETTINGS.model_copy(update={"latency": 2.0})
    scenario = replace(scenario, provider=late, strays=(0.0, 0.0), adopt=False, faulty_until=1500.0, ends_at=1500.0)
    assert first_violation(scenario, range(6)) is None
