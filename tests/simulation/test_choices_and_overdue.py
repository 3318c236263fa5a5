"""The checks of choices, of things overdue and of secrets: each program here is broken in one way, which they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from slotsmith.core.rules import SLOTSMITH, Rules
from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Reason, Termination
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import Chance, CloudFaults, SimulatedSettings
from slotsmith.provisioner import faults
from slotsmith.provisioner.terminating import Terminator
from slotsmith.schedulers.simulated import Job, SchedulerFaults
from slotsmith.simulation import site
from slotsmith.simulation.generation import CrashFaults
from slotsmith.simulation.ports import SECRET
from slotsmith.simulation.scenario import Delivery, Scenario
from slotsmith.simulation.world import run_scenario

SETTINGS = SimulatedSettings.model_validate(
    {
        "type": "simulated",
        "instance_types": [{"name": "m", "slots": 2}],
        "boot_time": "60s",
        "join_time": "10s",
        "min_billing": "0s",
    }
)
SPOT = SETTINGS.model_copy(
    update={"instance_types": (SETTINGS.instance_types[0].model_copy(update={"market": "spot"}),)}
)
POLICY = Policy(max_instances=3, max_idle_agent_period=120.0, max_agent_starting_period=600.0)
LOWER = replace(POLICY, max_instances=2)
ONE_LONG_TWO_SHORT = tuple(
    Job(f"job-{n}", n * 0.01, lasts, Resources(2)) for n, lasts in enumerate((60.0, 1500.0, 60.0))
)

Spoil = Callable[[View, Policy, Decision], Decision]


def scenario(**changes: object) -> Scenario:
    jobs = (Job("job", 0.0, 300.0, Resources(1)),)
    return replace(Scenario(seed=1, policy=POLICY, provider=SETTINGS, jobs=jobs), **changes)  # type: ignore[arg-type]


def broken(monkeypatch: pytest.MonkeyPatch, world: Scenario, spoil: Spoil) -> str:
    """The first promise that a program breaks whose decisions are spoilt in this way, which it keeps otherwise."""
    assert not run_scenario(world).violations

    def decide(view: View, policy: Policy, now: float) -> Decision:
        return spoil(view, policy, SLOTSMITH.decide(view, policy, now))

    monkeypatch.setitem(site.RULES, "slotsmith", Rules("slotsmith", decide))
    return str(run_scenario(world).violations[0])


def without(reason: Reason) -> Spoil:
    def spoil(_view: View, _policy: Policy, decision: Decision) -> Decision:
        return replace(decision, terminations=tuple(t for t in decision.terminations if t.reason is not reason))

    return spoil


def lowered() -> Scenario:
    """Two of three agents are idle when the maximum becomes two."""
    return scenario(
        jobs=ONE_LONG_TWO_SHORT, policies=((200.0, replace(LOWER, max_idle_agent_period=120.0)),), faulty_until=400.0
    )


def test_one_above_the_maximum_may_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "3 are to stay, the maximum is 2" in broken(monkeypatch, lowered(), without(Reason.OVER_MAXIMUM))


def test_a_busy_agent_may_not_go_before_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def the_busy_one(view: View, _policy: Policy, decision: Decision) -> Decision:
        if Reason.OVER_MAXIMUM not in (t.reason for t in decision.terminations):
            return decision
        busy = next(
            i.id for i, since in zip(view.fleet.instances, view.fleet.idle_since, strict=True) if since != since
        )
        return replace(decision, terminations=(Termination(busy, Reason.OVER_MAXIMUM),))

    assert "which would cost less" in broken(monkeypatch, lowered(), the_busy_one)


def test_a_request_that_nothing_needs_may_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second task runs where the first has run, and its request is still pending.
    jobs = tuple(Job(f"job-{n}", n * 10.0, 60.0, Resources(2)) for n in range(2))
    world = scenario(
        provider=SPOT, jobs=jobs, cloud_faults=CloudFaults(spot_pending=Chance(0.5, 3000, 3000)), faulty_until=1200.0
    )
    worlds = (replace(world, seed=seed) for seed in range(20))
    mixed = next(w for w in worlds if run_scenario(w).coverage["fault spot_pending"] == 1)
    assert "is requested still" in broken(monkeypatch, mixed, without(Reason.NOT_NEEDED))


def test_more_than_idle_agents_lack_may_not_be_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    def for_all(view: View, policy: Policy, decision: Decision) -> Decision:
        no_agents = replace(view.info, agents=()) if view.info.tasks and decision.launches else view.info
        return SLOTSMITH.decide(replace(view, info=no_agents), policy, decision.at)

    gang = Job("gang", 200.0, 60.0, Resources(4), spans=True)
    world = scenario(jobs=(Job("job", 0.0, 60.0, Resources(1)), gang), provider=SETTINGS)
    assert "beside 1 idle agents 1 are needed" in broken(monkeypatch, world, for_all)


def test_nothing_may_be_concluded_while_the_scheduler_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_the_same(view: View, policy: Policy, decision: Decision) -> Decision:
        return SLOTSMITH.decide(replace(view, blind=False), policy, decision.at)

    world = scenario(
        delivery=Delivery.PULL,
        jobs=tuple(Job(f"job-{n}", n * 400.0, 30.0, Resources(1)) for n in range(20)),
        scheduler_faults=SchedulerFaults(read_error=0.9),
        crashes=CrashFaults(mean_life=300.0, longest_pause=200.0, most=12),
        faulty_until=8000.0,
    )
    assert "while the scheduler is not heard" in broken(monkeypatch, world, all_the_same)


def test_what_is_due_may_not_be_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep(_view: View, _policy: Policy, decision: Decision) -> Decision:
        return replace(decision, next_deadline=None)

    idle = scenario()
    assert "is idle beyond its period" in broken(monkeypatch, idle, asleep)
    monkeypatch.undo()
    unjoined = scenario(
        policy=replace(POLICY, max_agent_starting_period=100.0),
        cloud_faults=CloudFaults(never_joins=Chance(1.0)),
        faulty_until=400.0,
    )
    assert "never joined" in broken(monkeypatch, unjoined, asleep)


def test_what_was_stopped_may_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = scenario(cloud_faults=CloudFaults(stopped_behind_back=Chance(1.0, 10, 20, after=100)), faulty_until=600.0)
    assert "is stopped, and nothing is done" in broken(monkeypatch, stopped, without(Reason.STOPPED))


def test_an_agent_that_nobody_wants_any_more_may_not_drain_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: Terminator) -> None:
        pass

    # The maximum is lowered while both work, and raised while one of them finishes its task.
    jobs = tuple(Job(f"job-{n}", n * 0.01, 1500.0, Resources(2)) for n in range(2))
    low = replace(POLICY, max_instances=1)
    world = scenario(jobs=jobs, policies=((200.0, low), (300.0, POLICY)), faulty_until=400.0)
    assert not run_scenario(world).violations
    monkeypatch.setattr(Terminator, "_cancel_drains", nothing)
    assert "drains for nobody" in run_scenario(world).violations[0].text


def test_a_repeat_needs_a_release_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = scenario(cloud_faults=CloudFaults(ignored_terminate=Chance(1.0)), faulty_until=1500.0)
    assert not run_scenario(world).violations
    monkeypatch.setattr(Terminator, "_must_drain_again", lambda *_: False)
    assert "is told to end again (long idle)" in run_scenario(world).violations[0].text


def test_an_agent_that_has_joined_meanwhile_may_not_be_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = scenario(
        policy=replace(POLICY, max_agent_starting_period=100.0),
        cloud_faults=CloudFaults(late_join=Chance(1.0, 40, 60), ignored_terminate=Chance(1.0)),
        faulty_until=1500.0,
    )
    assert not run_scenario(world).violations
    monkeypatch.setattr(Terminator, "_look_again", lambda _self: None)
    violation = run_scenario(world).violations[0]
    assert violation.promise == "I4"
    assert "is told to end (never joined) and" in violation.text


def test_a_request_is_not_cancelled_before_anybody_has_spoken() -> None:
    world = scenario(
        provider=SPOT,
        cloud_faults=CloudFaults(spot_pending=Chance(1.0, 600, 600)),
        crashes=CrashFaults(mean_life=100.0, longest_pause=5.0, most=6),
        faulty_until=600.0,
    )
    outcome = run_scenario(world)
    assert not outcome.violations
    assert outcome.generations > 2
    assert len(outcome.machines) == 1


def unlucky() -> Scenario:
    cloud = CloudFaults(internal_error=Chance(0.3), capacity=Chance(0.3, 60, 120), list_error=Chance(0.3))
    return scenario(
        delivery=Delivery.PULL,
        cloud_faults=cloud,
        scheduler_faults=SchedulerFaults(read_error=0.3, drain_error=0.3),
        faulty_until=1500.0,
    )


def test_a_password_in_an_error_reaches_nobody() -> None:
    outcome = run_scenario(unlucky(), timeline=True)
    assert not outcome.violations
    told = [line for line in outcome.timeline if "slotsmith:********@" in line]
    assert any("warning" in line for line in told)
    assert not [line for line in outcome.timeline if SECRET in line]


def test_a_password_on_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "hide_password", lambda text: text)
    assert run_scenario(unlucky()).violations[0].promise == "I10"
