"""What follows from the states that listings show, one after another."""

from __future__ import annotations

import pytest

from slotsmith.core import fleet as fleets
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.instance import LEGAL_TRANSITIONS, Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.record import InstanceRecord
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo

S = InstanceState
OFFERING = Offering("test", Resources(slots=2))
PERIOD = 600.0


def listed(*states: InstanceState, told: float | None = None) -> Fleet:
    """One instance, launched at 0 and listed in these states at 0, 500, 1000 ...; the last with this launch time."""
    fleet = EMPTY_FLEET
    for number, state in enumerate(states):
        launched_at = told if told is not None and number == len(states) - 1 else 0.0
        fleet = observe(fleet, (Instance("a", state, launched_at, "a"),), (), 500.0 * number)
    return fleet


def given_up(fleet: Fleet, now: float) -> bool:
    policy = Policy(max_agent_starting_period=PERIOD)
    decision = decide(View(fleet, ScalingInfo(desired_new=1), OFFERING), policy, now)
    return bool(decision.terminations)


@pytest.mark.parametrize(
    "before", [(S.PENDING_REQUEST, S.UNKNOWN), (S.STOPPED, S.UNKNOWN), (S.UNKNOWN,) * 2, (S.STOPPING,) * 2]
)
@pytest.mark.parametrize("now", [S.STARTING, S.RUNNING])
def test_a_life_that_began_while_it_could_not_be_read_has_its_whole_starting_period(
    before: tuple[InstanceState, ...], now: InstanceState
) -> None:
    """A granted request that was first listed as unknown was given up as old as its request."""
    begun = listed(*before, now, told=990.0)
    assert begun.launched_at.tolist() == [990.0]
    assert not given_up(begun, 1000.0)
    assert given_up(begun, 990.0 + PERIOD)
    wrong = listed(*before, now, told=-100.0)
    assert wrong.launched_at.tolist() == [1000.0], "the cloud's clock is wrong, so ours must do"


@pytest.mark.parametrize("up", [S.STARTING, S.RUNNING])
def test_what_was_up_before_it_could_not_be_read_is_as_old_as_ever(up: InstanceState) -> None:
    assert listed(up, S.UNKNOWN, S.UNKNOWN, S.RUNNING, told=1400.0).launched_at.tolist() == [0.0]


@pytest.mark.parametrize(("joined_at", "launched_at"), [(None, 990.0), (10.0, 0.0)])
def test_after_a_restart_what_has_joined_was_up(joined_at: float | None, launched_at: float) -> None:
    record = InstanceRecord(Instance("a", S.UNKNOWN, 0.0, "a"), first_seen=0.0, joined_at=joined_at)
    fleet = observe(fleets.restore([record]), (Instance("a", S.RUNNING, 990.0, "a"),), (), 1000.0)
    assert fleet.launched_at.tolist() == [launched_at]


def test_work_that_nobody_saw_restarts_the_idle_clock_however_the_fleet_is_built() -> None:
    instance = Instance("a", S.RUNNING, 0.0, "a")
    for activity, idle_since in ((7, 3.0), (8, 50.0)):
        record = InstanceRecord(instance, first_seen=1.0, joined_at=2.0, idle_since=3.0, activity=7)
        agents = (Agent("a", True, activity=activity),)
        restored = fleets.restore([record])
        unheard = observe(restored, (instance, instance._replace(id="b", agent_name="b")), None, 40.0)
        for before in (restored, unheard):
            fleet = observe(before, (instance,), agents, 50.0)
            assert fleet.idle_since.tolist() == [idle_since]
            assert fleet.activity_of(0) == activity
    unknown = fleets.restore([InstanceRecord(instance, first_seen=1.0, joined_at=2.0, idle_since=3.0)])
    known = observe(unknown, (instance,), agents, 50.0)
    assert (known.idle_since.tolist(), known.activity_of(0)) == ([3.0], 8)
    assert fleets.changed_rows(unknown, known) == [0], "what is known now goes on record"
    assert unknown.activity_of(0) is None


def test_what_happens_between_two_listings_may_be_seen_at_once() -> None:
    steps = {S.PENDING_REQUEST, S.STARTING, S.RUNNING, S.STOPPING, S.STOPPED}
    for before in steps:
        for between in LEGAL_TRANSITIONS[before] & steps:
            assert LEGAL_TRANSITIONS[between] - {before} - {S.UNKNOWN} <= LEGAL_TRANSITIONS[before], (before, between)
