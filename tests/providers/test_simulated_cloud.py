"""The simulated cloud without faults: settings, lives, bills, tokens, and requests that travel."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from providers.simulated_world import BIG, SPOT, World, run, settings
from slotsmith.clock import SystemClock
from slotsmith.config import read_config
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.resources import Resources
from slotsmith.providers.base import LaunchRequest, ProviderContext
from slotsmith.providers.simulated import Machine, SimulatedProvider, SimulatedSettings, create, plugin
from slotsmith.simulation.loop import EPOCH, VirtualClock, run_virtually
from waiting import PATIENCE

# Settings


def test_settings_have_defaults_and_offerings_in_their_order() -> None:
    read = SimulatedSettings.model_validate(
        {"type": "simulated", "instance_types": [{"name": "small", "price_per_hour": 0.3}, {**SPOT, "zone": "b"}]}
    )
    assert (read.boot_time, read.join_time, read.poll_period, read.consistency_window) == (180, 10, 60, 0)
    assert (read.token_lifetime, read.min_billing, read.latency, read.seed) == (86400, 60, 0, 0)
    small, big = read.offerings
    assert (small.name, small.capacity, small.price) == ("small/on-demand", Resources(1), 0.3)
    assert (big.name, big.capacity, big.price) == ("big/b/spot", Resources(4, 16, 64), 1.2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("instance_types", []),
        ("instance_types", [{"slots": 1}]),
        ("instance_types", [{**BIG, "gpus": 1}]),
        ("instance_types", [{**BIG, "market": "black"}]),
        ("instance_types", [{**BIG, "price_per_hour": -1}]),
        ("instance_types", [BIG, SPOT, {**BIG, "slots": 1}]),
        ("instance_types", [BIG, {"name": "unpriced"}]),
        ("boot_time", 180),
        ("poll_period", "0s"),
        ("token_lifetime", "0s"),
        ("bootime", "5s"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{key: value})
    assert caught.value.errors()[0]["loc"][0] == key


def test_a_configuration_finds_the_provider() -> None:
    text = """
pools:
  - name: gpu
    scheduler: {type: push}
    provider:
      type: simulated
      boot_time: 3m
      instance_types:
        - {name: g5.12xlarge, slots: 4, cpus: 48, mem_gib: 192, price_per_hour: 5.67, market: spot}
"""
    (pool,) = read_config(text, "slotsmith.yaml").pools
    assert isinstance(pool.provider, SimulatedSettings)
    assert pool.provider.offerings[0].name == "g5.12xlarge/spot"
    assert plugin.create is create
    assert not plugin.owns_by_cluster


def test_the_plugin_makes_a_cloud_that_wakes_its_caller_and_never_gives_an_id_twice() -> None:
    async def main(clock: VirtualClock) -> list[str]:
        woken: list[float] = []
        ids = []
        for _ in range(2):
            context = ProviderContext("", "gpu", Path(), clock, lambda: woken.append(clock.now()))
            provider = create(settings(), context)
            await provider.setup()
            ids += (await provider.launch(LaunchRequest("t", provider.offerings()[0], 1))).instance_ids
            await clock.sleep(200)
            (instance,) = await provider.list_instances()
            assert instance.state is InstanceState.RUNNING
        assert woken == [EPOCH, EPOCH + 180, EPOCH + 200, EPOCH + 380]
        return ids

    ids = run_virtually(main)
    assert len(set(ids)) == 2
    assert all(each.startswith("gpu-") for each in ids)


def test_the_plugin_works_in_real_time(tmp_path: Path) -> None:
    async def main() -> None:
        woken = asyncio.Event()
        context = ProviderContext("", "gpu", tmp_path, SystemClock(), woken.set)
        provider = create(settings(boot_time="10ms", latency="2ms"), context)
        await provider.launch(LaunchRequest("t", provider.offerings()[0], 1))
        async with asyncio.timeout(PATIENCE):
            while [each.state for each in await provider.list_instances()] != [InstanceState.RUNNING]:
                await woken.wait()
                woken.clear()

    asyncio.run(main())


# A machine's life


def test_a_machine_boots_joins_and_ends() -> None:
    async def play(world: World) -> None:
        agents: list[tuple[float, str, bool]] = []
        world.cloud.on_agent = lambda machine, connected: agents.append((world.now, machine.agent_name, connected))
        (name,) = (await world.launch()).instance_ids
        assert await world.states() == ["starting"]
        await world.until(179.999)
        assert await world.states() == ["starting"]
        await world.until(180)
        assert await world.states() == ["running"]
        await world.until(250)
        assert world.cloud.machines[name].connected
        assert await world.provider.terminate([name]) == {}
        assert await world.listed() == []
        assert agents == [(190, name, True), (250, name, False)]
        machine = world.cloud.machines[name]
        assert (machine.alive(), machine.connected, machine.gone_at) == (False, False, EPOCH + 250)
        assert [each for each in world.told if each[1].startswith("cloud ")] == [
            (0, "cloud launched", {"id": name, "token": "token", "state": "starting"}),
            (0, "cloud granted", {"token": "token", "asked": 1, "granted": 1}),
            (180, "cloud moved", {"id": name, "state": "running"}),
            (190, "cloud agent joined", {"id": name}),
            (250, "cloud agent left", {"id": name}),
            (250, "cloud gone", {"id": name}),
        ]
        # Its timers are void: nothing happens to what is gone.
        await world.wait(1000)
        assert world.cloud.alive == 0

    run(play)


def test_a_machine_that_ends_while_it_starts_never_joins() -> None:
    async def play(world: World) -> None:
        first = (await world.launch(token="a")).instance_ids
        await world.until(100)
        second = (await world.launch(token="b")).instance_ids
        await world.until(185)
        await world.provider.terminate([*first, *second])
        await world.wait(1000)
        assert world.count("cloud agent joined") == 0
        assert world.count("cloud gone") == 2

    run(play)


def test_a_listing_is_the_same_object_until_something_changes() -> None:
    async def play(world: World) -> None:
        changes: list[float] = []
        world.cloud.on_change = lambda: changes.append(world.now)
        await world.launch(3)
        first = await world.provider.list_instances()
        await world.until(100)
        assert await world.provider.list_instances() is first
        assert await world.another_provider().list_instances() is first
        await world.until(180)
        second = await world.provider.list_instances()
        assert second is not first
        assert await world.provider.list_instances() is second
        assert changes == [0.0] * 3 + [180.0] * 3
        assert world.cloud.calls == {"launch": 1, "list": 5}
        assert world.cloud.launched == 3

    run(play)


def test_a_stray_is_a_machine_like_any_other() -> None:
    async def play(world: World) -> None:
        stray = world.cloud.add_stray("theirs")
        await world.until(200)
        (instance,) = await world.listed()
        assert (instance.id, instance.token, instance.state) == (stray.id, "theirs", InstanceState.RUNNING)
        assert stray.connected
        assert await world.provider.terminate([stray.id]) == {}
        assert not stray.alive()

    run(play)


# What it costs


@pytest.mark.parametrize(("lived", "billed"), [(0, 60), (59, 60), (60, 60), (61, 61), (5000, 5000)])
def test_a_machine_is_paid_from_launch_to_terminate_and_for_a_minimum(lived: float, billed: float) -> None:
    async def play(world: World) -> None:
        await world.wait(7)
        (name,) = (await world.launch()).instance_ids
        machine = world.cloud.machines[name]
        await world.wait(lived)
        assert machine.paid
        await world.provider.terminate([name])
        assert not machine.paid
        await world.wait(10_000)
        now = world.clock.now()
        assert machine.billed(now) == billed
        assert machine.billed_between(EPOCH, now) == billed
        assert machine.billed_between(now, now + 10) == 0

    run(play)


def test_the_bill_can_be_cut_into_pieces_at_any_time() -> None:
    machine = _machine()
    machine.earlier = [(100.0, 110.0), (400.0, 700.0)]
    machine.paid_from, machine.paid_until = 1000.0, None
    assert machine.billed(1200.0) == 60 + 300 + 200
    assert machine.billed(1010.0) == 60 + 300 + 60
    assert machine.billed(50.0) == 0
    cuts = [0.0, 105.0, 130.0, 500.0, 900.0, 1001.0, 1200.0]
    parts = [machine.billed_between(start, end) for start, end in pairwise(cuts)]
    assert parts == [5, 25, 30 + 100, 200, 1, 199]
    assert sum(parts) == machine.billed(1200.0)


def _machine() -> Machine:
    offering = settings().offerings[0]
    return Machine("i-1", "", offering, "i-1", 0.0, 60.0, InstanceState.RUNNING, 0.0)


# Tokens and quotas


def test_a_token_is_remembered_for_its_lifetime_and_no_longer() -> None:
    async def play(world: World) -> None:
        first = await world.launch(2)
        await world.until(3599.999)
        assert await world.launch(2) == first
        assert world.cloud.creations == {"token": [list(first.instance_ids)]}
        await world.until(3600)
        again = await world.launch(2)
        assert not set(again.instance_ids) & set(first.instance_ids)
        assert [len(each) for each in world.cloud.creations["token"]] == [2, 2]

    run(play, token_lifetime="1h")


def test_a_token_goes_with_its_parameters() -> None:
    async def play(world: World) -> None:
        await world.launch(2)
        error = await world.error(world.launch(3))
        assert error.kind is ErrorKind.INVALID
        assert world.cloud.alive == 2

    run(play)


def test_a_quota_cuts_a_launch_and_is_answered_the_same_way_again() -> None:
    async def play(world: World) -> None:
        world.cloud.quota = 3
        result = await world.launch(5)
        assert len(result.instance_ids) == 3
        assert result.shortfall is not None
        assert result.shortfall.kind is ErrorKind.QUOTA
        assert (await world.error(world.launch(1, "more"))).kind is ErrorKind.QUOTA
        world.cloud.quota = None
        assert await world.launch(5) == result
        assert len((await world.launch(2, "more")).instance_ids) == 2

    run(play)


# Requests that travel


def test_a_request_that_was_sent_is_carried_out_whatever_becomes_of_the_caller() -> None:
    async def play(world: World) -> None:
        for at in (0.0, 0.01, 0.9, 1.5):
            before = world.cloud.launched
            call = asyncio.ensure_future(world.launch(token=f"after {at}"))
            await world.wait(at)
            call.cancel()
            await world.wait(5)
            assert world.cloud.launched - before == 1, at

    run(play, latency="2s")


def test_latency_is_there_and_back() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        assert world.now == 2
        assert world.times("cloud launched") == [1]
        await world.provider.terminate([name])
        assert (world.now, world.times("cloud gone")) == (4, [3])
        await world.listed()
        assert world.now == 6
        assert (await world.error(_unknown(world))).kind is ErrorKind.INVALID
        assert world.now == 8

    run(play, latency="2s")


async def _unknown(world: World) -> Any:
    offering = settings(instance_types=[{"name": "other"}]).offerings[0]
    return await world.provider.launch(LaunchRequest("unknown", offering, 1))


def test_a_provider_is_one_of_many_on_a_cloud() -> None:
    async def play(world: World) -> None:
        other = world.another_provider()
        assert isinstance(other, SimulatedProvider)
        result = await world.launch(2)
        assert await other.launch(LaunchRequest("token", other.offerings()[0], 2)) == result
        assert [each.id for each in await other.list_instances()] == list(result.instance_ids)

    run(play)
