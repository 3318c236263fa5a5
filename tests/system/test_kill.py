"""`kill -9` of a running daemon, at any moment, under load: no double launch, nothing lost, demand met."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from slotsmith.providers.local import find_processes
from system.daemon import Daemon, Queue
from waiting import wait_until

MOST = 6


def intents(daemon: Daemon) -> dict[str, int]:
    """Every launch on record: how many instances were asked for, by token."""
    file = daemon.directory / "books.db"
    if not file.exists():
        return {}
    with closing(sqlite3.connect(file)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'intents'").fetchone():
            return {}
        return dict(database.execute("SELECT token, asked FROM intents"))


def check(daemon: Daemon) -> None:
    """No instance runs twice, no intent has more than it asked for, and nothing runs that is not on record."""
    processes = find_processes(state_dir=daemon.directory)
    agents = [process for process in processes if _is_agent(process.pid)]
    twice = {name: count for name, count in Counter(agent.instance_id for agent in agents).items() if count > 1}
    assert not twice, f"instances with two agents: {twice}"
    on_record = intents(daemon)
    unknown = {process.token for process in processes} - on_record.keys()
    assert not unknown, f"tokens that are not on record: {unknown}"
    for token, count in Counter(agent.token for agent in agents).items():
        assert count <= on_record[token], f"{token} asked for {on_record[token]} and has {count}"


def _is_agent(pid: int) -> bool:
    try:
        return psutil.Process(pid).cmdline()[:1] == ["sh"]
    except (psutil.Error, IndexError):
        return False


def _play(directory: Path, kills: int, seed: int) -> Counter[str]:
    chance, seen = random.Random(seed), Counter[str]()
    queue = Queue(directory)
    with Daemon(directory, queue.pool("p", max_instances=MOST)) as daemon:
        for _ in range(kills):
            wanted = chance.randint(1, MOST)
            queue.demand(wanted)
            daemon.start()
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 1.0))  # somewhere in the start, with whatever the last kill left
                seen["killed while starting"] += 1
            else:
                wait_until(lambda: len(queue.live()) == wanted, what=f"{wanted} agents\n{daemon.log()}")  # noqa: B023
                seen["demand met"] += 1
                check(daemon)
                end = time.monotonic() + chance.uniform(0.0, 1.5)
                while time.monotonic() < end:
                    queue.demand(chance.randint(0, MOST + 2))
                    time.sleep(0.03)  # the load: not a wait for anything
                seen["killed under load"] += 1
            daemon.kill()
            check(daemon)
        queue.demand(0)
        daemon.start()
        wait_until(lambda: not daemon.processes(), what="an empty fleet")
        daemon.stop()
        seen["intents"] = len(intents(daemon))
    return seen


def test_i3_killed_at_random_moments_it_never_launches_twice(tmp_path: Path) -> None:
    seen = _play(tmp_path, kills=8, seed=1)
    assert seen["killed while starting"] + seen["killed under load"] == 8
    assert seen["demand met"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_i3_two_hundred_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = _play(tmp_path, kills=200, seed=2)
    with capsys.disabled():
        print(f"\n200 kills: {dict(seen)}")
    assert seen["demand met"] > 100
