"""Limits in slots and dollars, headroom, and whose tasks come first: for one offering and for several."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from core.test_several import ALL, HUGE, LARGE, NOW, SMALL, SPOT, failing, launched, tasks_of, view_of
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.spending import money
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo

ONE = (LARGE,)


def fleet_of(
    *kinds: tuple[Offering, InstanceState, int], idle_for: float | None = None
) -> tuple[dict[str, object], tuple[Agent, ...]]:
    """Instances of each kind; with agents that have been idle for so long, when a time is given."""
    instances = [
        Instance(
            f"{kind.name}-{state.value}-{n}",
            state,
            NOW - 5000,
            f"{kind.name}-{state.value}-{n}",
            "t",
            kind.name,
            kind.capacity,
        )
        for kind, state, count in kinds
        for n in range(count)
    ]
    agents: tuple[Agent, ...] = ()
    fleet = EMPTY_FLEET
    if idle_for is not None:
        agents = tuple(Agent(i.id, True, i.capacity, Resources()) for i in instances)
        fleet = observe(fleet, instances, agents, NOW - idle_for)
    return {"fleet": observe(fleet, instances, agents, NOW)}, agents


def cost_of(decision: Decision) -> float:
    return sum(launch.count * (launch.offering.price or 0.0) for launch in decision.launches)


@pytest.mark.parametrize("offerings", [ONE, ALL])
def test_a_cap_per_hour_counts_all_that_is_listed_and_in_flight(offerings: tuple[Offering, ...]) -> None:
    listed, _ = fleet_of((LARGE, InstanceState.TERMINATING, 1), (LARGE, InstanceState.STOPPED, 1))
    view = view_of((tasks_of(4, 20),), offerings=offerings, in_flight=(InFlight("t", LARGE.name, 1, NOW),), **listed)
    policy = Policy(max_instances=90, max_dollars_per_hour=16.0)
    assert money(view, policy).spent == 9.0
    decision = decide(view, policy, NOW)
    assert 0 < cost_of(decision) <= 16.0 - 9.0
    assert {unmet.reason for unmet in decision.unmet} == {
        ("over " if len(offerings) > 1 else "") + "the pool's maximum of $16.00 per hour ($9.00 of it is spent)"
    }
    # One of them holds what is in flight; with nothing left, nothing is launched.
    full = decide(view, replace(policy, max_dollars_per_hour=9.5), NOW)
    assert not full.launches
    assert sum(unmet.count for unmet in full.unmet) == 19


@pytest.mark.parametrize("offerings", [ONE, ALL])
@pytest.mark.parametrize("seed", range(6))
def test_no_launch_passes_a_cap_whatever_is_asked(offerings: tuple[Offering, ...], seed: int) -> None:
    random = Random(seed)
    tasks = tuple(tasks_of(random.randint(1, 8), random.randint(1, 9), gang=random.choice((1, 1, 3))) for _ in range(5))
    in_flight = (InFlight("t", random.choice(offerings).name, random.randint(1, 4), NOW),)
    view = view_of(tasks, offerings=offerings, in_flight=in_flight, failing={SPOT.name: failing(NOW + 9)})
    cap, slots = random.uniform(0.0, 60.0), random.randint(0, 60)
    policy = Policy(
        min_instances=random.choice((0, 5)),
        max_instances=30,
        max_dollars_per_hour=cap,
        max_slots=slots,
        headroom_slots=9,
    )
    decision = decide(view, policy, NOW)
    there = in_flight[0].count * next(each for each in offerings if each.name == in_flight[0].offering).price  # type: ignore[operator]
    held = in_flight[0].count * next(e for e in offerings if e.name == in_flight[0].offering).capacity.slots
    new = sum(launch.count * launch.offering.capacity.slots for launch in decision.launches)
    assert cost_of(decision) == 0 or there + cost_of(decision) <= cap + 1e-6
    assert new == 0 or held + new <= slots
    assert decision.launch_count >= decision.desired_new or decision.unmet


@pytest.mark.parametrize("offerings", [ONE, ALL])
def test_a_month_s_money_must_last_for_an_hour_of_all_that_runs(offerings: tuple[Offering, ...]) -> None:
    view = view_of((tasks_of(4, 20),), offerings=offerings, spent_this_month=95.0)
    policy = Policy(max_instances=90, max_dollars_per_month=100.0)
    decision = decide(view, policy, NOW)
    assert 0 < cost_of(decision) <= 5.0
    assert "the pool's maximum of $100.00 per month ($95.00 of it is spent" in decision.unmet[0].reason
    over = decide(replace(view, spent_this_month=101.0), policy, NOW)
    assert not over.launches
    assert over.unmet
    # The lower of two limits is the one that is told.
    both = decide(view, replace(policy, max_dollars_per_hour=1.0), NOW)
    assert not both.launches or cost_of(both) <= 1.0
    assert "per hour" in both.unmet[0].reason


def test_a_price_that_is_not_known_is_not_spent_under_a_cap() -> None:
    free = Offering("unpriced", Resources(4))
    decision = decide(view_of((tasks_of(4),), offerings=(free,)), Policy(max_dollars_per_hour=9.0), NOW)
    assert not decision.launches
    assert "price of unpriced/on-demand is not known" in decision.unmet[0].reason
    assert decide(view_of((tasks_of(4),), offerings=(free,)), Policy(), NOW).launch_count == 1


@pytest.mark.parametrize(("offerings", "kind"), [(ONE, LARGE), (ALL, SPOT)])
def test_headroom_is_launched_and_kept(offerings: tuple[Offering, ...], kind: Offering) -> None:
    policy = Policy(max_instances=9, headroom_slots=6)
    decision = decide(view_of(offerings=offerings), policy, NOW)
    assert launched(decision) == ({LARGE.name: 2} if offerings is ONE else {SPOT.name: 2})
    assert {launch.reason for launch in decision.launches} == {"the headroom is 6 slots"}
    # What is there for it stays, however long it has been idle; what is beyond it goes.
    more, agents = fleet_of((kind, InstanceState.RUNNING, 3), idle_for=9000.0)
    idle = decide(view_of(offerings=offerings, agents=agents, **more), policy, NOW)
    assert not idle.launches
    assert [each.reason for each in idle.terminations] == [Reason.LONG_IDLE]
    # Pending tasks take of it, and it is filled up again.
    more, agents = fleet_of((kind, InstanceState.RUNNING, 2), idle_for=9000.0)
    busy = decide(view_of((tasks_of(4, 2),), offerings=offerings, agents=agents, **more), policy, NOW)
    assert not busy.terminations
    assert sum(launch.count * launch.offering.capacity.slots for launch in busy.launches) >= 6
    assert {launch.reason for launch in busy.launches} == {"the headroom is 6 slots"}


@pytest.mark.parametrize("offerings", [ONE, ALL])
def test_tasks_come_before_headroom(offerings: tuple[Offering, ...]) -> None:
    decision = decide(view_of((tasks_of(8),), offerings=offerings), Policy(max_instances=1, headroom_slots=4), NOW)
    if offerings is ALL:
        assert launched(decision) == {HUGE.name: 1}
        assert decision.launches[0].reason.startswith("pending tasks")
    assert decision.unmet
    assert decision.launch_count <= 1


@pytest.mark.parametrize("offerings", [ONE, ALL])
def test_groups_of_a_higher_priority_come_first_when_a_limit_binds(offerings: tuple[Offering, ...]) -> None:
    tasks = (tasks_of(4, 3, group="a"), tasks_of(2, 4, group="b"), tasks_of(4, 2))
    policy = Policy(max_instances=2, group_priorities=(("b", 5),), max_slots=8)
    decision = decide(view_of(tasks, offerings=offerings), policy, NOW)
    assert "b" not in {unmet.tasks.group for unmet in decision.unmet if unmet.tasks}
    assert sum(unmet.count for unmet in decision.unmet) == 5
    plain = decide(view_of(tasks, offerings=offerings), replace(policy, group_priorities=()), NOW)
    assert "b" in {unmet.tasks.group for unmet in plain.unmet if unmet.tasks}
    last = decide(view_of(tasks, offerings=offerings), replace(policy, group_priorities=(("a", -1),)), NOW)
    assert sum(u.count for u in last.unmet if u.tasks and u.tasks.group == "a") == 3


def test_a_scheduler_that_counts_has_headroom_beyond_what_it_asks_for() -> None:
    view = view_of(offerings=ONE)
    view = replace(view, info=ScalingInfo(desired_new=2))
    assert decide(view, Policy(max_instances=9, headroom_slots=3), NOW).launch_count == 3
    coming: View = replace(view, in_flight=(InFlight("t", LARGE.name, 3, NOW),))
    assert not decide(coming, Policy(max_instances=9, headroom_slots=3), NOW).launches


@pytest.mark.parametrize(
    "policy",
    [
        Policy(max_instances=2, min_instances=2),
        Policy(max_instances=2, headroom_slots=2),
        Policy(max_instances=20, headroom_slots=2, max_dollars_per_hour=9.0),
        Policy(max_instances=20, min_instances=2, max_slots=9),
    ],
)
def test_i5_idle_instances_of_the_wrong_size_make_room_for_tasks(policy: Policy) -> None:
    """They are kept for the minimum or the headroom, and a task of eight slots fits on none of them."""
    more, agents = fleet_of((SMALL, InstanceState.RUNNING, 2), idle_for=9000.0)
    quiet = decide(view_of(agents=agents, **more), policy, NOW)
    assert not quiet.terminations
    view = view_of((tasks_of(8),), agents=agents, **more)
    decision = decide(view, policy, NOW)
    assert {each.reason for each in decision.terminations} == {Reason.LONG_IDLE}
    assert not decision.launches
    assert decision.unmet
    # While they go nothing takes their place, and then what the task needs does.
    leaving = frozenset(each.id for each in decision.terminations)
    assert not decide(replace(view, draining=leaving), policy, NOW + 1).launches
    left = [instance for instance in view.fleet.instances if instance.id not in leaving]
    agents = tuple(agent for agent in agents if agent.name not in leaving)
    gone = view_of((tasks_of(8),), agents=agents, fleet=observe(view.fleet, left, agents, NOW + 2))
    assert launched(decide(gone, policy, NOW + 2))[HUGE.name] == 1


def test_a_task_that_no_money_could_pay_for_moves_nothing() -> None:
    more, agents = fleet_of((SMALL, InstanceState.RUNNING, 2), idle_for=9000.0)
    policy = Policy(max_instances=9, min_instances=2, max_dollars_per_hour=5.0)
    decision = decide(view_of((tasks_of(8),), agents=agents, **more), policy, NOW)
    assert not decision.terminations
    assert "maximum of $5.00 per hour" in decision.unmet[0].reason


@pytest.mark.parametrize("offerings", [ONE, ALL])
@pytest.mark.parametrize("dollars", [1e12, 1.7e308])
@pytest.mark.parametrize("price", [1.0, 1e-300])
def test_more_money_than_there_are_instances_for(offerings: tuple[Offering, ...], dollars: float, price: float) -> None:
    offerings = tuple(replace(each, price=price) for each in offerings)
    for limit in ("max_dollars_per_hour", "max_dollars_per_month"):
        policy = replace(Policy(max_instances=90), **{limit: dollars})  # type: ignore[arg-type]
        decision = decide(view_of((tasks_of(1, 8),), offerings=offerings), policy, NOW)
        assert decision == decide(view_of((tasks_of(1, 8),), offerings=offerings), Policy(max_instances=90), NOW)
        assert launched(decision)
