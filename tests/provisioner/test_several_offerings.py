"""A pool with several offerings, from decision to launch: fail-over, what is remembered, what is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from provisioner.world import FakeProvider, World
from slotsmith.core.recording import fold
from slotsmith.model.agent import Agent
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.base import LaunchRequest, Market, ProviderError
from slotsmith.reports.report import PoolReport, troubles

SIX = Offering("six", Resources(6), price=5.0)
FOUR = Offering("four", Resources(4), price=3.4)
PUZZLE = (TaskClass(Resources(3), 2), TaskClass(Resources(2), 2))


class SeveralProvider(FakeProvider):
    """Offers two kinds; those in `scarce` cannot be had."""

    scarce: frozenset[str] = frozenset()
    on_offer: tuple[Offering, ...] = (SIX, FOUR)

    def offerings(self) -> Sequence[Offering]:
        return self.on_offer

    async def launch(self, request: LaunchRequest):  # type: ignore[no-untyped-def]
        if request.offering.name in self.scarce:
            self.calls.append(("launch", request))
            raise ProviderError(ErrorKind.CAPACITY, f"no {request.offering.name}")
        answer = await super().launch(request)
        for name in answer.instance_ids:
            self.instances[name] = self.instances[name]._replace(
                offering=request.offering.name, capacity=request.offering.capacity, state=InstanceState.STARTING
            )
        return answer


def world_of(**limits: float) -> World:
    world = World(**{"max_instances": 20, **limits})
    world.provider = SeveralProvider(world.clock)
    world.pool = world.provisioner()
    return world


def push(world: World, tasks: tuple[TaskClass, ...], agents: tuple[Agent, ...] = ()) -> None:
    world.pool.update_scaling_info(ScalingInfo(agents, tasks))


def asked(world: World) -> list[tuple[str, int]]:
    return [(call.offering.instance_type, call.count) for call in world.provider.made("launch")]  # type: ignore[attr-defined]


def test_each_offering_is_asked_by_an_intent_of_its_own_and_only_once() -> None:
    async def check() -> None:
        world = world_of()
        await world.pool.setup()
        push(world, PUZZLE)
        await world.passes(5)
        assert sorted(asked(world)) == [("four", 1), ("six", 1)]
        assert len({call.token for call in world.provider.made("launch")}) == 2  # type: ignore[attr-defined]
        # When the agents join, what was planned for them is still not launched again.
        agents = tuple(Agent(i.agent_name, True, i.capacity, Resources()) for i in world.provider.instances.values())
        push(world, PUZZLE, agents)
        await world.passes(3)
        assert len(asked(world)) == 2
        assert len(world.provider.instances) == 2

    asyncio.run(check())


def test_what_cannot_be_had_is_replaced_by_what_can_and_tried_again_after_its_pause() -> None:
    async def check() -> None:
        world = world_of()
        world.provider.scarce = frozenset({SIX.name})  # type: ignore[attr-defined]
        await world.pool.setup()
        push(world, PUZZLE)
        await world.passes(4)
        assert asked(world).count(("six", 1)) == 1
        # Three and three do not fit into a four.
        assert sum(count for name, count in asked(world) if name == "four") == 3
        assert world.pool.launch_error is None
        push(world, (*PUZZLE, TaskClass(Resources(5))))
        await world.passes(1)
        (unmet,) = world.pool.last_decision.unmet  # type: ignore[union-attr]
        assert unmet.reason.startswith("six/on-demand: the last launch of it failed, the next is tried at ")
        assert unmet.reason.endswith("no six/on-demand")
        world.provider.scarce = frozenset()  # type: ignore[attr-defined]
        await world.passes(2, step=31.0)
        assert asked(world).count(("six", 1)) == 2

    asyncio.run(check())


def test_the_launch_error_is_in_force_when_nothing_can_be_had() -> None:
    async def check() -> None:
        world = world_of(launch_error_retries=0)
        world.provider.scarce = frozenset({SIX.name, FOUR.name})  # type: ignore[attr-defined]
        await world.pool.setup()
        push(world, (TaskClass(Resources(4)),))
        await world.passes(1)
        assert world.pool.launch_error is None
        await world.passes(1)
        assert world.pool.launch_error == "no six/on-demand"

    asyncio.run(check())


@pytest.mark.parametrize(
    ("offerings", "told"),
    [
        ((), "offers nothing"),
        ((SIX, replace(FOUR, price=None)), "four/on-demand has no price"),
        ((SIX, replace(FOUR, price=0.0)), "four/on-demand has no price"),
        ((SIX, SIX), "six/on-demand is offered twice"),
    ],
)
def test_offerings_that_cannot_be_compared_are_an_error(offerings: tuple[Offering, ...], told: str) -> None:
    world = world_of()
    world.provider.on_offer = offerings  # type: ignore[attr-defined]
    with pytest.raises(ProviderError, match=told) as caught:
        asyncio.run(world.pool.setup())
    assert caught.value.kind is ErrorKind.INVALID


def test_i11_what_a_month_has_cost_survives_a_restart() -> None:
    async def check() -> None:
        world = world_of(max_dollars_per_month=12.0)
        await world.pool.setup()
        push(world, (TaskClass(Resources(4)),))
        await world.passes(1)
        (instance,) = world.provider.instances.values()
        agents = (Agent(instance.agent_name, False, instance.capacity, instance.capacity),)
        push(world, (), agents)
        await world.passes(2)
        world.clock.at += 2 * 3600.0  # 6.8 dollars
        await world.passes(1)
        world.pool = world.provisioner()
        await world.pool.setup()
        # 6.8 are spent, and what runs costs 3.4 in the next hour: no more than 1.8 are left, for nothing that there is.
        push(world, (TaskClass(Resources(4)),), agents)
        await world.passes(1)
        assert len(asked(world)) == 1
        (unmet,) = world.pool.last_decision.unmet  # type: ignore[union-attr]
        assert "maximum of $12.00 per month ($6.81 of it is spent, and what runs costs $3.40 per hour)" in unmet.reason
        # It is all there again with the next month.
        world.clock.at += 31 * 86400.0
        await world.passes(1)
        assert len(asked(world)) == 1 or world.pool.last_decision.launches  # type: ignore[union-attr]

    asyncio.run(check())


def test_the_policy_of_the_hour_is_the_one_that_is_decided_by() -> None:
    from slotsmith.model.policy import Window

    async def check() -> None:
        world = world_of()
        world.pool._schedule = type(world.pool._schedule)(
            Policy(max_instances=9), (Window("30 * * * *", "UTC", 600.0, min_instances=2),)
        )
        await world.pool.setup()
        world.clock.at = 1000 * 3600.0 + 1799.0
        push(world, ())
        await world.passes(1, step=1.0)
        assert asked(world) == []
        await world.passes(1, step=600.0)
        assert asked(world) == [("four", 2)]
        assert world.pool.policy.min_instances == 0

    asyncio.run(check())


def test_prices_that_move_reach_a_pool_that_runs() -> None:
    async def check() -> None:
        world = world_of(max_idle_agent_period=1000)
        await world.pool.setup()
        cheap_four = (SIX, replace(FOUR, price=0.5))
        push(world, (TaskClass(Resources(4)),))
        world.provider.on_offer = cheap_four  # type: ignore[attr-defined]
        await world.passes()
        assert asked(world) == [("four", 1)]
        # Paid for at the price at which it came, and what comes later at that of its time.
        await world.passes()
        world.provider.on_offer = (SIX, replace(FOUR, price=4.0))  # type: ignore[attr-defined]
        push(world, (TaskClass(Resources(4), 2),))
        await world.passes(2)
        assert next(span.price for span in world.store.spans("p", 0.0, 1e9)) == 0.5
        assert {span.price for span in world.store.spans("p", 0.0, 1e9)} <= {0.5, 4.0, 5.0}
        assert asked(world) == [("four", 1), ("four", 1)]
        summary = await world.pool.summary()
        assert summary is not None
        assert [(each["name"], each["price"]) for each in summary["offerings"]] == [
            ("six/on-demand", 5.0),
            ("four/on-demand", 4.0),
        ]

    asyncio.run(check())


def test_the_first_offering_stays_the_first_and_offers_that_make_no_sense_change_nothing() -> None:
    async def check() -> None:
        world = world_of()
        await world.pool.setup()
        assert world.pool.instance_type == "six"
        world.provider.on_offer = (FOUR, SIX)  # type: ignore[attr-defined]
        await world.passes()
        # The scheduler counts in these.
        assert (world.pool.instance_type, world.pool.slots_per_instance) == ("six", 6)
        for useless in ((), (SIX, replace(FOUR, price=None)), (SIX, SIX)):
            world.provider.on_offer = useless  # type: ignore[attr-defined]
            await world.passes()
            summary = await world.pool.summary()
            assert summary is not None
            assert [each["name"] for each in summary["offerings"]] == ["six/on-demand", "four/on-demand"]
        world.provider.on_offer = (FOUR,)  # type: ignore[attr-defined]
        await world.passes()
        assert world.pool.instance_type == "four"

    asyncio.run(check())


class ShortProvider(SeveralProvider):
    """One that remembers where there was no room."""

    short: dict[str, Shortage] = {}  # noqa: RUF012 - set by tests

    def market(self) -> Market:
        return Market(self.short, priced_at=900.0)


def test_a_shortage_that_the_provider_remembers_is_gone_round_and_told() -> None:
    async def check() -> None:
        world = World(max_instances=20)
        world.provider = ShortProvider(world.clock)
        world.pool = world.provisioner()
        world.provider.short = {FOUR.name: Shortage(1060.0, "no capacity for another pool")}
        await world.pool.setup()
        push(world, (TaskClass(Resources(4)),))
        await world.passes()
        assert asked(world) == [("six", 1)]
        summary = await world.pool.summary()
        assert summary is not None
        assert summary["priced_at"] == 900.0
        assert [each["shortage"] for each in summary["offerings"]] == [
            None,
            {"until": 1060.0, "reason": "no capacity for another pool"},
        ]
        report = PoolReport("p", True, summary)
        now = world.clock.now()
        assert any("four/on-demand is tried last until" in line for line in troubles(report, now))
        narrated = world.narrated(summary)
        assert "at prices of 1m41s ago" in narrated[0]
        # What it was decided from is on record, to be tried again.
        rows = list(world.store.recorded_views("p"))
        assert fold("p", rows)["cases"][0]["ticks"][0]["shortages"][FOUR.name]["until"] == 1060.0
        world.clock.at = 1061.0
        push(world, (TaskClass(Resources(4), 2),))
        await world.passes()
        assert asked(world)[-1] == ("four", 1)

    asyncio.run(check())
