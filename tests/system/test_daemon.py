"""`slotsmith run` as its users meet it: several pools, trouble in one of them, and the commands beside it."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from schedulers import dask_tasks
from schedulers.dask_cluster import DaskCluster, DaskProcesses
from slotsmith.cli.demo.cluster import worker_command
from slotsmith.providers.local import find_processes
from slotsmith.provisioner.observer import LIST_DEADLINE, VIEW_DEADLINE
from system.daemon import Daemon, Queue
from waiting import wait_until

UP_AND_DOWN = (4, 1, 3, 0, 4, 2)
LESS_THAN_A_HANG = 0.9 * min(LIST_DEADLINE, VIEW_DEADLINE)
"""Seconds: whoever waits for a call of another pool that hangs waits longer. It takes a fraction of one."""


def check_it_follows(queue: Queue, daemon: Daemon) -> None:
    """Change the demand some times; each time the fleet follows sooner than a call that hangs is given up."""
    for demand in UP_AND_DOWN:
        queue.demand(demand)
        wait_until(
            lambda: len(queue.live()) == demand,  # noqa: B023
            timeout=LESS_THAN_A_HANG,
            what=f"{demand} agents\n{daemon.log()}",
        )


@contextmanager
def nothing_there() -> Iterator[str]:
    """An address that nobody listens at."""
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{holder.getsockname()[1]}"


@contextmanager
def silence() -> Iterator[str]:
    """An address where connections are taken, and nothing is ever said."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def dask_pool(name: str, address: str, command: str = "sleep 600", **settings: Any) -> dict[str, Any]:
    return {
        "name": name,
        "scheduler": {"type": "dask", "address": address},
        "provider": {"type": "local", "command": command, "slots": 2, "stop_grace": "2s"},
        **settings,
    }


def hanging_pool(queue: Queue, name: str, gate: Path, **settings: Any) -> dict[str, Any]:
    pool = queue.pool(name, **settings)
    pool["provider"] |= {"type": "hanging", "gate": str(gate)}
    return pool


@pytest.mark.parametrize("place", [nothing_there, silence])
def test_i12_an_unreachable_scheduler_is_its_own_pools_trouble(tmp_path: Path, place: Any) -> None:
    queue = Queue(tmp_path / "queue")
    with silence() as mute, place() as address, Daemon(tmp_path) as daemon:
        hangs = dask_pool("hangs", mute)
        hangs["scheduler"]["connect_timeout"] = "10m"
        daemon.configure(dask_pool("lost", address), hangs, queue.pool("good"))
        daemon.start()
        check_it_follows(queue, daemon)
        wait_until(lambda: "reading the scheduler fails" in daemon.log(), what="a complaint")
        check_it_follows(queue, daemon)

        report = daemon.report("lost")
        assert report["daemon"]["alive"] is True
        assert f"cannot reach the Dask scheduler at {address}" in report["summary"]["scheduler"]["error"]
        for command in ("status", "explain"):
            said = daemon.look(command)
            assert said.returncode == 0
            assert f"scheduler: cannot reach the Dask scheduler at {address}" in said.stdout

        def good() -> tuple[object, ...]:
            summary = daemon.report("good")["summary"]
            return summary["scheduler"]["ok"], summary["provider"]["ok"], summary["counts"]

        wait_until(lambda: good() == (True, True, {"running": 2}), what="a good pool with two agents")

        agents = daemon.instances()
        daemon.stop(LESS_THAN_A_HANG)
        # One that was being given up may have gone meanwhile; all that are signed in still run, and no others do.
        assert set(queue.live()) <= daemon.instances() <= agents
        assert "Traceback" not in daemon.log()


def test_i12_a_hanging_provider_is_its_own_pools_trouble_and_served_when_it_answers(tmp_path: Path) -> None:
    queue, other, gate = Queue(tmp_path / "queue"), Queue(tmp_path / "other"), tmp_path / "gate"
    with Daemon(tmp_path, hanging_pool(other, "hung", gate), queue.pool("good")) as daemon:
        other.demand(2)
        daemon.start()
        check_it_follows(queue, daemon)
        wait_until(lambda: daemon.report("hung")["daemon"]["alive"], what="a sign of life")
        for command in ("status", "explain"):
            assert "provider: it has not answered yet" in daemon.look(command).stdout
        agents = daemon.instances()
        daemon.stop(LESS_THAN_A_HANG)
        # One that was being given up may have gone meanwhile; all that are signed in still run, and no others do.
        assert set(queue.live()) <= daemon.instances() <= agents

        daemon.start()
        check_it_follows(queue, daemon)
        assert other.live() == []
        gate.touch()
        wait_until(lambda: len(other.live()) == 2, what=f"agents of the other pool\n{daemon.log()}")

        # Now it hangs while there is something to end, and something to list.
        gate.unlink()
        other.demand(0)
        check_it_follows(queue, daemon)
        agents = daemon.instances()
        daemon.stop(LESS_THAN_A_HANG)
        # One that was being given up may have gone meanwhile; all that are signed in still run, and no others do.
        assert set(queue.live()) <= daemon.instances() <= agents
        assert "Traceback" not in daemon.log()


def test_a_pool_whose_scheduler_comes_back_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(dask_tasks.__file__).parents[1]))  # where agents find the tasks
    queue = Queue(tmp_path / "queue")
    with DaskProcesses() as processes:
        cluster = DaskCluster(processes, tmp_path, config={})
        periods = {"max_idle_agent_period": "1s", "max_instances": 2}
        pool = dask_pool("dask", cluster.address, worker_command(cluster.address, tmp_path), **periods)
        with Daemon(tmp_path, pool, queue.pool("good")) as daemon:
            daemon.start()
            wait_until(lambda: "reading the scheduler fails" in daemon.log(), what="a complaint")
            check_it_follows(queue, daemon)
            with cluster:
                assert asyncio.run(squares(cluster, 40)) == [number * number for number in range(40)]
            # It was lost with agents at work, and what comes now is a new one that knows of nothing.
            with cluster:
                assert asyncio.run(squares(cluster, 40)) == [number * number for number in range(40)]
                wait_until(lambda: not agents_of(daemon, "dask"), what=f"their end\n{daemon.log()}")
            check_it_follows(queue, daemon)
            daemon.stop(LESS_THAN_A_HANG)
            assert "Traceback" not in daemon.log()


async def squares(cluster: DaskCluster, tasks: int) -> list[int]:
    async with cluster.client() as client:
        results: list[int] = await client.gather(client.map(dask_tasks.square, range(tasks), resources={"slot": 1}))
        return results


def agents_of(daemon: Daemon, pool: str) -> set[str]:
    return {process.instance_id for process in find_processes(state_dir=daemon.directory, pool=pool)}


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[Daemon, Queue]]:
    """A daemon with one pool: two agents at work, and one that has been idle and stays for long."""
    queue = Queue(tmp_path / "queue")
    with Daemon(tmp_path, queue.pool("p", max_idle_agent_period="1h", max_instances=4)) as daemon:
        daemon.start()
        for demand, agents in ((3, 3), (2, 3)):
            queue.demand(demand)
            wait_until(lambda: len(queue.live()) == agents, what=f"{agents} agents\n{daemon.log()}")  # noqa: B023

        def known() -> bool:
            """Whether the daemon has the news: what agents do comes with the view, the counts with the listing."""
            summary = daemon.report("p")["summary"]  # there is none for its first half second
            doing = [each["agent"] for each in summary["instances"]] if summary else []
            return sorted(doing) == ["busy", "busy", "idle"] and summary["counts"] == {"running": 3}

        wait_until(known, what=f"two at work and one idle\n{daemon.log()}")
        yield daemon, queue


def dump(daemon: Daemon) -> list[str]:
    """All that stands in the store."""
    with closing(sqlite3.connect(f"file:{daemon.directory}/books.db?mode=ro", uri=True)) as database:
        return list(database.iterdump())


def test_what_the_commands_say_while_it_runs(at_work: tuple[Daemon, Queue]) -> None:
    daemon, queue = at_work
    ids = queue.live()
    report = daemon.report("p")
    assert report["daemon"]["alive"]
    assert sorted(each["id"] for each in report["summary"]["instances"]) == ids
    assert (report["summary"]["counts"], report["summary"]["unmet"]) == ({"running": 3}, [])

    shown = daemon.look("status").stdout
    assert all(name in shown for name in ids)
    assert "2 busy, 1 idle" in shown

    told = daemon.look("explain", "p").stdout
    assert told.count("its agent works") == 2
    assert "its agent has been idle for" in told
    assert f"terminate {ids[2]} (long idle)" in told  # what comes next; the first two by name are at work
    assert "(pending tasks need 3 " in told  # why they were launched

    queue.demand(6)
    wait_until(lambda: daemon.report("p")["summary"]["unmet"], what="something unmet")
    assert "unmet: 2 tasks of 1 slot: the pool is at its maximum of 4 instances" in daemon.look("status").stdout


def test_a_second_daemon_on_the_same_store_is_refused(at_work: tuple[Daemon, Queue]) -> None:
    daemon, queue = at_work
    assert daemon.process is not None
    for arguments in (("run",), ("down", "p"), ("adopt", "p")):
        said = daemon.command(*arguments)
        assert (said.returncode, said.stdout) == (1, "")
        (line,) = said.stderr.splitlines()
        assert f"another slotsmith (pid {daemon.process.pid}) works on this store" in line
    queue.demand(4)
    wait_until(lambda: len(queue.live()) == 4, what="that the first one goes on")


def test_a_dry_run_changes_nothing(at_work: tuple[Daemon, Queue]) -> None:
    daemon, queue = at_work
    before = queue.live()
    said = daemon.command("run", "--dry-run")  # beside a daemon
    assert said.returncode == 0
    assert "the pool is as it should be" in said.stdout
    daemon.stop(LESS_THAN_A_HANG)
    assert queue.live() == before

    queue.demand(6)
    stands, running = dump(daemon), daemon.processes()
    said = daemon.command("run", "--dry-run", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    (report,) = json.loads(said.stdout)["pools"]
    assert [(each["count"], each["offering"]) for each in report["launch"]] == [(1, "local/on-demand")]
    assert report["unmet"][0]["count"] == 2
    assert (dump(daemon), daemon.processes(), queue.live()) == (stands, running, before)


def test_a_dry_run_before_the_first_run_leaves_no_file(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue")
    with Daemon(tmp_path, queue.pool("p")) as daemon:
        queue.demand(2)
        before = files(tmp_path)
        said = daemon.command("run", "--dry-run")
        assert said.returncode == 0
        assert "launch" in said.stdout
        assert files(tmp_path) == before


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if not path.is_dir())


def test_down_waits_for_work_and_ends_everything(at_work: tuple[Daemon, Queue]) -> None:
    daemon, queue = at_work
    busy = queue.live()[:2]
    daemon.stop(LESS_THAN_A_HANG)
    ending = daemon.begin("down", "p")
    try:
        wait_until(lambda: queue.live() == busy, what="the end of the idle agent")
        assert ending.poll() is None
        queue.demand(0)
        out, err = ending.communicate(timeout=60)
    finally:
        ending.kill()
    assert (ending.returncode, out) == (0, "3 instances terminated\n"), err
    assert (daemon.processes(), queue.live()) == (set(), [])
    assert daemon.report("p")["summary"]["instances"] == []


def test_down_by_force_does_not_wait(at_work: tuple[Daemon, Queue]) -> None:
    daemon, queue = at_work
    daemon.kill()  # and so it needs no clean end before
    said = daemon.command("down", "--force")
    assert (said.returncode, said.stdout) == (0, "3 instances terminated\n"), said.stderr
    assert (daemon.processes(), queue.live()) == (set(), [])
    again = daemon.command("down")
    assert (again.returncode, again.stdout) == (0, "0 instances terminated\n")
