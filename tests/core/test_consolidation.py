"""Consolidation: what makes way for something cheaper, within its budget, and never at the cost of a promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from core.test_several import ALL, HUGE, LARGE, NOW, SMALL, SPOT, failing, tasks_of
from slotsmith.core.consolidation import MOVE_PATIENCE, is_light, light_since
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.view import NO_MOVES, Moves, OnOffer, View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Consolidation, Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass

RULES = Consolidation()
POLICY = Policy(min_instances=1, max_instances=10, consolidation=RULES)
BUSY = frozenset({Reason.CONSOLIDATED})


@dataclass
class Fleet:
    """Instances with agents, each idle or lightly used for a day; and what a view of them is."""

    instances: list[Instance] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)

    def add(self, name: str, kind: Offering, used: int = 0, *, movable: bool = True, token: str = "t") -> Fleet:
        self.instances.append(
            Instance(name, InstanceState.RUNNING, NOW - 90_000, name, token, kind.name, kind.capacity)
        )
        self.agents.append(Agent(name, not used, kind.capacity, Resources(used), movable=movable))
        return self

    def view(
        self,
        tasks: tuple[TaskClass, ...] = (),
        *,
        offerings: tuple[Offering, ...] = ALL,
        failures: Mapping[str, LaunchFailures] | None = None,
        moves: Moves = NO_MOVES,
        since: float = NOW - 86_400,
        **more: object,
    ) -> View:
        before = observe(EMPTY_FLEET, self.instances, self.agents, since)
        first, *others = [OnOffer(each, (failures or {}).get(each.name, LaunchFailures())) for each in offerings]
        return View(
            observe(before, self.instances, self.agents, NOW),
            ScalingInfo(tuple(self.agents), tasks),
            first.offering,
            launch_failures=first.failures,
            others=tuple(others),
            moves=replace(moves, light_since=light_since(tuple(self.agents), {}, since)),
            **more,  # type: ignore[arg-type]
        )


def gone(decision: Decision) -> dict[str, Reason]:
    return {each.id: each.reason for each in decision.terminations}


def replaced(decision: Decision) -> dict[str, str]:
    """The offering that takes the place of each instance."""
    return {i: launch.offering.name for launch in decision.launches for i in launch.replaces}


def told(decision: Decision) -> dict[str, str]:
    return {each.id: each.held for each in decision.proposals}


def test_without_it_nothing_makes_way() -> None:
    view = Fleet().add("a", HUGE).add("b", HUGE, 1).view()
    decision = decide(view, replace(POLICY, min_instances=2, consolidation=None), NOW)
    assert (decision.launches, decision.terminations, decision.proposals) == ((), (), ())


def test_an_idle_instance_that_the_minimum_keeps_is_replaced_by_the_cheapest() -> None:
    decision = decide(Fleet().add("a", HUGE).view(), POLICY, NOW)
    assert replaced(decision) == {"a": SMALL.name}
    assert gone(decision) == {}
    (proposal,) = decision.proposals
    assert proposal.saves == pytest.approx(7.0)
    assert proposal.costs == pytest.approx(1.0 * 1200 / 3600)
    assert decision.launches[0].reason == "takes the place of a (huge/zone-b/on-demand), which saves $7.00 per hour"


def test_an_idle_instance_that_nothing_keeps_goes_without_a_replacement() -> None:
    decision = decide(Fleet().add("a", HUGE).view(), replace(POLICY, min_instances=0), NOW)
    assert gone(decision) == {"a": Reason.LONG_IDLE}
    assert decision.launches == ()


def test_a_lightly_used_instance_goes_when_its_work_fits_on_another() -> None:
    decision = decide(Fleet().add("a", HUGE, 1).add("b", LARGE, 3).view(), POLICY, NOW)
    assert gone(decision) == {"a": Reason.CONSOLIDATED}
    assert decision.launches == ()
    assert decision.proposals[0].what == "its work fits on b"


def test_work_that_may_not_be_moved_stays() -> None:
    view = Fleet().add("a", HUGE, 1, movable=False).add("b", LARGE, 3).view()
    assert decide(view, POLICY, NOW).proposals == ()


def test_more_than_half_used_is_not_lightly_used() -> None:
    assert is_light(Agent("a", False, Resources(8), Resources(4), movable=True))
    assert not is_light(Agent("a", False, Resources(8), Resources(5), movable=True))
    assert not is_light(Agent("a", False, Resources(8, 4.0), Resources(1, 3.0), movable=True))
    assert not is_light(Agent("a", False, Resources(8), None, movable=True))
    since = light_since((Agent("a", False, Resources(8), Resources(1), movable=True),), {"a": 5.0, "b": 6.0}, 9.0)
    assert since == {"a": 5.0}


def test_a_lightly_used_instance_is_replaced_when_nothing_has_room() -> None:
    fleet = Fleet().add("a", HUGE, 2)
    decision = decide(fleet.view(), replace(POLICY, min_instances=0), NOW)
    assert replaced(decision) == {"a": SPOT.name}, "a small one has not the two slots"
    # While the new one starts nothing else happens.
    moves = Moves(replacing={"new": ("a",)})
    new = Instance("n", InstanceState.PENDING_REQUEST, NOW - 10, "n", "new", SPOT.name, SPOT.capacity)
    fleet.instances.append(new)
    waiting = decide(fleet.view(moves=moves), replace(POLICY, min_instances=0), NOW)
    assert (waiting.launches, waiting.terminations) == ((), ())
    # When it is at work, the old one is drained, and the new one is not idle for nothing.
    fleet.instances[-1] = new._replace(state=InstanceState.RUNNING)
    fleet.agents.append(Agent("n", True, SPOT.capacity, Resources(), movable=True))
    then = decide(fleet.view(moves=moves), replace(POLICY, min_instances=0), NOW)
    assert gone(then) == {"a": Reason.CONSOLIDATED}
    # And it is kept for as long as the work is on its way.
    moved = decide(
        fleet.view(moves=replace(moves, ending=frozenset("a")), draining=frozenset("a")),
        replace(POLICY, min_instances=0),
        NOW,
    )
    assert (moved.launches, moved.terminations) == ((), ())


def test_of_idle_ones_the_replaced_one_goes_and_not_the_longest_idle() -> None:
    fleet = Fleet().add("a", SMALL).add("b", HUGE).add("n", SMALL, token="new")
    decision = decide(fleet.view(moves=Moves(replacing={"new": ("b",)})), replace(POLICY, min_instances=2), NOW)
    assert gone(decision) == {"b": Reason.REPLACED}


def test_a_replacement_is_not_kept_beside_an_idle_one_that_goes() -> None:
    fleet = Fleet().add("a", HUGE).add("n", SMALL, token="new")
    moves = Moves(replacing={"new": ("a",)}, ending=frozenset("a"))
    view = fleet.view(moves=moves, draining=frozenset("a"))
    assert gone(decide(view, replace(POLICY, min_instances=0), NOW)) == {"n": Reason.LONG_IDLE}
    assert gone(decide(view, POLICY, NOW)) == {}


def test_a_replacement_whose_old_one_stays_is_an_instance_like_any_other() -> None:
    fleet = Fleet().add("a", HUGE).add("n", SMALL, token="new")
    moves = Moves(replacing={"new": ("a",)}, settled=frozenset("a"))
    assert gone(decide(fleet.view(moves=moves), POLICY, NOW)) == {"a": Reason.LONG_IDLE}


@pytest.mark.parametrize(
    ("rules", "held"),
    [
        (Consolidation(dry_run=True), "moves are only told of (dry_run)"),
        (Consolidation(begins=False), "it is not the time for moves"),
        (Consolidation(max_share=0.4), "0 under way, and 0 may be at a time"),
    ],
)
def test_a_proposal_that_is_not_begun_is_told_with_the_reason(rules: Consolidation, held: str) -> None:
    view = Fleet().add("a", HUGE, 1).add("b", LARGE, 3).view()
    decision = decide(view, replace(POLICY, consolidation=rules), NOW)
    assert (decision.launches, decision.terminations) == ((), ())
    assert told(decision) == {"a": held}


def test_the_budget_counts_what_is_under_way() -> None:
    fleet = Fleet().add("a", HUGE, 1).add("b", HUGE, 1).add("c", HUGE, 1).add("d", LARGE, 1)
    assert set(gone(decide(fleet.view(), POLICY, NOW))) == {"a"}
    two = replace(POLICY, consolidation=Consolidation(max_at_once=2))
    assert set(gone(decide(fleet.view(), two, NOW))) == {"a", "b"}
    under_way = fleet.view(moves=Moves(ending=frozenset("c")), draining=frozenset("c"))
    assert set(gone(decide(under_way, two, NOW))) == {"a"}
    assert set(gone(decide(under_way, POLICY, NOW))) == set()
    by_share = replace(POLICY, consolidation=Consolidation(max_at_once=9, max_share=0.5))
    assert set(gone(decide(fleet.view(), by_share, NOW))) == {"a", "b"}


def test_a_move_must_save_more_than_it_costs() -> None:
    near = replace(SMALL, instance_type="near", price=0.97)
    view = Fleet().add("a", SMALL).view(offerings=(SMALL, near))
    # It saves 24 cents in 8 hours, and starting costs up to 32.
    assert decide(view, POLICY, NOW).proposals == ()
    longer = replace(POLICY, consolidation=Consolidation(horizon=24 * 3600.0))
    assert replaced(decide(view, longer, NOW)) == {"a": near.name}
    work = Fleet().add("a", SMALL, 1).add("b", LARGE, 3)
    costs = SMALL.price * MOVE_PATIENCE / 3600 if SMALL.price else 0.0
    work.agents[0] = work.agents[0]._replace(capacity=Resources(2))
    for move_cost, moved in ((7.0, True), (8.0 - costs, False)):
        rules = Consolidation(move_cost=move_cost)
        decision = decide(work.view(), replace(POLICY, consolidation=rules), NOW)
        assert (gone(decision) == {"a": Reason.CONSOLIDATED}) is moved


@pytest.mark.parametrize(
    "more",
    [
        {"kept": frozenset("a")},
        {"moves": Moves(settled=frozenset("a"))},
        {"strays": frozenset("a")},
        {"blind": True},
        {"tasks": (tasks_of(1),)},
        {"since": NOW - 1000},
    ],
)
def test_what_is_kept_back_does_not_make_way(more: dict[str, object]) -> None:
    view = Fleet().add("a", HUGE, 1).add("b", LARGE, 3).view(**more)  # type: ignore[arg-type]
    assert not {i for i, reason in gone(decide(view, POLICY, NOW)).items() if reason.is_move}
    assert not replaced(decide(view, POLICY, NOW))


def test_tasks_that_nothing_can_serve_hold_no_move_up() -> None:
    view = Fleet().add("a", HUGE, 1).add("b", LARGE, 3).view((tasks_of(9),))
    assert gone(decide(view, POLICY, NOW)) == {"a": Reason.CONSOLIDATED}


def test_the_minimum_and_the_headroom_stay() -> None:
    fleet = Fleet().add("a", HUGE, 1).add("b", LARGE, 3)
    assert gone(decide(fleet.view(), replace(POLICY, min_instances=2), NOW)) == {}
    # A cheaper one can stand for it in the minimum, but not in the headroom.
    assert replaced(decide(fleet.view(), replace(POLICY, min_instances=2), NOW)) == {"a": SMALL.name}
    decision = decide(fleet.view(), replace(POLICY, headroom_slots=8), NOW)
    assert (replaced(decision), gone(decision)) == ({}, {})


def test_a_replacement_needs_room_in_the_pool() -> None:
    decision = decide(Fleet().add("a", HUGE).view(), replace(POLICY, max_instances=1), NOW)
    assert decision.launches == ()
    assert told(decision) == {"a": "the pool is at its maximum of 1 instances"}
    capped = decide(Fleet().add("a", HUGE).view(), replace(POLICY, max_dollars_per_hour=8.5), NOW)
    assert capped.launches == ()
    assert "maximum of $8.50 per hour" in told(capped)["a"]


def test_what_failed_lately_replaces_nothing() -> None:
    view = Fleet().add("a", HUGE).view(failures={SMALL.name: failing(NOW + 60)})
    assert replaced(decide(view, POLICY, NOW)) == {"a": SPOT.name}


def test_nothing_is_replaced_while_instances_end_without_joining() -> None:
    view = Fleet().add("a", HUGE).view()
    braked = replace(view, join_failures=JoinFailures(failures=3, retry_at=NOW - 1, last_id="x"))
    assert replaced(decide(view, POLICY, NOW)) == {"a": SMALL.name}
    assert decide(braked, POLICY, NOW).launches == ()
    assert told(decide(braked, POLICY, NOW)) == {"a": "the last instances ended without joining"}


def test_it_wakes_when_the_next_agent_has_been_lightly_used_for_long_enough() -> None:
    view = Fleet().add("a", HUGE, 1).add("b", LARGE, 3).view(since=NOW - 1000)
    assert decide(view, POLICY, NOW).next_deadline == NOW + 200


# Properties


def _random_fleet(random: Random) -> Fleet:
    fleet = Fleet()
    for number in range(random.randint(1, 7)):
        kind = random.choice(ALL)
        used = random.choice((0, 0, random.randint(0, kind.capacity.slots)))
        fleet.add(f"i{number}", kind, used, movable=random.random() < 0.7)
    return fleet


def _random_policy(random: Random, count: int) -> Policy:
    rules = Consolidation(
        max_at_once=random.randint(1, 4),
        max_share=random.choice((1.0, 0.5, 0.2)),
        horizon=random.choice((600.0, 3600.0, 8 * 3600.0)),
        move_cost=random.choice((0.0, 0.5)),
    )
    return Policy(
        min_instances=random.choice((0, 1, count)),
        max_instances=count + random.choice((0, 1, 5)),
        headroom_slots=random.choice((0, 0, 3, 8)),
        max_dollars_per_hour=random.choice((None, None, 30.0)),
        consolidation=rules,
    )


def _fits(works: list[Resources], rooms: dict[str, Resources]) -> bool:
    """Whether each piece of work has a place, by trying everything."""
    if not works:
        return True
    first, *others = works
    return any(_fits(others, {**rooms, name: room - first}) for name, room in rooms.items() if first.fits_in(room))


def _check(fleet: Fleet, policy: Policy, decision: Decision) -> None:
    rules, kinds = policy.consolidation, {each.name: each for each in ALL}
    assert rules is not None
    agents = {agent.name: agent for agent in fleet.agents}
    prices = {i.id: kinds[i.offering].price or 0.0 for i in fleet.instances}
    moved = {i: reason for i, reason in gone(decision).items() if reason.is_move}
    begun = {i for launch in decision.launches for i in launch.replaces}
    assert len(moved) + len(begun) <= min(rules.max_at_once, int(rules.max_share * len(agents)))
    assert not moved.keys() & begun
    for name, reason in moved.items():
        assert agents[name].idle is (reason is Reason.REPLACED)
    for name in {*moved, *begun}:
        assert agents[name].idle or is_light(agents[name])
    staying = {name: agent for name, agent in agents.items() if name not in gone(decision)}
    assert len(staying) >= policy.min_instances or not gone(decision)
    rooms = {name: (agent.capacity or Resources()) - (agent.used or Resources()) for name, agent in staying.items()}
    assert _fits([agents[i].used or Resources() for i in moved if not agents[i].idle], rooms)
    if moved and policy.headroom_slots:
        taken = sum((agents[i].used or Resources()).slots for i in moved)
        assert sum(room.slots for room in rooms.values()) - taken >= policy.headroom_slots
    for launch in decision.launches:
        for name in launch.replaces:
            saves = prices[name] - (launch.offering.price or 0.0)
            starting = (launch.offering.price or 0.0) * policy.max_agent_starting_period / 3600
            moving = 0.0 if agents[name].idle else rules.move_cost + prices[name] * MOVE_PATIENCE / 3600
            assert saves * rules.horizon / 3600 > starting + moving
            assert (agents[name].used or Resources()).fits_in(launch.offering.capacity)
    assert len(agents) + decision.launch_count <= policy.max_instances or not decision.launches
    if policy.max_dollars_per_hour is not None and begun:
        cost = sum(prices.values()) + sum((each.offering.price or 0) * each.count for each in decision.launches)
        assert cost <= policy.max_dollars_per_hour + 1e-6


def test_moves_keep_minimum_headroom_budget_limits_and_every_piece_of_work() -> None:
    some = 0
    for seed in range(200):
        random = Random(seed)
        fleet = _random_fleet(random)
        policy = _random_policy(random, len(fleet.agents))
        decision = decide(fleet.view(), policy, NOW)
        _check(fleet, policy, decision)
        some += bool(decision.proposals)
        # Told and done are two things: a dry run does what a pool without consolidation does.
        assert policy.consolidation is not None
        dry = decide(fleet.view(), replace(policy, consolidation=replace(policy.consolidation, dry_run=True)), NOW)
        plain = decide(fleet.view(), replace(policy, consolidation=None), NOW)
        assert (dry.launches, dry.terminations, dry.unmet) == (plain.launches, plain.terminations, plain.unmet)
        assert {each.id for each in decision.proposals if not each.held} <= {each.id for each in dry.proposals}
        # The order of what comes in changes nothing.
        random.shuffle(fleet.instances)
        random.shuffle(fleet.agents)
        others = tuple(random.sample(ALL[1:], len(ALL) - 1))
        again = decide(fleet.view(offerings=(ALL[0], *others)), policy, NOW)
        assert (again.launches, set(again.terminations), again.proposals) == (
            decision.launches,
            set(decision.terminations),
            decision.proposals,
        )
    assert some > 30


def _step(fleet: Fleet, decision: Decision, ids: list[int]) -> dict[str, tuple[str, ...]]:
    """What the world makes of a decision: the launched join, drained work goes where it fits, and what it left ends."""
    replacing = {}
    # What is idle goes at once, or it would be given work.
    for each in sorted(decision.terminations, key=lambda each: each.reason is Reason.CONSOLIDATED):
        old = next(agent for agent in fleet.agents if agent.name == each.id)
        fleet.agents.remove(old)
        fleet.instances = [i for i in fleet.instances if i.id != each.id]
        if old.idle:
            continue
        assert each.reason is Reason.CONSOLIDATED
        free = [a for a in fleet.agents if old.used and old.used.fits_in(_free(a))]
        assert free, f"the work of {each.id} has no place"
        target = min(free, key=lambda agent: (_free(agent).slots, agent.name))
        at = fleet.agents.index(target)
        fleet.agents[at] = target._replace(idle=False, used=(target.used or Resources()) + (old.used or Resources()))
    for launch in decision.launches:
        for _ in range(launch.count):
            ids[0] += 1
            fleet.add(f"n{ids[0]}", launch.offering, token=f"t{ids[0]}")
            replacing[f"t{ids[0]}"] = launch.replaces
    return replacing


def _free(agent: Agent) -> Resources:
    return (agent.capacity or Resources()) - (agent.used or Resources())


def test_moves_come_to_an_end_and_each_makes_the_fleet_cheaper() -> None:
    kinds = {each.name: each for each in ALL}
    saved = 0
    for seed in range(80):
        random = Random(f"course {seed}")
        fleet = _random_fleet(random)
        policy = replace(_random_policy(random, len(fleet.agents)), max_dollars_per_hour=None)
        work = sum((agent.used or Resources()).slots for agent in fleet.agents)
        ids, replacing = [0], dict[str, tuple[str, ...]]()
        costs = [sum(kinds[i.offering].price or 0 for i in fleet.instances)]
        for _ in range(60):
            decision = decide(fleet.view(moves=Moves(replacing=replacing)), policy, NOW)
            if not decision.launches and not decision.terminations:
                break
            replacing |= _step(fleet, decision, ids)
            assert sum((agent.used or Resources()).slots for agent in fleet.agents) == work
            costs.append(sum(kinds[i.offering].price or 0 for i in fleet.instances))
        else:
            raise AssertionError(f"seed {seed}: it does not come to rest: {costs}")
        if policy.headroom_slots == 0 and policy.min_instances <= len(fleet.agents):
            assert costs[-1] <= costs[0] + 1e-9
        saved += costs[-1] < costs[0]
    assert saved > 25


def test_a_pool_with_one_offering_moves_work_together_and_launches_nothing() -> None:
    fleet = Fleet().add("a", LARGE, 1).add("b", LARGE, 1).add("c", LARGE, 1)
    policy = replace(POLICY, min_instances=0, consolidation=Consolidation(max_at_once=5))
    decision = decide(fleet.view(offerings=(LARGE,)), policy, NOW)
    assert gone(decision) == {"a": Reason.CONSOLIDATED, "c": Reason.CONSOLIDATED}
    assert decision.launches == ()
