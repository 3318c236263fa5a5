"""`kill -9` of a running daemon, at any moment, under load: no double launch, nothing lost, demand met."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from slotsmith.providers.local import find_processes
from waiting import wait_until

PLUGIN = Path(__file__).parent / "plugin"
MOST = 6
AGENT = (
    "trap 'rm -f {agents}/$SLOTSMITH_INSTANCE_ID; exit 0' TERM; "
    "touch {agents}/$SLOTSMITH_INSTANCE_ID; while :; do sleep 100 & wait; done"
)


class Daemon:
    """`slotsmith run` on a queue in a file, to be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agents = directory / "agents"
        self.agents.mkdir()
        self.demand(0)
        agent = json.dumps(AGENT.format(agents=self.agents))
        command = f"sh -c {agent}"
        config = {
            "store": {"url": f"sqlite:///{directory}/books.db"},
            "pools": [
                {
                    "name": "p",
                    "scheduler": {"type": "filequeue", "directory": str(directory)},
                    "provider": {"type": "local", "command": command, "slots": 1, "stop_grace": "2s"},
                    "max_instances": MOST,
                    "max_idle_agent_period": "300ms",
                    "max_agent_starting_period": "30s",
                    "max_agent_disconnect_period": "30s",
                }
            ],
        }
        (directory / "slotsmith.yaml").write_text(json.dumps(config))
        self.process: subprocess.Popen[bytes] | None = None

    def demand(self, tasks: int) -> None:
        """Set the number of tasks in the queue."""
        new = self.directory / "tasks.new"
        new.write_text(str(tasks))
        new.rename(self.directory / "tasks.json")

    def start(self) -> None:
        path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slotsmith", "run", "--config", "slotsmith.yaml"],
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": path},
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(30) == 0

    def live(self) -> list[str]:
        return sorted(path.name for path in self.agents.iterdir())

    def log(self) -> str:
        return (self.directory / "log").read_text()[-4000:]

    def intents(self) -> dict[str, int]:
        """Every launch on record: how many instances were asked for, by token."""
        file = self.directory / "books.db"
        if not file.exists():
            return {}
        with closing(sqlite3.connect(file)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'intents'").fetchone():
                return {}
            return dict(database.execute("SELECT token, asked FROM intents"))

    def check(self) -> None:
        """No instance runs twice, no intent has more than it asked for, and nothing runs that is not on record."""
        processes = find_processes(state_dir=self.directory)
        agents = [process for process in processes if _is_agent(process.pid)]
        twice = {name: count for name, count in Counter(agent.instance_id for agent in agents).items() if count > 1}
        assert not twice, f"instances with two agents: {twice}"
        intents = self.intents()
        unknown = {process.token for process in processes} - intents.keys()
        assert not unknown, f"tokens that are not on record: {unknown}"
        for token, count in Counter(agent.token for agent in agents).items():
            assert count <= intents[token], f"{token} asked for {intents[token]} and has {count}"


def _is_agent(pid: int) -> bool:
    try:
        return psutil.Process(pid).cmdline()[:1] == ["sh"]
    except (psutil.Error, IndexError):
        return False


def _play(directory: Path, kills: int, seed: int) -> Counter[str]:
    chance, seen = random.Random(seed), Counter[str]()
    daemon = Daemon(directory)
    try:
        for _ in range(kills):
            wanted = chance.randint(1, MOST)
            daemon.demand(wanted)
            daemon.start()
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 1.0))  # somewhere in the start, with whatever the last kill left
                seen["killed while starting"] += 1
            else:
                wait_until(lambda: len(daemon.live()) == wanted, timeout=60, what=f"{wanted} agents\n{daemon.log()}")  # noqa: B023
                seen["demand met"] += 1
                daemon.check()
                end = time.monotonic() + chance.uniform(0.0, 1.5)
                while time.monotonic() < end:
                    daemon.demand(chance.randint(0, MOST + 2))
                    time.sleep(0.03)  # the load: not a wait for anything
                seen["killed under load"] += 1
            daemon.kill()
            daemon.check()
        daemon.demand(0)
        daemon.start()
        wait_until(lambda: not find_processes(state_dir=directory), timeout=60, what="an empty fleet")
        daemon.stop()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        for process in find_processes(state_dir=directory):
            os.kill(process.pid, signal.SIGKILL)
    seen["intents"] = len(daemon.intents())
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
