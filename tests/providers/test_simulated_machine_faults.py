"""What happens to the machines of the simulated cloud: each fault takes effect, and says so then."""

import pytest

from providers.simulated_world import SPOT, World, run
from slotsmith.providers.simulated import Chance, CloudFaults

ALWAYS = Chance(1.0)


# A machine's start and its agent


async def _agents(world: World, until: float) -> list[tuple[float, bool]]:
    """Launch one, and say when its agent came and went."""
    agents: list[tuple[float, bool]] = []
    world.cloud.on_agent = lambda _, connected: agents.append((world.now, connected))
    await world.launch()
    await world.until(until)
    return agents


def test_slow_boot() -> None:
    async def play(world: World) -> None:
        assert await _agents(world, 300) == [(280, True)]
        assert world.times("fault slow_boot") == [0]

    run(play, CloudFaults(slow_boot=Chance(1, 90, 90)))


def test_late_join() -> None:
    async def play(world: World) -> None:
        assert await _agents(world, 1000) == [(280, True)]
        assert world.times("fault late_join") == [180]

    run(play, CloudFaults(late_join=Chance(1, 90, 90)))


def test_never_joins() -> None:
    async def play(world: World) -> None:
        assert await _agents(world, 100_000) == []
        assert await world.states() == ["running"]
        assert world.times("fault never_joins") == [180]

    run(play, CloudFaults(never_joins=ALWAYS))


def test_joins_twice() -> None:
    async def play(world: World) -> None:
        (first, came), (away, left), (back, again) = await _agents(world, 100_000)
        assert (first, came, left, again) == (190, True, False, True)
        assert world.times("fault joins_twice") == [away]
        assert 20 <= back - away <= 50
        assert await world.states() == ["running"]

    run(play, CloudFaults(joins_twice=Chance(1, 20, 50, after=3600)))


def test_agent_dies() -> None:
    async def play(world: World) -> None:
        (_, came), (died, left) = await _agents(world, 100_000)
        assert (came, left) == (True, False)
        assert world.times("fault agent_dies") == [died]
        assert await world.states() == ["running"]

    run(play, CloudFaults(agent_dies=Chance(1, after=3600)))


def test_reboots() -> None:
    async def play(world: World) -> None:
        await world.launch()
        await world.until(3000)
        again = world.times("fault reboots")
        moved = [(at, details["state"]) for at, what, details in world.told if what == "cloud moved"]
        assert moved[:3] == [(180, "running"), (again[0], "starting"), (again[0] + 180, "running")]
        (machine,) = world.cloud.machines.values()
        assert machine.billed(world.clock.now()) == 3000

    run(play, CloudFaults(reboots=Chance(1, after=3600)))


# Spot machines


def test_spot_pending() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        machine = world.cloud.machines[name]
        assert await world.states() == ["pending-request"]
        assert world.times("fault spot_pending") == [0]
        assert not machine.paid
        await world.until(100)
        assert await world.states() == ["starting"]
        await world.until(300)
        assert machine.connected
        assert machine.billed(world.clock.now()) == 200
        (instance,) = await world.listed()
        assert instance.launched_at - world.started == 100
        # A request that is cancelled costs nothing.
        (other,) = (await world.launch(1, "other")).instance_ids
        await world.provider.terminate([other])
        await world.wait(1000)
        assert (world.cloud.alive, world.cloud.machines[other].billed(world.clock.now())) == (1, 0)

    run(play, CloudFaults(spot_pending=Chance(1, 100, 100)), instance_types=[SPOT])


def test_on_demand_never_pends() -> None:
    async def play(world: World) -> None:
        await world.launch()
        assert await world.states() == ["starting"]

    run(play, CloudFaults(spot_pending=Chance(1, 100, 100)))


def test_fulfilled_after_cancel() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(20)
        assert await world.provider.terminate([name]) == {}
        assert await world.states() == ["pending-request"]
        await world.until(25)
        assert await world.provider.terminate([name]) == {}
        await world.until(50)
        assert await world.states() == ["starting"]
        assert world.times("fault fulfilled_after_cancel") == [50]
        await world.provider.terminate([name])
        assert await world.listed() == []
        assert world.cloud.machines[name].billed(world.clock.now()) == 60

    faults = CloudFaults(spot_pending=Chance(1, 500, 500), fulfilled_after_cancel=Chance(1, 30, 30))
    run(play, faults, instance_types=[SPOT])


def test_reclaimed_with_notice() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        machine = world.cloud.machines[name]
        while not world.times("fault reclaimed_with_notice"):
            await world.wait(1)
        (noticed,) = world.times("fault reclaimed_with_notice")
        (instance,) = await world.listed()
        assert (instance.state, instance.detail) == ("running", "interruption notice")
        await world.until(noticed + 119)
        assert machine.paid
        assert machine.connected
        await world.until(noticed + 120.001)
        assert await world.listed() == []
        assert machine.billed(world.clock.now()) == pytest.approx(noticed + 120)
        assert not machine.connected

    run(play, CloudFaults(reclaimed_with_notice=Chance(1, 120, 120, after=3600)), instance_types=[SPOT], seed=1)


def test_reclaimed_without_notice_and_deleted_behind_back() -> None:
    async def play(world: World) -> None:
        await world.launch(3)
        await world.until(10_000)
        assert await world.listed() == []
        (fault,) = {what for _, what, _ in world.told if what.startswith("fault")}
        assert world.times(fault) == world.times("cloud gone")
        for machine, gone in zip(world.cloud.machines.values(), sorted(world.times("cloud gone")), strict=True):
            assert machine.billed(world.clock.now()) >= 180 or gone
        assert not any(machine.paid or machine.connected for machine in world.cloud.machines.values())

    run(play, CloudFaults(reclaimed_without_notice=Chance(1, after=3600)), instance_types=[SPOT])
    run(play, CloudFaults(deleted_behind_back=Chance(1, after=3600)))


def test_only_spot_machines_are_reclaimed() -> None:
    async def play(world: World) -> None:
        await world.launch()
        await world.until(10_000)
        assert await world.states() == ["running"]

    run(play, CloudFaults(reclaimed_without_notice=ALWAYS, reclaimed_with_notice=ALWAYS))


# Others, and clocks


def test_stopped_behind_back_and_started_again() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        machine = world.cloud.machines[name]
        while world.count("cloud moved") < 5:
            await world.wait(1)
        moved = [(at, details["state"]) for at, what, details in world.told if what == "cloud moved"]
        (stopping, first), (stopped, second), (again, third), (up, fourth) = moved[1:5]
        assert (first, second, third, fourth) == ("stopping", "stopped", "starting", "running")
        assert (stopped - stopping, again - stopped, up - again) == (5, 1000, 180)
        assert world.times("fault stopped_behind_back")[0] == stopping
        assert world.times("fault started_again")[0] == again
        now = world.clock.now()
        assert machine.billed(now) == pytest.approx(stopping + (world.now - again))
        assert machine.billed_between(world.started, now) == pytest.approx(machine.billed(now))
        (instance,) = await world.listed()
        assert instance.launched_at - world.started == pytest.approx(again)

    faults = CloudFaults(stopped_behind_back=Chance(1, 5, 5, after=3600), started_again=Chance(1, 1000, 1000))
    run(play, faults, seed=3)


def test_a_stopped_machine_stays_so_until_it_is_terminated() -> None:
    async def play(world: World) -> None:
        (name,) = (await world.launch()).instance_ids
        await world.until(100_000)
        assert await world.states() == ["stopped"]
        assert not world.cloud.machines[name].connected
        await world.provider.terminate([name])
        assert await world.listed() == []

    run(play, CloudFaults(stopped_behind_back=Chance(1, 5, 5, after=3600)))


def test_clock_skew() -> None:
    async def play(world: World) -> None:
        await world.launch(20)
        errors = [each.launched_at - world.started for each in await world.listed()]
        assert len(set(errors)) > 10
        assert min(errors) < -60
        assert max(errors) > 60
        assert all(60 <= abs(error) <= 600 for error in errors)
        assert world.count("fault clock_skew") == 20

    run(play, CloudFaults(clock_skew=Chance(1, 60, 600)))


def test_clock_jump() -> None:
    async def play(world: World) -> None:
        for number in range(40):
            await world.launch(1, f"t{number}")
            await world.wait(1)
        errors = [each.launched_at - world.started - number for number, each in enumerate(await world.listed())]
        jumps = [round(at) for at in world.times("fault clock_jump")]
        changes = [n for n in range(40) if abs(errors[n] - (errors[n - 1] if n else 0)) > 1e-3]
        assert changes == jumps
        assert 2 < len(jumps) < 20

    run(play, CloudFaults(clock_jump=Chance(0.2, 60, 600)))
