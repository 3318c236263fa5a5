"""Decisions that were wrong once, and what each would have cost. Values in, values out."""

from __future__ import annotations

import pytest

from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import JoinFailures
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Task

OFFERING = Offering("test", Resources(slots=2, cpus=2, mem_gib=4))
RUNNING, STARTING, STOPPED = InstanceState.RUNNING, InstanceState.STARTING, InstanceState.STOPPED
PENDING, STOPPING = InstanceState.PENDING_REQUEST, InstanceState.STOPPING


def instance(name: str, state: InstanceState = RUNNING, launched_at: float = 0.0, token: str = "") -> Instance:
    return Instance(name, state, launched_at, name, token)


def idle(name: str) -> Agent:
    return Agent(name, True, OFFERING.capacity, Resources())


def busy(name: str) -> Agent:
    return Agent(name, False, OFFERING.capacity, OFFERING.capacity)


def fleet_of(now: float, *listing: Instance, agents: tuple[Agent, ...] = ()) -> Fleet:
    return observe(EMPTY_FLEET, listing, agents, now)


def decided(
    fleet: Fleet,
    policy: Policy,
    now: float,
    *tasks: Task,
    desired: int | None = None,
    join_failures: JoinFailures | None = None,
) -> Decision:
    info = ScalingInfo.of(fleet.agents, tasks) if desired is None else ScalingInfo(fleet.agents, desired_new=desired)
    view = View(fleet, info, OFFERING, join_failures=join_failures or JoinFailures())
    return decide(view, policy, now)


def gang(instances: int) -> Task:
    """Work that needs so many whole instances at once."""
    return Task("gang", Resources(slots=2 * instances), spans=True)


def given_up(decision: Decision) -> dict[str, Reason]:
    return {termination.id: termination.reason for termination in decision.terminations}


def test_i4_what_is_listed_as_a_request_and_is_at_work_is_not_cancelled() -> None:
    """The listing lagged behind the scheduler, and a machine was ended as a request nobody needed: its job was lost."""
    fleet = fleet_of(10.0, instance("r", PENDING), agents=(busy("r"),))
    for now in (10.0, 11.0):
        assert given_up(decided(fleet, Policy(), now, desired=0)) == {}
        assert given_up(decided(fleet, Policy(), now)) == {}
    assert given_up(decided(fleet_of(10.0, instance("r", PENDING)), Policy(), 10.0)) == {"r": Reason.NOT_NEEDED}


def test_i4_over_the_maximum_a_request_at_work_does_not_go_before_an_idle_agent() -> None:
    """Requests go first, for they cost nothing: but this one had a job, and the pool had an idle machine to give."""
    fleet = fleet_of(10.0, instance("r", PENDING), instance("i"), agents=(busy("r"), idle("i")))
    assert given_up(decided(fleet, Policy(max_instances=1), 10.0, desired=0)) == {"i": Reason.OVER_MAXIMUM}


def test_i4_one_that_was_stopped_and_is_at_work_again_is_left_alone() -> None:
    """Somebody had started a stopped machine again, the listing did not show it yet, and its job was killed."""
    fleet = fleet_of(10.0, instance("s", STOPPED), agents=(busy("s"),))
    assert given_up(decided(fleet, Policy(), 10.0)) == {}
    assert given_up(decided(fleet_of(10.0, instance("s", STOPPED)), Policy(), 10.0)) == {"s": Reason.STOPPED}


@pytest.mark.parametrize("agent", [idle("r"), busy("r")])
def test_a_request_with_an_agent_is_capacity_once(agent: Agent) -> None:
    """It counted as an agent and as one still to come: one machine too few was launched, and work waited."""
    fleet = fleet_of(10.0, instance("r", PENDING), agents=(agent,))
    free = 2 if agent.idle else 0
    tasks = [Task(f"t{number}", Resources(slots=1)) for number in range(free + 2)]
    assert decided(fleet, Policy(), 10.0, *tasks).launch_count == 1
    assert decided(fleet, Policy(), 10.0, *tasks[:free]).launch_count == 0


def test_i6_a_gang_that_only_fits_when_one_is_counted_twice_is_told_why_it_waits() -> None:
    """It waited without a reason, and without a launch, for it seemed to fit."""
    fleet = fleet_of(10.0, instance("r", PENDING), agents=(idle("r"),))
    decision = decided(fleet, Policy(max_instances=1), 10.0, gang(2))
    assert decision.unmet
    assert decision.launch_count == 0


def test_i5_the_first_agents_of_a_gang_wait_for_its_last() -> None:
    """They were given up as idle while the last one booted, launched again, and so on: paid for, never served."""
    policy = Policy(max_idle_agent_period=60, max_instances=3)
    coming = fleet_of(0.0, instance("a"), instance("b"), instance("c", STARTING, 0.0), agents=(idle("a"), idle("b")))
    for now in (61.0, 121.0, 600.0):
        decision = decided(coming, policy, now, gang(3))
        assert (given_up(decision), decision.launch_count) == ({}, 0)
    # Patience has an end when nothing is on its way: the scheduler does not see the fit that we see.
    there = fleet_of(0.0, instance("a"), instance("b"), agents=(idle("a"), idle("b")))
    assert set(given_up(decided(there, policy, 121.0, gang(2)))) == {"a", "b"}


def test_i5_the_brake_tries_one_instance_for_a_gang_too() -> None:
    """One alone is no use to a gang, so none was tried: the brake never came off, and the gang waited for ever."""
    policy = Policy(max_instances=5)
    braked = JoinFailures(3, 200.0, "i2")
    decision = decided(EMPTY_FLEET, policy, 500.0, gang(3), join_failures=braked)
    assert decision.launch_count == 1
    assert "one is being tried" in decision.unmet[0].reason
    trying = fleet_of(500.0, instance("tried", STARTING, 500.0))
    assert decided(trying, policy, 510.0, gang(3), join_failures=braked).launch_count == 0
    assert decided(EMPTY_FLEET, policy, 150.0, gang(3), join_failures=braked).launch_count == 0, "the pause goes on"


def test_a_launch_that_came_long_after_its_record_has_its_whole_starting_period() -> None:
    """The call was held up for an hour; the machine it brought was ended at once as one that never joins."""
    policy = Policy(max_agent_starting_period=600)
    late = instance("a", STARTING, 4000.0, "t")
    fleet = observe(EMPTY_FLEET, (late,), (), 4005.0, {"t": (400.0, 4005.0)})
    assert fleet.launched_at.tolist() == [4000.0]
    assert fleet.first_seen.tolist() == [4000.0]
    for now in (4005.0, 4599.0):
        assert given_up(decided(fleet, policy, now, desired=1)) == {}
    assert given_up(decided(fleet, policy, 4601.0, desired=1)) == {"a": Reason.NEVER_JOINED}


def test_a_clock_that_lags_takes_no_more_of_the_starting_period_than_the_launch_took() -> None:
    """The provider's clock was an hour behind; its machines were ended as soon as they were listed."""
    fleet = observe(EMPTY_FLEET, (instance("a", STARTING, 405.0, "t"),), (), 4005.0, {"t": (4000.0, 4005.0)})
    assert fleet.launched_at.tolist() == [4000.0]


@pytest.mark.parametrize("up", [STARTING, RUNNING])
@pytest.mark.parametrize("down", [PENDING, STOPPING, STOPPED])
@pytest.mark.parametrize(("told", "believed"), [(990.0, 990.0), (-500.0, 1000.0), (5000.0, 1000.0)])
def test_a_second_life_has_a_starting_period_of_its_own(
    down: InstanceState, up: InstanceState, told: float, believed: float
) -> None:
    """A machine that was started again, seen stopping and never stopped, was ended at once as one that never joins."""
    policy = Policy(max_agent_starting_period=600)
    before = fleet_of(0.0, instance("a", down, 0.0))
    after = observe(before, (instance("a", up, told),), (), 1000.0)
    assert after.launched_at.tolist() == [believed]
    assert given_up(decided(after, policy, 1001.0, desired=1)) == {}
    assert given_up(decided(after, policy, believed + 601.0, desired=1)) == {"a": Reason.NEVER_JOINED}
