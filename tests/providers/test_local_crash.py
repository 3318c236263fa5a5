"""`kill -9` of whoever launches, at any moment: one token never has two processes of one instance."""

import asyncio
import fcntl
import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from providers.local_world import LocalWorld, all_gone, launch
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.local import find_processes
from waiting import until, wait_until

COUNT = 3
# Every start of an agent leaves a line, so that a second one is seen even when it has ended meanwhile.
AGENT = """sh -c 'echo {{instance_id}} >> "{starts}"; exec sleep 600'"""


class _Crashes:
    def __init__(self, world: LocalWorld, directory: Path) -> None:
        self.world = world
        self.starts = directory / "starts"
        self.starts.touch()
        self.command = AGENT.format(starts=self.starts)

    def launcher(self, token: str, *, die_before: int | None = None) -> int:
        """Start a process that launches; returns its pid. It waits to be killed, or dies before its n-th step."""
        child = os.fork()
        if child:
            return child
        try:
            provider = self.world.provider(self.command)
            if die_before:
                _die_before(die_before)
            asyncio.run(launch(provider, token, COUNT))
            if not die_before:
                signal.pause()
            os._exit(0)
        finally:
            os._exit(1)

    def relaunch(self, token: str) -> None:
        """A new provisioner finishes what the killed one began; then all is counted, and ended."""

        async def check() -> None:
            provider = self.world.provider(self.command)
            await provider.setup()
            ids = await launch(provider, token, COUNT)
            assert len(set(ids)) == COUNT

            async def running() -> bool:
                listed = await provider.list_instances()
                return [instance.state for instance in listed] == [InstanceState.RUNNING] * COUNT

            await until(running, what="agents")
            assert {instance.id for instance in await provider.list_instances()} == set(ids)
            # A supervisor and its agent each; late supervisors of the killed launcher have found them and left.
            await until(lambda: self._live() == dict.fromkeys(ids, 2), what="nothing but supervisors and agents")
            assert await provider.terminate(ids) == {}
            await all_gone(provider)
            await provider.close()

        asyncio.run(check())
        wait_until(lambda: not self._live(), what="an end of everything")
        self.check_starts()

    def check_starts(self) -> None:
        starts = Counter(self.starts.read_text().split())
        assert not {instance_id: count for instance_id, count in starts.items() if count > 1}

    def _live(self) -> dict[str, int]:
        return dict(Counter(process.instance_id for process in find_processes(state_dir=self.world.directory)))


@pytest.fixture
def crashes(world: LocalWorld, tmp_path: Path) -> _Crashes:
    return _Crashes(world, tmp_path)


def _rounds(crashes: _Crashes, rounds: range) -> None:
    for number in rounds:
        chance = random.Random(number)
        token = f"token-{number}"
        # Several in a row, as a daemon that is killed again while it recovers.
        for _ in range(chance.choice([1, 1, 2])):
            child = crashes.launcher(token)
            time.sleep(chance.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        crashes.relaunch(token)


def test_a_launcher_killed_at_any_moment_leaves_no_second_process(crashes: _Crashes) -> None:
    _rounds(crashes, range(20))


@pytest.mark.slow
def test_a_launcher_killed_at_any_moment_many_times(crashes: _Crashes) -> None:
    _rounds(crashes, range(1000, 1400))


def test_a_launcher_killed_before_each_of_its_steps(crashes: _Crashes) -> None:
    """One after the other, until it gets through."""
    step = status = 0
    while not step or os.WIFSIGNALED(status):
        step += 1
        child = crashes.launcher(f"step-{step}", die_before=step)
        status = os.waitpid(child, 0)[1]
        crashes.relaunch(f"step-{step}")
    assert os.waitstatus_to_exitcode(status) == 0
    # At least a directory and a process for each instance.
    assert step > 2 * COUNT


def _die_before(step: int) -> None:
    """Kill this process just before its n-th opened file, made directory or other audited call of the system."""
    steps = itertools.count(1)

    def hook(event: str, _: tuple[Any, ...]) -> None:
        if (event == "open" or event.startswith("os.")) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_a_launch_waits_for_another_supervisor_that_has_the_lock(crashes: _Crashes) -> None:
    """Should that one die before it has claimed the instance, the next one takes it; until then nobody may end it."""

    async def check() -> None:
        provider = crashes.world.provider(crashes.command)
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        await provider.terminate([instance_id])
        await all_gone(provider)
        directory = crashes.world.pool_directory() / "live" / instance_id
        # As if it had never been: what a launcher leaves that dies just before it starts the supervisor.
        shutil.rmtree(crashes.world.pool_directory() / "gone" / instance_id)
        directory.mkdir()
        crashes.starts.write_text("")
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            attempt = asyncio.ensure_future(launch(provider, "token"))
            failures = await provider.terminate([instance_id])
            assert failures[instance_id].kind is ErrorKind.TRANSIENT
            assert await provider.list_instances() == []
            done, _ = await asyncio.wait([attempt], timeout=0.1)
            assert not done
        assert await attempt == (instance_id,)
        await until(crashes.starts.read_text, what="the agent")
        await provider.close()

    asyncio.run(check())
    crashes.check_starts()


def test_supervisors_killed_at_any_moment_start_no_agent_twice(crashes: _Crashes) -> None:
    """What was killed is stopped or goes on without its supervisor; none of it is started again, and all of it ends."""

    async def check() -> None:
        chance = random.Random(1)
        provider = crashes.world.provider(crashes.command)
        await provider.setup()
        launched: list[str] = []
        for number in range(12):
            attempt = asyncio.ensure_future(launch(provider, f"token-{number}", COUNT))
            await asyncio.sleep(chance.uniform(0, 0.05))
            for process in find_processes(state_dir=crashes.world.directory):
                if process.token == f"token-{number}" and chance.random() < 0.5:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            ids = await attempt
            assert await launch(provider, f"token-{number}", COUNT) == ids
            assert len(set(ids)) == COUNT
            launched.extend(ids)
        listed = {instance.id: instance for instance in await provider.list_instances()}
        assert sorted(listed) == sorted(launched)
        for process in find_processes(state_dir=crashes.world.directory):
            assert listed[process.instance_id].token == process.token
        assert await provider.terminate(launched) == {}
        await all_gone(provider)
        assert crashes.world.pids() == []
        await provider.close()

    asyncio.run(check())
    crashes.check_starts()
