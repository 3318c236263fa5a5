"""Pools with several offerings: the cheapest that holds the tasks, within limits, without what fails, and steadily."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.view import OnOffer, View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import ErrorKind, JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Constraints, Group, TaskClass

NOW = 1_000_000.0
SMALL = Offering("small", Resources(1, 4, 16), price=1.0)
LARGE = Offering("large", Resources(4, 16, 64), price=3.0)
SPOT = Offering("large", Resources(4, 16, 64), market="spot", price=1.2)
HUGE = Offering("huge", Resources(8, 32, 128), "zone-b", price=8.0)
ALL = (LARGE, SMALL, SPOT, HUGE)
MANY = Policy(max_instances=50)


def view_of(
    tasks: tuple[TaskClass, ...] = (),
    *,
    offerings: tuple[Offering, ...] = ALL,
    fleet: Fleet = EMPTY_FLEET,
    failing: dict[str, LaunchFailures] | None = None,
    groups: tuple[Group, ...] = (),
    agents: tuple[Agent, ...] = (),
    **more: object,
) -> View:
    failing = failing or {}
    first, *others = [OnOffer(each, failing.get(each.name, LaunchFailures())) for each in offerings]
    info = ScalingInfo(agents, tasks, groups)
    return View(
        fleet,
        info,
        first.offering,
        launch_failures=first.failures,
        others=tuple(others),
        **more,  # type: ignore[arg-type]
    )


def tasks_of(slots: int, count: int = 1, **more: object) -> TaskClass:
    return TaskClass(Resources(slots), count, **more)  # type: ignore[arg-type]


def launched(decision: Decision) -> dict[str, int]:
    return {launch.offering.name: launch.count for launch in decision.launches}


def failing(until: float, message: str = "no capacity") -> LaunchFailures:
    return LaunchFailures(1, ErrorKind.CAPACITY, message, NOW - 1, until)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ((tasks_of(4),), {SPOT.name: 1}),
        ((tasks_of(1),), {SMALL.name: 1}),
        ((tasks_of(1, 2),), {SPOT.name: 1}),
        ((tasks_of(8),), {HUGE.name: 1}),
        ((tasks_of(4, constraints=Constraints(markets=("on-demand",))),), {LARGE.name: 1}),
        ((tasks_of(1, constraints=Constraints(zones=("zone-b",))),), {HUGE.name: 1}),
        ((tasks_of(4, gang=3),), {SPOT.name: 3}),
        ((tasks_of(16, spans=True),), {SPOT.name: 4}),
        ((tasks_of(4, 2, group="g"), tasks_of(1)), {SPOT.name: 1, SMALL.name: 1}),
    ],
)
def test_the_cheapest_that_holds_the_tasks_is_launched(tasks: tuple[TaskClass, ...], expected: dict[str, int]) -> None:
    groups = (Group("g", max_slots=4),)
    decision = decide(view_of(tasks, groups=groups), MANY, NOW)
    assert launched(decision) == expected
    assert [unmet.count for unmet in decision.unmet] == ([1] if any(kind.group for kind in tasks) else [])


def test_what_nothing_can_hold_is_told() -> None:
    decision = decide(view_of((tasks_of(9), tasks_of(4, gang=99))), Policy(max_instances=5), NOW)
    assert not decision.launches
    assert sorted(unmet.reason for unmet in decision.unmet) == [
        "99 members must start together; the pool's maximum of 5 instances holds 10",
        "asks for 9 slots; the largest offering of this pool has 8 slots",
    ]


def test_an_offering_in_back_off_is_left_out_and_that_is_said() -> None:
    view = view_of((tasks_of(4, 2), tasks_of(8)), failing={SPOT.name: failing(NOW + 30), HUGE.name: failing(NOW + 60)})
    decision = decide(view, MANY, NOW)
    assert launched(decision) == {LARGE.name: 2}
    assert [(unmet.count, str(unmet.tasks)) for unmet in decision.unmet] == [(1, "1 task of 8 slots")]
    assert "huge/zone-b/on-demand: the last launch of it failed, the next is tried at" in decision.unmet[0].reason
    assert decision.unmet[0].reason.endswith("UTC: no capacity")
    assert "without huge/zone-b/on-demand and large/spot, whose last launch failed" in decision.launches[0].reason
    assert decision.next_deadline == NOW + 30
    # When the pause is over, it is asked again.
    assert launched(decide(view, MANY, NOW + 61)) == {SPOT.name: 2, HUGE.name: 1}


def test_the_minimum_is_made_of_the_cheapest() -> None:
    policy = Policy(min_instances=3, max_instances=5)
    assert launched(decide(view_of(), policy, NOW)) == {SMALL.name: 3}
    decision = decide(view_of(failing={SMALL.name: failing(NOW + 30)}), policy, NOW)
    assert launched(decision) == {SPOT.name: 3}
    assert decision.launches[0].reason == "the minimum is 3"
    # What tasks need counts for it, and the rest is added.
    assert launched(decide(view_of((tasks_of(8),)), policy, NOW)) == {HUGE.name: 1, SMALL.name: 2}


def test_a_scheduler_that_counts_gets_the_cheapest_that_is_at_least_the_first() -> None:
    view = view_of()
    view = replace(view, info=ScalingInfo(desired_new=2))
    assert launched(decide(view, MANY, NOW)) == {SPOT.name: 2}
    view = replace(view, others=tuple(replace(each, failures=failing(NOW + 9)) for each in view.others))
    assert launched(decide(view, MANY, NOW)) == {LARGE.name: 2}
    view = replace(view, launch_failures=failing(NOW + 9))
    decision = decide(view, MANY, NOW)
    assert not decision.launches
    assert len(decision.unmet) == 1
    assert "large/on-demand: the last launch of it failed" in decision.unmet[0].reason


def test_i1_no_more_than_there_is_room_for() -> None:
    decision = decide(view_of((tasks_of(4, 9),)), Policy(max_instances=3), NOW)
    assert launched(decision) == {HUGE.name: 3}
    assert [(unmet.count, unmet.reason) for unmet in decision.unmet] == [(3, "over the pool's maximum of 3 instances")]
    full = view_of((tasks_of(4),), in_flight=(InFlight("t", SMALL.name, 3, NOW),))
    decision = decide(full, Policy(max_instances=3), NOW)
    assert not decision.launches
    assert [unmet.reason for unmet in decision.unmet] == ["the pool is at its maximum of 3 instances"]


def test_the_brake_tries_one() -> None:
    view = view_of((tasks_of(4, gang=3),), join_failures=JoinFailures(3, NOW - 1, "i-3"))
    decision = decide(view, MANY, NOW)
    assert decision.launch_count == 1
    assert (
        decision.unmet[0].reason == "3 instances in a row ended without joining (the last was i-3); one is being tried"
    )
    paused = decide(replace(view, join_failures=JoinFailures(3, NOW + 9, "i-3")), MANY, NOW)
    assert paused.launch_count == 0
    assert paused.unmet


def test_while_the_scheduler_cannot_be_heard_only_the_minimum_is_launched() -> None:
    policy = Policy(min_instances=1, max_instances=5)
    decision = decide(view_of((tasks_of(4, 3),), blind=True), policy, NOW)
    assert launched(decision) == {SMALL.name: 1}
    assert all("cannot be heard" in unmet.reason for unmet in decision.unmet)
    assert sum(unmet.count for unmet in decision.unmet) == 3


def instances_of(decision: Decision, state: InstanceState, at: float = NOW) -> list[Instance]:
    return [
        Instance(
            f"{launch.offering.name}-{n}",
            state,
            at,
            f"{launch.offering.name}-{n}",
            f"token-{launch.offering.name}",
            launch.offering.name,
            launch.offering.capacity,
        )
        for launch in decision.launches
        for n in range(launch.count)
    ]


def promised(decision: Decision) -> dict[str, object]:
    return {f"token-{launch.offering.name}": launch.promises for launch in decision.launches}


PAIRS = (Offering("six", Resources(6), price=5.0), Offering("four", Resources(4), price=3.4))
PUZZLE = (tasks_of(3, 2), tasks_of(2, 2))


@pytest.mark.parametrize("state", ["in flight", "pending-request", "starting", "joined"])
def test_what_is_on_its_way_is_not_launched_again_however_it_was_put_together(state: str) -> None:
    """3 + 3 and 2 + 2 fill a six and a four; put together in another way they do not."""
    view = view_of(PUZZLE, offerings=PAIRS)
    first = decide(view, MANY, NOW)
    assert launched(first) == {"six/on-demand": 1, "four/on-demand": 1}
    more: dict[str, object] = {"promised": promised(first)}
    agents: tuple[Agent, ...] = ()
    if state == "in flight":
        more["in_flight"] = tuple(
            InFlight(f"token-{launch.offering.name}", launch.offering.name, launch.count, NOW)
            for launch in first.launches
        )
    else:
        listed = InstanceState("running" if state == "joined" else state)
        instances = instances_of(first, listed)
        agents = tuple(Agent(i.id, True, i.capacity, Resources()) for i in instances) if state == "joined" else ()
        more["fleet"] = observe(EMPTY_FLEET, instances, agents, NOW + 1)
    again = decide(view_of(PUZZLE, offerings=PAIRS, agents=agents, **more), MANY, NOW + 1)  # type: ignore[arg-type]
    assert not again.launches
    assert not again.terminations
    assert not again.unmet
    # One task more is one instance more, and not another arrangement.
    extra = decide(
        view_of((*PUZZLE, tasks_of(1)), offerings=PAIRS, agents=agents, **more),
        MANY,
        NOW + 1,  # type: ignore[arg-type]
    )
    assert launched(extra) == {"four/on-demand": 1}


def test_requests_that_tasks_can_use_stay_and_others_are_cancelled() -> None:
    first = decide(view_of(PUZZLE, offerings=PAIRS), MANY, NOW)
    fleet = observe(EMPTY_FLEET, instances_of(first, InstanceState.PENDING_REQUEST), (), NOW)
    view = view_of((tasks_of(2, 1),), offerings=PAIRS, fleet=fleet, promised=promised(first))
    decision = decide(view, MANY, NOW + 1)
    assert not decision.launches
    assert [(each.id, each.reason) for each in decision.terminations] == [("six/on-demand-0", Reason.NOT_NEEDED)]
    # Without a word of what it was for, what could hold the task is kept all the same.
    decision = decide(replace(view, promised={}), MANY, NOW + 1)
    assert not decision.launches
    assert len(decision.terminations) == 1


def test_a_gang_waits_for_all_that_was_launched_for_it() -> None:
    gang = (tasks_of(3, gang=4),)
    first = decide(view_of(gang, offerings=PAIRS), MANY, NOW)
    assert launched(first) == {"six/on-demand": 2}
    in_flight = (InFlight("token-six/on-demand", "six/on-demand", 2, NOW),)
    again = decide(view_of(gang, offerings=PAIRS, in_flight=in_flight, promised=promised(first)), MANY, NOW)
    assert not again.launches
    half = decide(
        view_of(gang, offerings=PAIRS, in_flight=(replace(in_flight[0], count=1),), promised=promised(first)), MANY, NOW
    )
    assert half.launch_count == 1


@pytest.mark.parametrize("order", [ALL, ALL[::-1], (HUGE, SPOT, LARGE, SMALL)])
def test_i9_the_order_of_offerings_and_tasks_changes_nothing(order: tuple[Offering, ...]) -> None:
    tasks = (tasks_of(3, 5), tasks_of(1, 7), tasks_of(8, 2), tasks_of(2, 4, gang=2))
    expected = decide(view_of(tasks), MANY, NOW)
    assert decide(view_of(tasks[::-1], offerings=order), MANY, NOW).launches == expected.launches


def test_idle_agents_are_used_first_by_what_they_are() -> None:
    instance = Instance("i-1", InstanceState.RUNNING, NOW - 99, "i-1", "t", HUGE.name, HUGE.capacity)
    agents = (Agent("i-1", True, HUGE.capacity, Resources()),)
    fleet = observe(EMPTY_FLEET, [instance], agents, NOW)
    here = tasks_of(8, constraints=Constraints(zones=("zone-b",)))
    assert not decide(view_of((here,), fleet=fleet, agents=agents), MANY, NOW).launches
    elsewhere = tasks_of(4, constraints=Constraints(instance_types=("large",)))
    assert launched(decide(view_of((elsewhere,), fleet=fleet, agents=agents), MANY, NOW)) == {SPOT.name: 1}


def short_of(*offerings: Offering, until: float = NOW + 60) -> dict[str, Shortage]:
    return {each.name: Shortage(until, "no capacity in another pool's launch") for each in offerings}


def test_what_there_was_no_room_for_lately_is_launched_last_and_told() -> None:
    decision = decide(view_of((tasks_of(4),), shortages=short_of(SPOT)), MANY, NOW)
    assert launched(decision) == {LARGE.name: 1}
    assert decision.launches[0].reason.endswith(f"without {SPOT.name}, which there was no room for lately")
    assert decision.unmet == ()
    assert decision.next_deadline == NOW + 60
    # It is over, and nothing else has changed.
    assert launched(decide(view_of((tasks_of(4),), shortages=short_of(SPOT)), MANY, NOW + 60)) == {SPOT.name: 1}


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        # No other one will do: for what the task wants, for its size, or for the money.
        (tasks_of(4, constraints=Constraints(markets=("spot",))), MANY),
        (tasks_of(4), replace(MANY, max_dollars_per_hour=2.0)),
    ],
)
def test_what_there_was_no_room_for_is_tried_where_nothing_else_will_do(task: TaskClass, policy: Policy) -> None:
    decision = decide(view_of((task,), shortages=short_of(SPOT)), policy, NOW)
    assert launched(decision) == {SPOT.name: 1}
    assert decision.unmet == ()


def test_when_there_was_no_room_anywhere_the_cheapest_is_tried() -> None:
    assert launched(decide(view_of((tasks_of(4),), shortages=short_of(*ALL)), MANY, NOW)) == {SPOT.name: 1}
    # A launch of the pool's own that failed is another matter: that offering rests.
    view = view_of((tasks_of(4),), shortages=short_of(*ALL), failing={SPOT.name: failing(NOW + 30)})
    assert launched(decide(view, MANY, NOW)) == {LARGE.name: 1}


def test_the_minimum_and_the_headroom_go_round_a_shortage_too() -> None:
    view = view_of(shortages=short_of(SMALL))
    assert launched(decide(view, replace(MANY, min_instances=2), NOW)) == {SPOT.name: 2}
    assert launched(decide(view, replace(MANY, headroom_slots=1), NOW)) == {SPOT.name: 1}
    everything = view_of(shortages=short_of(*ALL))
    assert launched(decide(everything, replace(MANY, min_instances=2), NOW)) == {SMALL.name: 2}
    assert launched(decide(everything, replace(MANY, headroom_slots=1), NOW)) == {SMALL.name: 1}
