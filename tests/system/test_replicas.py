"""Two replicas and a real PostgreSQL: who leads, what the other one answers, and what becomes of a crash."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from postgres import Server
from providers.aws.ec2_world import World
from slotsmith.providers.local import find_processes
from slotsmith.store.sql import open_store
from system.cloud_pool import ec2_provider
from system.daemon import Queue
from system.replicas import PATIENCE, Replica, Replicas
from waiting import wait_until

MOST = 4


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    with postgres.database() as name:
        yield name


@pytest.fixture
def url(postgres: Server, database: str) -> str:
    return postgres.url(database)


def pushed(directory: Path) -> dict[str, object]:
    """A pool whose scheduler pushes."""
    return {
        "name": "p",
        "scheduler": {"type": "push"},
        "provider": {"type": "local", "command": "sleep 600", "slots": 1},
        "max_instances": MOST,
        "max_idle_agent_period": "300ms",
    }


def test_a_standby_answers_and_sends_on(tmp_path: Path, url: str) -> None:
    with Replicas(tmp_path, url, pushed(tmp_path)) as replicas:
        first = replicas.start()
        first.wait("leader")
        second = replicas.start()
        second.wait("standby")
        assert second.health()["leader"] == str(first.client.base_url).rstrip("/")

        # A push and a change go to the leader; what can be read is read here.
        view = {"sequence": 1, "tasks": [{"resources": {"slots": 1}, "count": 2}]}
        answer = second.client.put("/api/v1/pools/p/scaling-info", json=view)
        assert (answer.status_code, answer.json()["status"]) == (200, "new"), answer.text
        assert answer.headers["ETag"] == first.client.get("/api/v1/pools/p/scaling-info").headers["ETag"]
        assert second.get("/pools/p/scaling-info")["sequence"] == 1
        wait_until(lambda: second.get("/pools/p/instances")["total"] == 2, timeout=PATIENCE, what="two instances")
        head = wait_until(
            lambda: (told := second.get("/pools/p"))["instances"] == {"running": 2} and told,
            timeout=PATIENCE,
            what="a summary",
        )
        assert (head["slots_per_instance"], head["current_slot_count"], head["max_instances"]) == (1, 2, MOST)
        answer = second.client.post("/api/v1/pools/p/pause", json={"why": "a test"})
        assert answer.json() == {"done": True}
        assert first.get("/actions")["actions"][0]["what"] == "pause"
        assert second.get("/actions") == first.get("/actions")
        # What is wrong is told by whoever knows.
        wrong = second.client.put("/api/v1/pools/p/scaling-info", json={"tasks": [{"count": 0}]})
        assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "tasks[0].count")
        assert second.client.get("/api/v1/pools/p/explain").status_code == 200
        with second.client.stream("GET", "/api/v1/events") as events:
            assert next(events.iter_lines()).startswith("retry:")
        assert second.client.get("/pools/p").status_code == 200

        # A clean stop hands over at once, and what was set by hand stays.
        first.stop()
        second.wait("leader")
        wait_until(lambda: second.get("/pools/p")["paused"], timeout=PATIENCE, what="the pause")
        second.stop()
    with open_store(url, read_only=True) as store:
        assert len(store.spans("p", 0, time.time())) == 2


def agents(directory: Path) -> list[tuple[str, str]]:
    """Instance and token of every agent that runs."""
    return [(each.instance_id, each.token) for each in find_processes(state_dir=directory) if _is_agent(each.pid)]


def _is_agent(pid: int) -> bool:
    try:
        return psutil.Process(pid).cmdline()[:1] == ["sh"]
    except (psutil.Error, IndexError):
        return False


class LocalFleet:
    """Agents on this machine."""

    most = MOST

    def __init__(self, directory: Path) -> None:
        self.queue = Queue(directory)
        self._directory = directory

    def pool(self) -> dict[str, Any]:
        return self.queue.pool("p", max_instances=self.most)

    def running(self) -> list[tuple[str, str]]:
        return agents(self._directory)


class Ec2Fleet:
    """Instances of an EC2 of the tests, which sign in as agents whenever they are looked at."""

    # EC2 forgets what has ended only after a while, and until then it fills the pool.
    most = 500

    def __init__(self, directory: Path, world: World) -> None:
        self.queue = Queue(directory)
        self._world = world
        self._provider = ec2_provider(world, directory)

    def pool(self) -> dict[str, Any]:
        return {**self.queue.pool("p", max_instances=self.most), "provider": self._provider}

    def running(self) -> list[tuple[str, str]]:
        ec2 = self._world.ec2
        found = {one.id: one for one in ec2.alive}
        for name in set(self.queue.live()) - found.keys():
            (self.queue.agents / name).unlink()
        for name, one in found.items():
            if ec2.state(one) == "running":
                (self.queue.agents / name).touch()
        assert all(one.tags["slotsmith-pool"] == "p" for one in found.values())
        return [(name, one.tags["slotsmith-intent"]) for name, one in found.items()]


def asked(postgres: Server, database: str) -> dict[str, int]:
    """Every launch on record: how many instances were asked for, by token."""
    return dict(postgres.sql("SELECT token, asked FROM intents", database))


def check(fleet: LocalFleet | Ec2Fleet, postgres: Server, database: str) -> None:
    """No instance runs twice, no intent has more than it asked for, and nothing runs that is not on record."""
    found = fleet.running()
    twice = {name: count for name, count in Counter(name for name, _ in found).items() if count > 1}
    assert not twice, f"instances with two agents: {twice}"
    on_record = asked(postgres, database)
    for token, count in Counter(token for _, token in found).items():
        assert count <= on_record.get(token, 0), f"{token} has {count}, and on record is {on_record.get(token)}"
    assert len(found) <= fleet.most, f"{len(found)} agents, above the maximum"


def check_statistics(postgres: Server, database: str) -> None:
    """When all is over: one closed span for each instance that there ever was, none of them overlapping itself."""
    spans = postgres.sql("SELECT instance_id, started_at, ended_at FROM spans", database)
    known = {name for (name,) in postgres.sql("SELECT id FROM instances", database)}
    assert {name for name, _, _ in spans} == known
    assert all(end is not None and end >= start for _, start, end in spans)
    assert len({name for name, _, _ in spans}) == len(spans)
    granted = postgres.sql("SELECT coalesce(sum(granted), 0) FROM intents WHERE state = 'closed'", database)[0][0]
    assert granted == len(known)


def play(
    fleet: LocalFleet | Ec2Fleet, directory: Path, postgres: Server, database: str, *, runs: int, seed: int
) -> tuple[Counter[str], list[float]]:
    """Kill or stop the leader under load, `runs` times; what happened, and how long it took until the other one led."""
    chance, seen, times = random.Random(seed), Counter[str](), list[float]()
    with Replicas(directory, postgres.url(database), fleet.pool()) as replicas:
        leader, standby = replicas.start(), replicas.start()
        for run in range(runs):
            wait_until(leader.leads, timeout=PATIENCE, what=f"a leader\n{leader.log()}")
            standby.wait("standby")
            _load(fleet, chance)
            check(fleet, postgres, database)
            how = ("killed", "stopped")[run % 2]
            began = time.monotonic()
            leader.kill() if how == "killed" else leader.pause()
            wait_until(standby.leads, timeout=PATIENCE, what=f"a takeover\n{standby.log()}")
            times.append(time.monotonic() - began)
            _load(fleet, chance)
            if how == "killed":
                other = replicas.start()
            else:
                other = leader
                other.go_on()
                other.wait("standby")
            check(fleet, postgres, database)
            seen[how] += 1
            leader, standby = standby, other
        fleet.queue.demand(0)
        wait_until(lambda: not fleet.running(), timeout=PATIENCE, what=f"an empty fleet\n{leader.log()}")
        settle(leader)
        leader.stop()
        standby.stop()
    check_statistics(postgres, database)
    seen["launches"] = len(asked(postgres, database))
    return seen, times


def _load(fleet: LocalFleet | Ec2Fleet, chance: random.Random) -> None:
    """Demand that goes up and down, for a moment; not a wait for anything."""
    end = time.monotonic() + chance.uniform(0.1, 1.5)
    while time.monotonic() < end:
        fleet.queue.demand(chance.randint(0, MOST + 2))
        fleet.running()
        time.sleep(0.03)


def settle(leader: Replica) -> None:
    def empty() -> bool:
        told = leader.get("/pools/p")
        return not told["instances"] and not told["in_flight"]

    wait_until(empty, timeout=3 * PATIENCE, what="an empty pool")


def test_i3_leaders_killed_and_stopped_under_load(tmp_path: Path, postgres: Server, database: str) -> None:
    seen, times = play(LocalFleet(tmp_path), tmp_path, postgres, database, runs=2, seed=1)
    assert (seen["killed"], seen["stopped"], len(times)) == (1, 1, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600 * 3)
@pytest.mark.parametrize("cloud", ["local", "ec2"])
def test_i3_a_hundred_leaders_killed_and_stopped(
    tmp_path: Path, postgres: Server, database: str, capsys: pytest.CaptureFixture[str], runs: int, cloud: str
) -> None:
    with closing(World(tmp_path)) as world:
        fleet = LocalFleet(tmp_path) if cloud == "local" else Ec2Fleet(tmp_path, world)
        seen, times = play(fleet, tmp_path, postgres, database, runs=runs, seed=2)
    times.sort()
    with capsys.disabled():
        middle, late = times[len(times) // 2], times[int(len(times) * 0.95)]
        print(f"\n{dict(seen)}; until another led: {times[0]:.1f} to {times[-1]:.1f} s, {middle:.1f} in the middle")
        print(f"95 % within {late:.1f} s")
    assert seen["killed"] + seen["stopped"] == runs


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--leaders"))
