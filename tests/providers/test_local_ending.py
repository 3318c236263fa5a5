"""Terminations: whatever an agent does, all of it goes, and nothing else is hit."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from providers.local_world import LONG, LocalWorld, all_gone, in_state, launch, only
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import Provider
from slotsmith.providers.local.supervisor import start_of
from waiting import until, wait_until

STOPPED, RUNNING, TERMINATING = InstanceState.STOPPED, InstanceState.RUNNING, InstanceState.TERMINATING

STUBBORN = """sh -c 'trap "" TERM; while :; do sleep 1; done'"""
"""An agent that ignores SIGTERM, and so do its children."""

DEAF = 'env -i sh -c "trap \\"\\" TERM; exec sleep 600" &'
"""A child that ignores SIGTERM and has lost its environment."""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours, in a session of its own."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


async def _terminate_all(provider: Provider) -> None:
    assert await provider.terminate([instance.id for instance in await provider.list_instances()]) == {}


def _supervisor_of(world: LocalWorld, instance_id: str) -> int:
    claim = world.pool_directory() / "live" / instance_id / "claim"
    return int(json.loads(claim.read_bytes().splitlines()[1])["pid"])


def test_an_agent_that_ends_when_asked_is_gone_at_once(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(stop_grace="1h")
        await launch(provider, "token", 2)
        await until(lambda: len(world.pids()) == 4, what="two agents")
        await _terminate_all(provider)
        await all_gone(provider)
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


def test_an_agent_is_asked_once_however_often_we_are(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(
            """sh -c 'trap "echo asked" TERM; while :; do echo tick; sleep 0.05; done'""", stop_grace="1h"
        )
        (instance_id,) = await launch(provider, "token")
        log = world.pool_directory() / "live" / instance_id / "agent.log"
        await until(lambda: "tick" in log.read_text(), what="a trap")
        for _ in range(3):
            await _terminate_all(provider)
        restarted = world.provider(stop_grace="1h")
        await _terminate_all(restarted)
        assert (await only(restarted)).state is TERMINATING
        ticks = log.read_text().count("tick")
        await until(lambda: log.read_text().count("tick") >= ticks + 3, what="some more rounds of the agent")
        assert log.read_text().count("asked") == 1
        await provider.close()
        await restarted.close()

    asyncio.run(check())


def test_an_agent_that_ignores_the_request_is_killed(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(STUBBORN, stop_grace="300ms")
        await launch(provider, "token", 2)
        await until(lambda: len(world.pids()) >= 6, what="two agents with a child each")
        begin = provider._clock.now()  # type: ignore[attr-defined]
        await _terminate_all(provider)
        assert {instance.state for instance in await provider.list_instances()} == {TERMINATING}
        await all_gone(provider)
        assert provider._clock.now() - begin >= 0.3  # type: ignore[attr-defined]
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


def test_an_agent_is_killed_in_time_though_no_provisioner_is_left(world: LocalWorld) -> None:
    async def ask() -> None:
        provider = world.provider(STUBBORN, stop_grace="200ms")
        await launch(provider, "token")
        await until(lambda: len(world.pids()) >= 3, what="an agent with a child")
        await _terminate_all(provider)
        await provider.close()

    asyncio.run(ask())
    wait_until(lambda: not world.pids(), what="an end of all processes")


def test_a_booting_instance_never_starts_its_agent(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(boot_time="1h")
        await launch(provider, "token", 2)
        await _terminate_all(provider)
        await all_gone(provider)
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


@pytest.mark.parametrize("daemon", ["sleep 600 &", "setsid sleep 600 &", "env -i sleep 600 &", DEAF])
def test_what_an_agent_leaves_behind_goes_with_it(world: LocalWorld, daemon: str) -> None:
    """Also when it is in a session of its own; and without its environment it is still known by its group."""

    async def check() -> None:
        provider = world.provider(f"sh -c '{daemon} exec sleep 600'", stop_grace="300ms")
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, RUNNING)
        agent = json.loads((world.pool_directory() / "live" / instance_id / "agent").read_bytes())["pid"]
        await until(lambda: _children(agent), what="a child of the agent")
        (child,) = _children(agent)
        try:
            await until(lambda: _command(child) == "sleep", what="a child that has got where it wanted")
            await _terminate_all(provider)
            await all_gone(provider)
            await until(lambda: start_of(child) is None, what="an end of the child")
        finally:
            # The world cannot find it by its environment.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        await provider.close()

    asyncio.run(check())


def test_members_of_a_group_whose_leader_has_ended_go_too(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(f"sh -c '{LONG} & trap \"\" TERM; {LONG} & exit 0'", stop_grace="100ms")
        await launch(provider, "token")
        assert (await in_state(provider, STOPPED)).detail == "exited with status 0"
        await until(lambda: len(world.pids()) == 2, what="two members without a leader")
        await _terminate_all(provider)
        await all_gone(provider)
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


@pytest.mark.parametrize("restart", [False, True])
def test_an_agent_without_its_supervisor_lives_and_can_be_ended(world: LocalWorld, restart: bool) -> None:
    async def check() -> None:
        provider = world.provider(STUBBORN, stop_grace="100ms")
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, RUNNING)
        os.kill(_supervisor_of(world, instance_id), signal.SIGKILL)
        if restart:
            await provider.close()
            provider = world.provider(STUBBORN, stop_grace="100ms")

        async def told() -> bool:
            return (await only(provider)).detail == "its supervisor was killed, its agent lives"

        await until(told, what="an agent without supervisor")
        assert (await only(provider)).state is RUNNING
        assert await launch(provider, "token") == (instance_id,)
        assert await provider.terminate([instance_id]) == {}
        assert (await only(provider)).state is TERMINATING
        await all_gone(provider)
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


def test_the_end_of_an_agent_without_supervisor_is_noticed(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, RUNNING)
        os.kill(_supervisor_of(world, instance_id), signal.SIGKILL)
        await until(lambda: len(world.pids()) == 1, what="the end of the supervisor")
        os.kill(world.pids()[0], signal.SIGKILL)
        assert (await in_state(provider, STOPPED)).detail == "its supervisor was killed, and its agent has ended"
        await _terminate_all(provider)
        await all_gone(provider)
        await provider.close()

    asyncio.run(check())


def test_a_supervisor_killed_while_booting_is_a_stopped_instance(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(boot_time="1h")
        await launch(provider, "token")
        os.kill(world.pids()[0], signal.SIGKILL)
        assert (await in_state(provider, STOPPED)).detail == "its supervisor was killed before the agent was started"
        await provider.close()

    asyncio.run(check())


@pytest.mark.parametrize("start", ["true", "wrong"])
def test_a_record_that_names_a_strangers_pid_hits_nobody(
    world: LocalWorld, stranger: subprocess.Popen[bytes], start: str
) -> None:
    """`wrong` is what a pid given to another process looks like; `true` would take a forger."""

    async def check() -> None:
        provider = world.provider(stop_grace="50ms")
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, RUNNING)
        ours = world.pids()
        await provider.close()
        claim = world.pool_directory() / "live" / instance_id / "claim"
        identity = {"pid": stranger.pid, "start": start_of(stranger.pid) if start == "true" else "boot:1"}
        first = claim.read_text().splitlines()[0]
        claim.write_text(f"{first}\n{json.dumps(identity)}\n")

        provider = world.provider(stop_grace="50ms")
        assert await provider.terminate([instance_id]) == {}
        await until(lambda: not world.pids(), what="the end of the real processes")
        assert len(ours) == 2
        if start == "wrong":
            await all_gone(provider)
        else:
            failures = await until(lambda: provider.terminate([instance_id]), what="a failure")
            assert failures[instance_id].kind is ErrorKind.DENIED
            assert "cannot be proved to be its own" in str(failures[instance_id])
            assert (await only(provider)).state is TERMINATING
        await provider.close()

    asyncio.run(check())
    assert stranger.poll() is None


def test_ids_that_are_no_names_touch_nothing(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        (instance_id,) = await launch(provider, "token")
        bad = ["", ".", "..", "../live", f"../live/{instance_id}", "a\0b", "/", "no-such"]
        assert await provider.terminate(bad) == {}
        assert (await only(provider)).state is not TERMINATING
        await provider.close()

    asyncio.run(check())


def _children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(word) for word in out.stdout.split()]


def _command(pid: int) -> str:
    out = subprocess.run(["ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False)
    return out.stdout.strip()
