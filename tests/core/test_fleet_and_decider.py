"""The fleet's columns and the decider, where the comparison with the reference does not look."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.core import fleet as fleets
from slotsmith.core.backoff import BRAKE_AFTER, launch_error, launch_failed, never_joined
from slotsmith.core.conditions import conditions, state_sets
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import LEGAL_TRANSITIONS, Instance, InstanceState
from slotsmith.model.launch import INTENT_TRANSITIONS, InFlight, IntentState
from slotsmith.model.launch_error import NO_JOIN_FAILURES, NO_LAUNCH_FAILURES, ErrorKind, JoinFailures
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.record import InstanceRecord
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Task

OFFERING = Offering("test", Resources(slots=2, cpus=2, mem_gib=4))
RUNNING, PENDING = InstanceState.RUNNING, InstanceState.PENDING_REQUEST


def instance(name: str, state: InstanceState = RUNNING, launched_at: float = 0.0, agent: str = "") -> Instance:
    return Instance(name, state, launched_at, agent or name)


def agent(name: str, *, idle: bool, used: int = 0, activity: int = 0) -> Agent:
    return Agent(name, idle, OFFERING.capacity, Resources(slots=used, cpus=used), activity=activity)


def decided(
    fleet: Fleet, policy: Policy, now: float, *, tasks: int = 0, desired: int | None = None, **more: object
) -> Decision:
    pending = [Task(f"t{number}", Resources(slots=1)) for number in range(tasks)]
    info = (
        ScalingInfo(fleet.agents, desired_new=desired) if desired is not None else ScalingInfo.of(fleet.agents, pending)
    )
    return decide(View(fleet, info, OFFERING, **more), policy, now)  # type: ignore[arg-type]


LISTINGS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.sampled_from(list(InstanceState)), st.floats(0, 100), st.sampled_from("abcxy")
        ),
        max_size=7,
    ),
    min_size=1,
    max_size=5,
)
AGENTS = st.lists(
    st.one_of(
        st.none(),
        st.lists(st.tuples(st.sampled_from("abcdxy"), st.booleans(), st.integers(0, 2)), max_size=6),
    ),
    min_size=5,
    max_size=5,
)


@given(LISTINGS, AGENTS)
def test_i9_a_fleet_does_not_depend_on_how_it_was_built(listings: list[list[tuple]], views: list) -> None:  # type: ignore[type-arg]
    by_difference = rebuilt = EMPTY_FLEET
    for number, (listing, view) in enumerate(zip(listings, views, strict=False)):
        now = 100.0 + 10 * number
        instances = tuple(Instance(name, state, at, agent) for name, state, at, agent in listing)
        agents = None if view is None else tuple(agent(name, idle=i, activity=a) for name, i, a in view)
        by_difference = observe(by_difference, instances, agents, now)
        rebuilt = fleets._rebuild(rebuilt, instances, agents, {}, now)
        for column in fields(Fleet):
            one, other = getattr(by_difference, column.name), getattr(rebuilt, column.name)
            if isinstance(one, np.ndarray):
                np.testing.assert_array_equal(one, other, column.name)
            else:
                assert one == other, column.name


def test_a_listing_of_the_same_objects_costs_no_rebuilding() -> None:
    listing, agents = (instance("a"), instance("b")), (agent("a", idle=True),)
    first = observe(EMPTY_FLEET, listing, agents, 10.0)
    assert observe(first, listing, agents, 20.0).rows is first.rows


def test_clocks_go_on_from_the_books() -> None:
    record = InstanceRecord(instance("a"), first_seen=1.0, joined_at=2.0, idle_since=3.0)
    restored = fleets.restore([record])
    heard = observe(restored, (instance("a"),), (agent("a", idle=True, activity=7),), 50.0)
    assert heard.idle_since.tolist() == [3.0]
    worked = observe(heard, (instance("a"),), (agent("a", idle=True, activity=8),), 60.0)
    assert worked.idle_since.tolist() == [60.0], "a task too short to be seen restarts the idle period"
    gone = observe(restored, (instance("a"),), (), 70.0)
    assert gone.missing_since.tolist() == [70.0]


def test_a_cloud_clock_ahead_of_ours_does_not_lengthen_the_starting_period() -> None:
    fleet = observe(EMPTY_FLEET, (instance("a", launched_at=9999.0),), (), 100.0)
    assert fleet.launched_at.tolist() == [100.0]
    asked = observe(
        EMPTY_FLEET, (instance("a", launched_at=-500.0)._replace(token="t"),), (), 100.0, {"t": (80.0, 90.0)}
    )
    assert asked.launched_at.tolist() == [80.0]
    fulfilled = observe(
        EMPTY_FLEET, (instance("a", launched_at=95.0)._replace(token="t"),), (), 100.0, {"t": (80.0, 90.0)}
    )
    assert fulfilled.launched_at.tolist() == [95.0]
    late = observe(
        EMPTY_FLEET, (instance("a", launched_at=9999.0)._replace(token="t"),), (), 100.0, {"t": (80.0, 90.0)}
    )
    assert late.launched_at.tolist() == [90.0]


def test_a_granted_request_gets_its_starting_period_from_the_grant_on() -> None:
    policy = Policy(max_agent_starting_period=600)
    fleet = observe(EMPTY_FLEET, (instance("r", PENDING, 0.0),), (), 0.0)
    fleet = observe(fleet, (instance("r", InstanceState.STARTING, 995.0),), (), 1000.0)
    decision = decided(fleet, policy, 1000.0, desired=1)
    assert (decision.terminations, decision.launches) == ((), ())


def test_two_instances_with_one_agent_are_both_connected() -> None:
    listing = (instance("a", agent="x"), instance("b", agent="x"))
    fleet = observe(EMPTY_FLEET, listing, (Agent("x", idle=False),), 5000.0)
    assert decided(fleet, Policy(), 5000.0).terminations == ()
    fleet = observe(fleet, listing, (Agent("x", idle=True),), 5010.0)
    assert np.isfinite(fleet.idle_since).all()


def test_while_the_scheduler_cannot_be_heard_nothing_follows_from_silence() -> None:
    fleet = observe(EMPTY_FLEET, (instance("a"), instance("b")), None, 9e5)
    decision = decided(fleet, Policy(min_instances=2), 9e5, blind=True)
    assert (decision.terminations, decision.launches) == ((), ())
    assert state_sets(View(fleet, ScalingInfo(), OFFERING, blind=True), Policy(), 9e5).disconnected == {}


def test_while_the_scheduler_cannot_be_heard_only_the_minimum_is_launched() -> None:
    for asked in ({"tasks": 4}, {"desired": 2}):
        decision = decided(EMPTY_FLEET, Policy(), 9e5, blind=True, **asked)  # type: ignore[arg-type]
        assert decision.launches == ()
        assert "the scheduler cannot be heard" in decision.unmet[0].reason
        (launch,) = decided(EMPTY_FLEET, Policy(min_instances=1), 9e5, blind=True, **asked).launches  # type: ignore[arg-type]
        assert launch.count == 1
        assert decided(EMPTY_FLEET, Policy(), 9e5, **asked).launch_count == 2  # type: ignore[arg-type]


def test_pending_tasks_use_what_is_free_and_what_is_starting_before_anything_is_launched() -> None:
    listing = (instance("free"), instance("starting", InstanceState.STARTING, 990.0))
    fleet = observe(EMPTY_FLEET, listing, (agent("free", idle=False, used=1),), 1000.0)
    assert decided(fleet, Policy(), 1000.0, tasks=3).launch_count == 0
    assert decided(fleet, Policy(), 1000.0, tasks=4).launch_count == 1
    in_flight = (InFlight("t", OFFERING.name, 1, 999.0),)
    assert decided(fleet, Policy(), 1000.0, tasks=5, in_flight=in_flight).launch_count == 0


def test_an_idle_agent_that_a_task_is_waiting_for_is_kept_but_not_for_ever() -> None:
    policy = Policy(max_idle_agent_period=60)
    fleet = observe(EMPTY_FLEET, (instance("a"),), (agent("a", idle=True),), 0.0)
    kept = decided(fleet, policy, 100.0, tasks=1)
    assert (kept.terminations, kept.launch_count) == ((), 0)
    given_up = decided(fleet, policy, 121.0, tasks=1)
    assert [t.reason for t in given_up.terminations] == [Reason.LONG_IDLE]
    assert given_up.launch_count == 1


def test_an_idle_agent_that_the_minimum_keeps_still_takes_tasks() -> None:
    policy = Policy(min_instances=1, max_idle_agent_period=60)
    fleet = observe(EMPTY_FLEET, (instance("a"),), (agent("a", idle=True),), 0.0)
    decision = decided(fleet, policy, 1000.0, tasks=1)
    assert (decision.terminations, decision.launch_count) == ((), 0)


def test_requests_that_nobody_needs_any_more_are_cancelled_down_to_the_minimum() -> None:
    fleet = observe(EMPTY_FLEET, (instance("r1", PENDING, 1.0), instance("r2", PENDING, 2.0)), (), 10.0)
    assert decided(fleet, Policy(), 10.0, tasks=4).terminations == ()
    (one,) = decided(fleet, Policy(), 10.0, tasks=2).terminations
    assert (one.id, one.reason) == ("r2", Reason.NOT_NEEDED)
    assert len(decided(fleet, Policy(min_instances=1), 10.0).terminations) == 1
    assert len(decided(fleet, Policy(), 10.0, desired=0).terminations) == 2


def test_the_brake_holds_from_the_pass_that_gives_up_the_third() -> None:
    policy = Policy(max_agent_starting_period=60, max_instances=20)
    fleet = observe(EMPTY_FLEET, tuple(instance(f"i{n}") for n in range(BRAKE_AFTER)), (), 0.0)
    decision = decided(fleet, policy, 61.0, desired=3)
    assert [t.reason for t in decision.terminations] == [Reason.NEVER_JOINED] * BRAKE_AFTER
    assert decision.launch_count == 0
    one = decided(EMPTY_FLEET, policy, 500.0, desired=3, join_failures=JoinFailures(3, 200.0, "i2"))
    assert one.launch_count == 1
    assert "3 instances in a row ended without joining (the last was i2); one is being tried" in one.unmet[0].reason


def test_the_next_deadline_is_when_the_decision_would_change() -> None:
    policy = Policy(max_idle_agent_period=60)
    fleet = observe(EMPTY_FLEET, (instance("a"),), (agent("a", idle=True),), 100.0)
    decision = decided(fleet, policy, 100.0)
    assert decision.next_deadline == 160.0
    assert decided(fleet, policy, 160.0).terminations == ()
    assert decided(fleet, policy, 160.001).terminations != ()


def test_back_off_doubles_is_capped_and_is_spread_by_jitter() -> None:
    failures, waits = NO_LAUNCH_FAILURES, []
    for _ in range(12):
        failures = launch_failed(failures, ErrorKind.CAPACITY, "none left", 1000.0, jitter=0.999999)
        waits.append(failures.next_attempt_at - 1000.0)
    assert waits == sorted(waits)
    assert 29.9 < waits[0] <= 30
    assert 59.9 < waits[1] <= 60
    assert 1799 < waits[-1] <= 1800
    low = launch_failed(NO_LAUNCH_FAILURES, ErrorKind.CAPACITY, "none left", 1000.0, jitter=0.0)
    assert low.next_attempt_at - 1000.0 == 15.0


def test_the_launch_error_lasts_until_its_timeout_after_the_attempt_that_back_off_permits() -> None:
    failures = NO_LAUNCH_FAILURES
    for _ in range(2):
        failures = launch_failed(failures, ErrorKind.DENIED, "no rights", 100.0, jitter=0.5)
    end = failures.next_attempt_at + 5.0
    assert launch_error(failures, retries=1, timeout=5.0, now=end) == "no rights"
    assert launch_error(failures, retries=1, timeout=5.0, now=end + 0.001) is None
    assert launch_error(failures, retries=2, timeout=5.0, now=100.0) is None
    assert launch_error(failures, retries=1, timeout=0.0, now=100.0) is None


def test_join_failures_brake_only_after_several() -> None:
    assert never_joined(NO_JOIN_FAILURES, ["a", "b"], 10.0, 0.5).retry_at == 0.0
    braked = never_joined(NO_JOIN_FAILURES, ["a", "b", "c"], 10.0, 0.5)
    assert braked.retry_at > 10.0
    assert never_joined(braked, ["d"], 10.0, 0.5).retry_at > braked.retry_at


def test_the_tables_of_transitions_know_every_state() -> None:
    assert LEGAL_TRANSITIONS.keys() == set(InstanceState)
    assert all(state not in after for state, after in LEGAL_TRANSITIONS.items())
    assert INTENT_TRANSITIONS.keys() == set(IntentState)


@given(st.data())
def test_i1_and_the_minimum_hold_whatever_is_seen(data: st.DataObject) -> None:
    names = [f"i{n}" for n in range(data.draw(st.integers(0, 8)))]
    listing = tuple(
        instance(n, data.draw(st.sampled_from(list(InstanceState))), data.draw(st.floats(0, 900))) for n in names
    )
    agents = tuple(agent(n, idle=data.draw(st.booleans())) for n in names if data.draw(st.booleans()))
    policy = Policy(min_instances=data.draw(st.integers(0, 3)), max_instances=data.draw(st.integers(3, 8)))
    in_flight = (InFlight("t", OFFERING.name, data.draw(st.integers(1, 4)), 0.0),) if data.draw(st.booleans()) else ()
    draining = frozenset(n for n in names if data.draw(st.booleans()))
    fleet = observe(EMPTY_FLEET, listing, agents, 1000.0)
    view = View(fleet, ScalingInfo(agents, desired_new=data.draw(st.integers(0, 9))), OFFERING, in_flight, draining)
    decision = decide(view, policy, 1000.0)
    after = len(listing) + view.in_flight_count + decision.launch_count
    assert decision.launch_count == 0 or after <= policy.max_instances
    found = conditions(view, policy, 1000.0)
    gone_idle = sum(t.reason is Reason.LONG_IDLE for t in decision.terminations)
    assert gone_idle == 0 or int(found.working.sum()) - gone_idle >= policy.min_instances
    assert not draining & {t.id for t in decision.terminations}
    assert decision == decide(view, policy, 1000.0)
    if decision.launch_count < decision.desired_new:
        assert decision.unmet, "I6: what is unmet has a reason"
