"""What the simulated cloud has promised holds under any mix of faults, and a seed tells all of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.simulated_world import BIG, SPOT, World, run
from slotsmith.clock import Random
from slotsmith.core.backoff import RETRY_RULES
from slotsmith.model.instance import LEGAL_TRANSITIONS, Instance, InstanceState
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated import (
    FAULTS,
    HEAVY,
    LIGHT,
    NO_FAULTS,
    SETTLES,
    Chance,
    CloudFaults,
    Machine,
)

WINDOW = 30.0
DEADLINE = 120.0
FEW = settings(max_examples=20, deadline=None)


def _mixed(seed: int) -> CloudFaults:
    """Some of the faults, each as often as in one of the presets."""
    random = Random(seed)
    mixed: dict[str, Any] = {
        name: random.choice((LIGHT, HEAVY)).chances()[name] for name in FAULTS if random.random() < 0.5
    }
    return replace(NO_FAULTS, **mixed)


class Watcher:
    """Looks at a cloud whenever its listing changes, and compares what is shown with the truth."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.moves: set[tuple[InstanceState, InstanceState]] = set()
        self._states: dict[str, InstanceState] = {}
        self._missing: dict[str, float] = {}
        self._stretches: defaultdict[str, int] = defaultdict(int)
        self._connected: dict[str, bool] = {}
        world.cloud.on_agent = self._agent

    def _agent(self, machine: Machine, connected: bool) -> None:
        assert self._connected.get(machine.id, False) is not connected
        self._connected[machine.id] = connected
        assert machine.connected is connected
        assert not connected or machine.state is InstanceState.RUNNING

    def shown(self, rows: list[Instance]) -> None:
        """This is what is shown now."""
        world, now = self.world, self.world.clock.now()
        for row in rows:
            machine = world.cloud.machines[row.id]
            assert machine.alive() or now - (machine.gone_at or 0) < WINDOW
            assert (row.token, row.agent_name, row.offering) == (machine.token, machine.id, machine.offering.name)
        states = {row.id: row.state for row in rows}
        for machine in world.cloud.machines.values():
            self._look(machine, machine.id in states, now)
        for row in rows:
            before = self._states.get(row.id)
            if before is not None and before is not row.state:
                assert row.state in LEGAL_TRANSITIONS[before]
                self.moves.add((before, row.state))
        self._states |= states

    def _look(self, machine: Machine, shown: bool, now: float) -> None:
        if shown or not machine.alive():
            self._missing.pop(machine.id, None)
        elif now - machine.created_at >= WINDOW:
            # Only a machine that was listed for long may be missing: once, and for less than the window.
            if machine.id not in self._missing:
                self._missing[machine.id] = now
                self._stretches[machine.id] += 1
                assert self._stretches[machine.id] == 1
                assert now - machine.created_at >= 600
            assert now - self._missing[machine.id] < WINDOW


async def _use(world: World, seed: int, until: float) -> None:
    """Launch, list and terminate as a provisioner might, and check every answer."""
    random = Random(seed)
    number = 0
    granted: dict[str, tuple[str, ...]] = {}
    while world.now < until:
        number += 1
        await world.wait(round(random.random() * 120, 3))
        rows = await _within(DEADLINE, world, world.listed())
        if isinstance(rows, list):
            ids = [row.id for row in rows]
            assert ids == sorted(set(ids))
        again = sorted(world.cloud.creations) if random.random() < 0.3 else []
        token = random.choice(again) if again else f"t{number}"
        result = await _within(DEADLINE, world, world.launch(1 + len(token) % 4, token))
        _check_answer(world, token, result, granted)
        ids = [
            machine.id for machine in world.cloud.machines.values() if random.random() < 0.02 + 0.2 * machine.alive()
        ]
        failures = await _within(DEADLINE, world, world.provider.terminate([*ids, "i-none"]))
        if isinstance(failures, dict):
            assert set(failures) <= {*ids, "i-none"}


def _check_answer(world: World, token: str, result: Any, granted: dict[str, tuple[str, ...]]) -> None:
    created = world.cloud.creations.get(token, [])
    assert len(created) <= 1
    if isinstance(result, ProviderError):
        assert not (created and RETRY_RULES[result.kind].knows_token)
    elif result is not None:
        assert list(result.instance_ids) == created[0]
        assert granted.setdefault(token, result.instance_ids) == result.instance_ids


async def _within(seconds: float, world: World, call: Any) -> Any:
    """The outcome of a call; None when it is not answered in time."""
    try:
        async with asyncio.timeout(seconds):
            return await world.outcome(call)
    except TimeoutError:
        return None


async def _look_often(world: World, watcher: Watcher) -> None:
    """Compare the listing with the truth every few seconds, whoever asks for it."""
    while True:
        rows = world.cloud._listing.rows()
        watcher.shown(list(rows))
        await world.wait(3.1)


async def _play(world: World, seed: int) -> Watcher:
    watcher = Watcher(world)
    looking = asyncio.ensure_future(_look_often(world, watcher))
    await _use(world, seed, 2400)
    world.cloud.stop_faults()
    calm = world.now
    await _use(world, seed + 1, calm + SETTLES)
    await world.wait(SETTLES)
    looking.cancel()
    await _check_the_end(world, calm)
    return watcher


async def _check_the_end(world: World, calm: float) -> None:
    """The faults are over: the truth is listed, and calls do what they say."""
    struck = [at for at, what, _ in world.told if what.startswith("fault ")]
    # A call that was under way meets its fate a moment later.
    assert all(at <= calm + 1 for at in struck)
    machines = world.cloud.machines.values()
    rows = {row.id: row.state for row in await world.listed()}
    assert rows == {machine.id: machine.state for machine in machines if machine.alive()}
    assert world.cloud.alive == len(rows)
    assert world.cloud.launched == len(machines) == world.count("cloud launched")
    for machine in machines:
        now = world.clock.now()
        assert machine.paid is (machine.state in (InstanceState.STARTING, InstanceState.RUNNING) and machine.alive())
        assert machine.billed(now) >= machine.billed_between(0, now) >= 0
        assert not machine.connected or machine.alive()
    assert await world.provider.terminate(list(rows)) == {}
    assert await world.listed() == []


@FEW
@given(st.integers(0, 2**32), st.sampled_from(["0s", "500ms"]))
def test_the_promises_hold_under_any_mix_of_faults(seed: int, latency: str) -> None:
    kinds = [SPOT, BIG] if seed % 2 else [BIG, SPOT]
    run(lambda world: _play(world, seed), _mixed(seed), seed=seed, latency=latency, instance_types=kinds)


def test_every_fault_and_every_legal_move_can_be_seen() -> None:
    told: set[str] = set()
    moves: set[tuple[InstanceState, InstanceState]] = set()

    async def play(world: World, seed: int) -> None:
        watcher = await _play(world, seed)
        moves.update(watcher.moves)
        told.update(what.removeprefix("fault ") for _, what, _ in world.told if what.startswith("fault "))

    soon = Chance(0.5, 1, 60, after=600)
    faults = replace(
        HEAVY,
        **{name: LIGHT.chances()[name] for name in ("denied", "hang", "capacity", "quota")},
        **dict.fromkeys(("unreadable", "started_again", "failed_terminate"), soon),
        stopped_behind_back=Chance(0.5, 0.1, 30, after=300),
        slow_terminate=soon,
        spot_pending=soon,
        reclaimed_with_notice=LIGHT.reclaimed_with_notice,
        reclaimed_without_notice=LIGHT.reclaimed_without_notice,
    )
    patient = replace(faults, spot_pending=Chance(0.5, 1, 1200))
    for seed in range(60):
        mix = patient if seed % 2 else faults
        run(lambda world, seed=seed: play(world, seed), mix, seed=seed, instance_types=[SPOT], boot_time="2s")
    assert told == set(FAULTS)
    assert moves == {(before, after) for before, others in LEGAL_TRANSITIONS.items() for after in others}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_the_same_seed_tells_the_same(seed: int) -> None:
    async def play(world: World) -> list[Any]:
        await _play(world, seed)
        return world.told

    first, again = (run(play, LIGHT, seed=seed, instance_types=[SPOT]) for _ in range(2))
    assert first == again
    assert any(what.startswith("fault") for _, what, _ in first)


def test_another_seed_tells_something_else_and_one_fault_less_leaves_the_others_alone() -> None:
    async def launch(world: World) -> list[float]:
        for number in range(30):
            await world.outcome(world.launch(1, f"t{number}"))
        return [each.launched_at for each in world.cloud._listing.rows()]

    faults = replace(NO_FAULTS, clock_skew=LIGHT.clock_skew, slow_boot=LIGHT.slow_boot)
    skewed = run(launch, faults, seed=1)
    assert run(launch, faults, seed=2) != skewed
    assert run(launch, replace(faults, slow_boot=HEAVY.slow_boot), seed=1) == skewed
    assert len(set(skewed)) > 1
