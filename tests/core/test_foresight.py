"""Foresight: what it learns, when it holds spare, and when it does not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from slotsmith.core import foresight
from slotsmith.core.demand_seen import seen
from slotsmith.core.fleet import EMPTY_FLEET, Fleet, observe
from slotsmith.core.foresight import EVIDENCE, SHARES, WAYS, Foresight
from slotsmith.core.idle_period import PERIODS, best_period
from slotsmith.core.shadows import Shadow
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.foresight import DEFAULT_TARGET, MOST_EXTRA_COST, Foreseen, Target
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass

NOW = 1_700_000_000.0
BOOT = 180.0
SIZE = 4
KIND = Offering("kind", Resources(SIZE))
POLICY = Policy(max_instances=1000, max_idle_agent_period=1200.0)
DAY = 86400.0


def joined(boot: float = BOOT) -> Fleet:
    """A fleet whose only instance took so long to join."""
    instances = [Instance("i-1", InstanceState.RUNNING, NOW - 5000 - boot, "i-1", "t", KIND.name, KIND.capacity)]
    agents = (Agent("i-1", True, KIND.capacity, Resources()),)
    fleet = observe(EMPTY_FLEET, instances, (), NOW - 5000 - boot)
    return observe(fleet, instances, agents, NOW - 5000)


FLEET = joined()


def busy(count: int, free: int = 0) -> tuple[Agent, ...]:
    """So many busy agents; the last has so many free slots."""
    used = [SIZE] * count
    if free:
        used[-1] -= free
    return tuple(Agent(f"a-{n}", False, KIND.capacity, Resources(slots)) for n, slots in enumerate(used))


def view_of(count: int, tasks: tuple[TaskClass, ...] = (), *, free: int = 0, fleet: Fleet = FLEET) -> View:
    return View(fleet, ScalingInfo(busy(count, free), tasks), KIND)


def steady_work(random: Random, days: float) -> Iterator[tuple[float, int]]:
    """When the demand changes, and how many instances it needs from then on: one for an hour, every ten minutes."""
    now, ends = NOW, [NOW + random.expovariate(1 / 3600) for _ in range(6)]
    arrives = now + random.expovariate(1 / 600)
    while now < NOW + days * DAY:
        now = min(arrives, *ends, math.inf) if ends else arrives
        if now == arrives:
            ends.append(now + random.expovariate(1 / 3600))
            arrives = now + random.expovariate(1 / 600)
        ends = [end for end in ends if end > now]
        yield now, len(ends)


def gangs(random: Random, days: float) -> Iterator[tuple[float, int]]:
    """Sixteen instances for two minutes, every half hour or so."""
    now = NOW
    while now < NOW + days * DAY:
        now += 60.0 + random.expovariate(1 / 1800)
        yield now, 16
        now += 120.0
        yield now, 0


def run(
    demand: Iterator[tuple[float, int]], policy: Policy = POLICY, target: Target = DEFAULT_TARGET
) -> tuple[Foresight, list[Foreseen]]:
    """Look at every change, and whenever a look is due; the state at the end, and what was said on the way."""
    state, told, count, last = Foresight(), [], 0, NOW
    for at, needed in demand:
        while (due := foresight.next_look(state, last)) is not None and due < at:
            state = foresight.looked(state, view_of(count), policy, target, due)
            last = due
        count, last = needed, at
        state = foresight.looked(state, view_of(count), policy, target, at)
        told.append(foresight.foreseen(state, view_of(count), policy, target))
    return state, told


@pytest.fixture(scope="module")
def learned() -> tuple[Foresight, list[Foreseen]]:
    return run(steady_work(Random(1), 4.0))


def test_it_holds_spare_where_that_saves_waiting_at_no_more_cost(learned: tuple[Foresight, list[Foreseen]]) -> None:
    state, told = learned
    assert told[-1].holds, told[-1].why
    assert any(each.headroom_slots for each in told)
    assert told[-1].idle_period == pytest.approx(max(0.05 * 1200, BOOT / 3))
    assert told[-1].wait_share is not None
    assert told[-1].wait_share < 0.8
    assert told[-1].cost_share is not None
    assert told[-1].cost_share < 1.005
    assert told[-1].used > 0
    assert told[-1].saved_seconds > 0
    assert "would lately have saved" in told[-1].why
    assert state.ways[0].waited > state.pool.waited


def test_it_only_watches_at_first(learned: tuple[Foresight, list[Foreseen]]) -> None:
    first = next(number for number, each in enumerate(learned[1]) if each.holds)
    assert all(each.headroom_slots == 0 and each.idle_period == 1200.0 for each in learned[1][:first])
    assert "8 are needed" in learned[1][first // 2].why
    state, _ = run(steady_work(Random(1), EVIDENCE / DAY / 2))
    assert state.watched < EVIDENCE
    assert state.way == 0


def test_it_withdraws_where_spare_costs_more_than_it_may() -> None:
    policy = replace(POLICY, max_idle_agent_period=60.0)
    state, told = run(gangs(Random(2), 2.0), policy)
    assert not told[-1].holds
    assert told[-1].headroom_slots == 0
    assert told[-1].idle_period == 60.0
    assert told[-1].why == "whatever saves waiting would lately have cost more than 0.1 % extra"
    assert told[-1].cost_share is not None
    assert told[-1].cost_share <= 1.01
    # What it did not do would have been dear indeed.
    assert state.ways[-1].cost > 2 * state.ways[0].cost


def test_it_withdraws_where_what_was_held_saved_no_waiting(learned: tuple[Foresight, list[Foreseen]]) -> None:
    state, _ = learned
    assert state.way
    base = state.ways[0]

    def chosen(pool: Shadow) -> Foresight:
        return foresight.looked(
            replace(state, pool=pool, choose_at=state.pool.at), view_of(3), POLICY, DEFAULT_TARGET, state.pool.at + 1.0
        )

    assert chosen(state.pool).way
    now = chosen(replace(state.pool, waited=1.9 * base.waited))
    assert not now.way
    told = foresight.foreseen(now, view_of(3), POLICY, DEFAULT_TARGET)
    assert (told.holds, told.headroom_slots) == (False, 0)
    assert told.why == "the spare that was held has lately saved no waiting"


def test_one_who_pays_for_it_gets_it_all_the_same() -> None:
    policy = replace(POLICY, max_idle_agent_period=60.0)
    _, told = run(gangs(Random(2), 1.0), policy, Target(max_extra_cost=1.0, wait_p95=60.0))
    _, dear = run(gangs(Random(2), 1.0), policy, Target(max_extra_cost=10.0, wait_p95=60.0))
    assert not told[-1].holds
    assert dear[-1].holds
    assert max(each.headroom_slots for each in dear) >= 16 * SIZE


def test_a_target_in_waiting_takes_the_cheapest_way_that_is_enough(learned: tuple[Foresight, list[Foreseen]]) -> None:
    target = Target(MOST_EXTRA_COST, wait_p95=60.0)
    state, told = run(steady_work(Random(1), 2.0), target=target)
    base = state.ways[0]
    assert base.late > 0.05 * base.rises
    assert told[-1].holds
    chosen = state.ways[state.way]
    enough = [way for way in state.ways[1:] if way.late <= 0.05 * way.rises and way.cost <= 1.1 * base.cost]
    assert not enough or chosen.cost <= min(each.cost for each in enough) * 1.02
    # Where tasks never wait so long, nothing is held.
    assert "no longer than 500 s" in run(steady_work(Random(1), 2.0), target=Target(0.1, 500.0))[1][-1].why


IDLE = Target(spare=False, idle_period=True)


def every(gap: float, days: float = 0.8) -> Iterator[tuple[float, int]]:
    """An instance for a minute, each time so many seconds after the last one was done with."""
    now = NOW
    while now < NOW + days * DAY:
        now += gap
        yield now, 1
        now += 60.0
        yield now, 0


@pytest.mark.parametrize(("gap", "period"), [(200.0, 300.0), (1000.0, 60.0), (7200.0, 60.0)])
def test_an_idle_agent_is_kept_while_that_is_worth_it(gap: float, period: float) -> None:
    """Kept, one costs the gap; given up, the boot of another, and as much again for the work that waits for it."""
    state, told = run(every(gap), target=IDLE)
    assert told[0].idle_period == 1200.0
    assert "8 are needed" in (told[2].why_so_long or "")
    assert told[-1].idle_period == period
    assert (told[-1].holds, told[-1].why, told[-1].headroom_slots) == (False, None, 0)
    assert "would lately have saved" in (told[-1].why_so_long or "")
    assert not state.ways
    # What was learned is there after a restart, and a headroom that is fixed stays.
    again = foresight.of_body(json.loads(json.dumps(foresight.to_body(state))), NOW + 2 * DAY)
    kept = foresight.foreseen(again, view_of(0), replace(POLICY, headroom_slots=3), IDLE)
    assert (kept.idle_period, kept.headroom_slots) == (period, 3)


def test_no_period_takes_the_place_of_one_that_is_as_good() -> None:
    shadows = tuple(Shadow(NOW, cost=100.0 - place / 100) for place in range(len(PERIODS)))
    assert best_period(shadows, 2) == 2
    assert best_period(shadows, None) == len(PERIODS) - 1
    assert best_period((Shadow(NOW, cost=90.0), *shadows[1:]), 2) == 0


def test_spare_and_the_idle_period_are_learned_together() -> None:
    state, told = run(steady_work(Random(1), 2.0), target=Target(0.1, 60.0, idle_period=True))
    assert told[-1].holds, told[-1].why
    assert state.period is not None
    policy = replace(POLICY, max_idle_agent_period=PERIODS[state.period])
    assert told[-1].idle_period == foresight.idle_period(policy, BOOT)


def test_the_same_input_gives_the_same_state() -> None:
    one, other = (run(steady_work(Random(5), 0.5)) for _ in range(2))
    assert one[1] == other[1]
    assert foresight.to_body(one[0]) == foresight.to_body(other[0])


def test_what_is_kept_survives_a_restart(learned: tuple[Foresight, list[Foreseen]]) -> None:
    body = json.loads(json.dumps(foresight.to_body(learned[0])))
    later = NOW + 3 * DAY
    taken_up = foresight.of_body(body, later)
    looked = foresight.looked(taken_up, view_of(6), POLICY, Target(), later)
    told = foresight.foreseen(looked, view_of(6), POLICY, Target())
    assert told.holds
    assert told.boot_time == pytest.approx(BOOT)
    assert (looked.used, looked.watched) == (learned[0].used, learned[0].watched)
    # The time in which nobody looked is nobody's cost.
    assert looked.ways[0].cost == pytest.approx(learned[0].ways[0].cost)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda body: body.pop("ways"),
        lambda body: body["ways"].pop(),
        lambda body: body.update(way=99),
        lambda body: body.update(rises=None),
        lambda body: body["rises"].update(cell=0),
        lambda body: body["rises"].update(counts=[[99, 0, 1.0]]),
        lambda body: body["ways"][0].update(strange=1),
        lambda body: body.update(boots=[1]),
    ],
)
def test_what_is_not_a_state_is_refused(spoilt: object, learned: tuple[Foresight, list[Foreseen]]) -> None:
    body = json.loads(json.dumps(foresight.to_body(learned[0])))
    spoilt(body)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"."):
        foresight.of_body(body, NOW)


def test_it_needs_less_than_a_mebibyte_however_large_the_pool() -> None:
    random, state, now = Random(3), Foresight(), NOW
    policy = replace(POLICY, max_instances=100_000)
    for _ in range(1500):
        now += random.expovariate(1 / 60)
        view = View(FLEET, ScalingInfo(desired_new=int(10 ** random.uniform(0, 5))), KIND)
        state = foresight.looked(state, view, policy, Target(), now)
    assert len(json.dumps(foresight.to_body(state))) < 200_000
    assert state.rises is not None
    assert state.rises.counts.nbytes < 100_000
    assert len(state.rises.recent) <= 17
    assert len(state.rises.peaks) <= 641
    assert all(len(shadow.idle) < 40 and len(shadow.booting) < 200 for shadow in state.ways)


def test_nothing_is_learned_before_an_instance_has_joined_or_from_silence() -> None:
    state = foresight.looked(Foresight(), view_of(3, fleet=EMPTY_FLEET), POLICY, Target(), NOW)
    assert state.rises is None
    assert foresight.next_look(state, NOW) is None
    told = foresight.foreseen(state, view_of(3, fleet=EMPTY_FLEET), POLICY, Target())
    assert (told.holds, told.headroom_slots, told.idle_period) == (False, 0, 1200.0)
    assert "no instance has joined yet" in told.why
    seeing = foresight.looked(Foresight(), view_of(3), POLICY, Target(), NOW)
    assert foresight.looked(seeing, replace(view_of(0), blind=True), POLICY, Target(), NOW + 60) is seeing


def test_another_boot_delay_is_learned_anew(learned: tuple[Foresight, list[Foreseen]]) -> None:
    slower = joined(600.0)
    state = replace(learned[0], boots={})
    state = replace(state, joined_until=-math.inf)
    changed = foresight.looked(state, view_of(2, fleet=slower), POLICY, Target(), NOW + 9 * DAY)
    assert changed.boots == {KIND.name: pytest.approx(600.0)}
    assert changed.watched == 0
    assert changed.way == 0
    assert changed.rises is not None
    assert not changed.rises.counts.any()


def test_minimum_and_maximum_are_those_of_the_pool() -> None:
    policy = replace(POLICY, min_instances=30)
    _, told = run(steady_work(Random(1), 1.0), policy)
    # Everything has its place on the minimum already.
    assert not any(each.holds for each in told)
    state, _ = run(gangs(Random(1), 1.0), replace(POLICY, max_instances=4), Target(max_extra_cost=9.0))
    assert all(shadow.there <= 16 for shadow in state.ways)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (view_of(0), (0, 0, 0)),
        (view_of(3, free=1), (11, 3, 1)),
        (view_of(2, (TaskClass(Resources(1), 3),)), (11, 3, 0)),
        (view_of(2, (TaskClass(Resources(8), 2, spans=True),)), (24, 6, 0)),
        (view_of(0, (TaskClass(Resources(4), 1, gang=5),)), (20, 5, 0)),
        # What can never start is no demand.
        (view_of(1, (TaskClass(Resources(5), 9),)), (4, 1, 0)),
        (view_of(1, (TaskClass(Resources(6), 9, spans=True),)), (4, 1, 0)),
        (view_of(1, (TaskClass(Resources(4), 1, gang=5000),)), (4, 1, 0)),
        (View(FLEET, ScalingInfo(busy(1), desired_new=2), KIND), (12, 3, 0)),
        (View(FLEET, ScalingInfo((Agent("a", False), Agent("b", True))), KIND), (4, 1, 0)),
    ],
)
def test_demand_is_what_runs_and_what_could(view: View, expected: tuple[int, int, int]) -> None:
    assert seen(view, POLICY)[:3] == expected


def test_each_way_asks_for_at_least_what_the_one_before_does(learned: tuple[Foresight, list[Foreseen]]) -> None:
    asked = [
        foresight.foreseen(replace(learned[0], way=way), view_of(5), POLICY, Target()).headroom_slots
        for way in range(1, len(WAYS) + 1)
    ]
    for each in (asked[: len(SHARES)], asked[len(SHARES) :]):
        assert each == sorted(each)
        assert each[-1] > 0
