"""What becomes of an instance that nobody terminates, and who is told of it."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from providers.local_world import LONG, LocalWorld, in_state, launch, only
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.resources import Resources
from slotsmith.providers.base import LaunchRequest
from slotsmith.providers.local.supervisor import _start_by_ps, start_of
from waiting import until, wait_until

STOPPED, RUNNING, STARTING = InstanceState.STOPPED, InstanceState.RUNNING, InstanceState.STARTING


def test_it_starts_boots_and_runs(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(slots=2, cpus=1.5, mem_gib=4, boot_time="300ms")
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        booting = await only(provider)
        assert booting.state is STARTING
        assert len(world.pids()) == 1
        running = await in_state(provider, RUNNING)
        assert running == booting._replace(state=RUNNING, detail=running.detail)
        assert running.id == running.agent_name == instance_id
        assert (running.token, running.offering) == ("token", "local/on-demand")
        assert running.capacity == Resources(2, 1.5, 4.0)
        assert running.detail == f"pid {world.pids()[-1]}"
        await provider.close()

    asyncio.run(check())


def test_each_type_is_started_as_what_it_is(world: LocalWorld) -> None:
    async def check() -> None:
        types = [
            {"name": "small", "price_per_hour": 1},
            {"name": "big", "slots": 4, "price_per_hour": 3, "command": "sh -c 'exit 7'"},
        ]
        provider = world.provider(instance_types=types)
        await provider.setup()
        small, big = provider.offerings()
        await provider.launch(LaunchRequest("one", small, 1))
        await provider.launch(LaunchRequest("two", big, 1))

        async def both() -> dict[str, Instance]:
            found = {instance.offering: instance for instance in await provider.list_instances()}
            states = [each.state for each in found.values()]
            return found if sorted(states) == [RUNNING, STOPPED] else {}

        found = await until(both)
        assert found[small.name].capacity == small.capacity
        assert found[big.name].capacity == big.capacity
        assert found[small.name].detail.startswith("pid ")
        assert "status 7" in found[big.name].detail
        await provider.close()

    asyncio.run(check())


def test_capacity_is_that_of_the_launch_and_not_of_todays_settings(world: LocalWorld) -> None:
    async def check() -> None:
        before = world.provider(slots=2)
        await launch(before, "token")
        await before.close()
        after = world.provider(slots=4)
        assert (await only(after)).capacity == Resources(2, 1.0, 1.0)
        await after.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        ("true", "exited with status 0"),
        ("sh -c 'exit 3'", "exited with status 3"),
        ("sh -c 'kill -9 $$'", "killed by SIGKILL"),
        ("sh -c 'kill -40 $$'", "killed by signal 40"),
    ],
)
def test_an_agent_that_ends_is_a_stopped_instance(world: LocalWorld, command: str, detail: str) -> None:
    async def check() -> None:
        provider = world.provider(command)
        await provider.setup()
        ids = await launch(provider, "token")
        assert (await in_state(provider, STOPPED)).detail == detail
        # It is not started again, by a repeated launch no more than by itself.
        assert await launch(provider, "token") == ids
        assert (await only(provider)).state is STOPPED
        assert world.pids() == []
        await provider.close()

    asyncio.run(check())


def test_an_agent_that_cannot_be_started_is_a_stopped_instance(world: LocalWorld, tmp_path: Path) -> None:
    broken = tmp_path / "agent"
    broken.write_text("no program at all")
    broken.chmod(0o755)

    async def check() -> None:
        provider = world.provider(str(broken))
        await launch(provider, "token")
        detail = (await in_state(provider, STOPPED)).detail
        assert detail == "its command could not be started: Exec format error"
        await provider.close()

    asyncio.run(check())


def test_the_agent_knows_who_it_is_and_its_output_is_kept(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider("""sh -c 'env; echo {instance_id} of {pool} says sorry >&2; exec sleep 600'""")
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, RUNNING)
        log = world.pool_directory() / "live" / instance_id / "agent.log"
        await until(lambda: "sorry" in log.read_text(), what="the agent's output")
        lines = log.read_text().splitlines()
        assert f"{instance_id} of gpu says sorry" in lines
        ours = dict(line.split("=", 1) for line in lines if line.startswith("SLOTSMITH_"))
        assert ours == {
            "SLOTSMITH_TOKEN": "token",
            "SLOTSMITH_INSTANCE_ID": instance_id,
            "SLOTSMITH_CLUSTER": "team",
            "SLOTSMITH_POOL": "gpu",
            "SLOTSMITH_STATE_DIR": str(world.pool_directory()),
        }
        await provider.close()

    asyncio.run(check())


def test_the_agent_starts_with_a_clean_slate(world: LocalWorld) -> None:
    """No signal blocked or ignored, a session of its own, nothing to read from, no descriptor but the lock."""

    async def check() -> None:
        ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGTERM)}
        try:
            provider = world.provider()
            (instance_id,) = await launch(provider, "token")
        finally:
            for number, handler in ignored.items():
                signal.signal(number, handler)
        await in_state(provider, RUNNING)
        agent = wait_until(lambda: _agent_of(world, instance_id), what="the agent")
        status = _status_of(agent)
        # Signals 32 and 33 belong to the C library, which leaves them ignored in what it spawns.
        assert int(status["SigIgn"], 16) & ~(3 << 31) == 0
        assert int(status["SigBlk"], 16) == 0
        assert os.getsid(agent) == os.getpgid(agent) != os.getsid(0)
        directory = world.pool_directory() / "live" / instance_id
        null, log, lock = Path(os.devnull), directory / "agent.log", directory / "lock"
        # While it is being loaded it has its libraries open.
        wait_until(
            lambda: sorted(_descriptors_of(agent).values()) == sorted([null, log, log, lock]),
            what=lambda: f"no descriptor but the lock, of {_descriptors_of(agent)}",
        )
        targets = _descriptors_of(agent)
        assert (targets["0"], targets["1"], targets["2"]) == (null, log, log)
        await provider.close()

    asyncio.run(check())


def test_it_tells_when_an_agent_runs_and_when_it_ends(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider(boot_time="500ms")
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        # Nobody lists, and the next look without an event is a minute away: it has to notice by itself.
        await until(lambda: world.wakes == 1, what="a wake for the new instance")
        await until(lambda: world.wakes == 2, what="a wake for the agent that runs")
        os.kill(_agent_of(world, instance_id), signal.SIGKILL)
        await until(lambda: world.wakes == 3, what="a wake for the agent that ended")
        assert (await only(provider)).state is STOPPED
        await provider.close()

    asyncio.run(check())


def test_it_tells_when_an_adopted_agent_ends(world: LocalWorld) -> None:
    """An agent that an earlier provisioner has started is no child of this one."""
    child = os.fork()
    if not child:
        try:
            asyncio.run(launch(world.provider(), "token"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: list(world.pool_directory().glob("live/*/agent")), what="a running agent")

    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        await until(lambda: world.wakes == 1, what="a wake for what was found")
        instance = await only(provider)
        os.kill(_agent_of(world, instance.id), signal.SIGTERM)
        await until(lambda: world.wakes == 2, what="a wake for the agent that ended")
        assert (await only(provider)).detail == "killed by SIGTERM"
        await provider.close()

    asyncio.run(check())


def test_it_tells_a_little_later_of_processes_that_cannot_be_watched(
    world: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are too many of them, or this system has no way to watch one."""
    monkeypatch.setattr("slotsmith.providers.local.watch._MOST_WATCHED", 1)

    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        ids = await launch(provider, "token", 3)
        await until(lambda: all(_agent_of(world, instance_id) for instance_id in ids), what="three agents")
        for instance_id in ids:
            wakes = world.wakes
            os.kill(_agent_of(world, instance_id), signal.SIGKILL)
            await until(lambda wakes=wakes: world.wakes > wakes, what="a wake for the agent that ended")  # type: ignore[misc]
        await until(lambda: not world.pids(), what="an end of all")
        assert {instance.state for instance in await provider.list_instances()} == {STOPPED}
        await provider.close()

    asyncio.run(check())


@pytest.mark.parametrize("start", [start_of, _start_by_ps])
def test_the_start_of_a_process_tells_it_from_others(start: Callable[[int], str | None]) -> None:
    """With and without /proc."""
    with subprocess.Popen(["sleep", "600"]) as process:
        own = start(process.pid)
        assert own
        assert start(process.pid) == own
        assert start(os.getpid()) not in (None, own)
        process.kill()
        # It is a zombie until somebody waits for it, and a zombie does not live.
        wait_until(lambda: start(process.pid) is None, what="an end of the process")
    assert start(process.pid) is None


def test_no_zombie_stays(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider("true")
        await provider.setup()
        await launch(provider, "token", 3)

        def all_reaped() -> bool:
            return not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]

        await until(lambda: world.wakes and all_reaped(), what="an end of all children")
        assert {instance.state for instance in await provider.list_instances()} <= {STARTING, RUNNING, STOPPED}
        await until(lambda: not world.pids() and all_reaped(), what="an end of all children")
        await provider.close()

    asyncio.run(check())


def test_ctrl_c_in_the_provisioners_terminal_does_not_reach_the_agents(world: LocalWorld) -> None:
    child = os.fork()
    if not child:
        try:
            os.setpgid(0, 0)
            # A signal that comes while the loop ends would be lost: the loop takes it, and has nothing to cancel.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            asyncio.run(launch(world.provider(), "token", 2))
            signal.pause()
        finally:
            os._exit(0)
    wait_until(lambda: len(world.pids()) == 4, what="two agents with their supervisors")
    os.killpg(child, signal.SIGINT)
    os.waitpid(child, 0)

    async def check() -> None:
        provider = world.provider()
        assert [instance.state for instance in await provider.list_instances()] == [RUNNING, RUNNING]
        await provider.close()

    asyncio.run(check())


def test_two_tokens_with_a_common_beginning_and_odd_pool_names(world: LocalWorld) -> None:
    async def check() -> None:
        for pool in ("../GPU & co", "gpu-co", "ü"):
            provider = world.provider(LONG, pool=pool)
            await provider.setup()
            first = await launch(provider, "x" * 30 + "1", 2)
            second = await launch(provider, "x" * 30 + "2", 2)
            assert len({*first, *second}) == 4
            assert len(await provider.list_instances()) == 4
            assert all(name.replace("-", "").isalnum() and name.isascii() for name in (*first, *second))
            await provider.close()
        assert sorted(path.parent for path in world.directory.glob("*/live")) == sorted(world.directory.iterdir())
        assert len(list(world.directory.iterdir())) == 3

    asyncio.run(check())


def _status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def _descriptors_of(pid: int) -> dict[str, Path]:
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = path.readlink()
    return found


def _agent_of(world: LocalWorld, instance_id: str) -> int:
    record = world.pool_directory() / "live" / instance_id / "agent"
    return int(json.loads(record.read_bytes())["pid"]) if record.exists() else 0
