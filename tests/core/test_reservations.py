"""Which idle agents are reserved for gangs that wait for more."""

from __future__ import annotations

from random import Random

import pytest

from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reservation
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Constraints, TaskClass

NOW = 1_000_000.0
KIND = Offering("kind", Resources(4))
POLICY = Policy(max_instances=20, max_idle_agent_period=600.0)


def view_of(tasks: tuple[TaskClass, ...], idle: int, *, busy: int = 0, starting: int = 0, capacity: int = 4) -> View:
    """`a-0` and so on are idle, and connected in that order; then come busy agents and instances that start."""
    names = [f"a-{number}" for number in range(idle + busy + starting)]
    kind = Offering("kind", Resources(capacity))
    instances = [
        Instance(name, InstanceState.RUNNING, NOW - 100 + number, name, "t", kind.name, kind.capacity)
        for number, name in enumerate(names)
    ]
    fleet = EMPTY_FLEET
    for count in range(idle + busy + 1):
        agents = tuple(
            Agent(name, number < idle, kind.capacity, Resources() if number < idle else kind.capacity)
            for number, name in enumerate(names[:count])
        )
        fleet = observe(fleet, instances, agents, NOW - 50 + count)
    return View(fleet, ScalingInfo(agents, tasks), kind)


def spanning(slots: int, example: str = "g", count: int = 1) -> TaskClass:
    return TaskClass(Resources(slots), count, spans=True, example=example)


def reserved(view: View, policy: Policy = POLICY) -> tuple[Reservation, ...]:
    return decide(view, policy, NOW).reservations


def test_what_is_there_is_reserved_while_the_rest_is_on_its_way() -> None:
    small = TaskClass(Resources(1), 1, example="small")
    assert reserved(view_of((small, spanning(16)), 3, starting=1)) == (Reservation("g", ("a-0", "a-1", "a-2")),)
    # Also in the very pass that launches the rest, and when nothing lacks.
    assert reserved(view_of((spanning(16),), 3)) == (Reservation("g", ("a-0", "a-1", "a-2")),)
    assert reserved(view_of((spanning(8),), 3)) == (Reservation("g", ("a-0", "a-1")),)


def test_nothing_is_reserved_for_what_does_not_come() -> None:
    full = Policy(max_instances=3, max_idle_agent_period=600.0)
    assert reserved(view_of((spanning(16),), 3), full) == ()
    assert reserved(view_of((spanning(16),), 0)) == ()
    blind = view_of((spanning(8),), 3)
    assert reserved(View(blind.fleet, blind.info, KIND, blind=True)) == ()


def test_gangs_come_in_their_order_and_share_nothing() -> None:
    found = reserved(view_of((spanning(12, "first"), spanning(8, "second")), 4))
    assert found == (Reservation("first", ("a-0", "a-1", "a-2")), Reservation("second", ("a-3",)))
    assert reserved(view_of((spanning(8, count=2),), 5)) == (Reservation("g", ("a-0", "a-1", "a-2", "a-3")),)


def test_members_that_fit_several_to_an_agent_take_as_few_as_they_need() -> None:
    gang = TaskClass(Resources(2), 1, gang=5, example="g")
    assert reserved(view_of((gang,), 5)) == (Reservation("g", ("a-0", "a-1", "a-2")),)
    # What one agent can take whole needs nothing held back, nor does a task that is alone.
    assert reserved(view_of((TaskClass(Resources(1), 1, gang=4, example="g"),), 5)) == ()
    assert reserved(view_of((TaskClass(Resources(4), 3, example="g"),), 2)) == ()


def test_only_agents_that_stay_and_that_it_may_run_on_are_reserved() -> None:
    elsewhere = TaskClass(Resources(8), 1, spans=True, example="g", constraints=Constraints(zones=("mars",)))
    assert reserved(view_of((elsewhere,), 3)) == ()
    assert reserved(view_of((spanning(10),), 3)) == (), "no whole number of agents"
    view = view_of((spanning(16),), 3, starting=1)
    agents = (*view.info.agents[:2], Agent("a-2", True, KIND.capacity, Resources(), draining=True))
    draining = View(view.fleet, ScalingInfo(agents, view.info.tasks), KIND)
    assert reserved(draining) == (Reservation("g", ("a-0", "a-1")),)


@pytest.mark.parametrize("seed", range(40))
def test_no_agent_is_reserved_twice_or_given_up(seed: int) -> None:
    random = Random(seed)
    tasks = tuple(
        random.choice((spanning(4 * random.randint(2, 6), f"t{n}", random.randint(1, 2)), TaskClass(Resources(1), 2)))
        for n in range(random.randint(1, 5))
    )
    policy = Policy(max_instances=random.randint(2, 12), max_idle_agent_period=random.choice((10.0, 600.0)))
    view = view_of(tasks, random.randint(0, 8), busy=random.randint(0, 2), starting=random.randint(0, 2))
    decision = decide(view, policy, NOW)
    names = [name for each in decision.reservations for name in each.agents]
    assert len(names) == len(set(names))
    idle = {agent.name for agent in view.info.agents if agent.idle}
    assert set(names) <= idle - {each.id for each in decision.terminations}


def test_what_is_reserved_is_not_given_up_for_being_idle() -> None:
    """The gang's agents have been idle for longer than the period; the rest of them starts."""
    policy = Policy(max_instances=20, max_idle_agent_period=10.0)
    decision = decide(view_of((spanning(16),), 3, starting=1), policy, NOW)
    assert decision.terminations == ()
    assert decision.reservations == (Reservation("g", ("a-0", "a-1", "a-2")),)
