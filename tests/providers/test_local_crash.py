"""`kill -9` of whoever launches, at any moment: one token never has two processes of one instance."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from providers.local_world import LocalWorld, all_gone, launch
from waiting import until, wait_until

from slotsmith.model.instance import InstanceState
from slotsmith.providers.local import find_processes

COUNT = 3
# Every start of an agent leaves a line, so that a second one is seen even when it has ended meanwhile.
AGENT = """sh -c 'echo {{instance_id}} >> "{starts}"; exec sleep 600'"""


class _Crashes:
    def __init__(self, world: LocalWorld, directory: Path) -> None:
        self.world = world
        self.starts = directory / "starts"
        self.starts.touch()
        self.command = AGENT.format(starts=self.starts)

    def launcher(self, token: str, *, before: Callable[[], None] = lambda: None) -> int:
        """Start a process that launches, and then waits to be killed; returns its pid."""
        child = os.fork()
        if child:
            return child
        try:
            provider = self.world.provider(self.command)
            before()
            asyncio.run(launch(provider, token, COUNT))
            signal.pause()
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
    """Before every file operation and every start of a process that it does on its own, one after the other."""
    step = 0
    while True:
        step += 1
        token = f"step-{step}"
        read, write = os.pipe()
        child = crashes.launcher(token, before=lambda step=step: _die_before(step, crashes, write))  # type: ignore[misc]
        os.close(write)
        # Either it has died before its step, or it has told that it got through without one.
        got_through = wait_until(lambda: _ended(child) or crashes_done(crashes, token), what="an end of the launcher")
        os.close(read)
        if got_through == "done":
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        crashes.relaunch(token)
        if got_through == "done":
            break
    assert step > 10
