"""What is shown for schedulers that slotsmith does not know works as it is shown."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import celery_view
import pytest
import spool
from celery import Celery
from celery.contrib.testing.worker import start_worker

from docs.pages import EXAMPLES, blocks, page, section
from slotsmith.clock import SystemClock
from slotsmith.config import read_config
from slotsmith.config.assembly import Assembly
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.schedulers.base import DrainOutcome, SchedulerContext, SchedulerError
from slotsmith.schedulers.polled.url import HttpScheduler, HttpSettings
from slotsmith.store.sql import open_store
from waiting import until, wait_until

PAGE = page("docs/connectors.md")
CONTEXT = SchedulerContext("one", SystemClock(), lambda: None)
LONG = 60.0


# A program that is run: jobs at times of the day


def test_the_timetable_runs_on_agents_that_come_for_it_and_go(tmp_path: Path) -> None:
    """The whole way, with the configuration of the page, a real pool and real processes."""
    (tmp_path / "timetable").write_text(
        "# when slots what\n00:00 1 echo one >> {0}\n00:00 2 echo two >> {0}\n00:00 1 echo three >> {0}\n"
        "24:00 1 echo never >> {0}\n".format(tmp_path / "ran")
    )
    (shown,) = blocks(section(PAGE, "## A program that is run").partition("###")[0], "yaml")
    text = shown.text.replace("python3 timetable.py", f"{sys.executable} {EXAMPLES / 'timetable.py'}")
    text = text.replace("/srv/night", str(tmp_path)).replace("1m", "300ms").replace("2s", "100ms")
    config = read_config(f"store: {{url: 'sqlite:///{tmp_path}/books.db'}}\n{text}", "slotsmith.yaml")

    async def scenario() -> None:
        with open_store(config.store.url) as store, Assembly(config, store) as assembly:
            pool = assembly.provisioner(config.pools[0])
            running = asyncio.create_task(pool.run())
            try:
                await until((tmp_path / "ran").exists, timeout=LONG)
                await until(lambda: len((tmp_path / "ran").read_text().split()) == 3, timeout=LONG)
                await until(lambda: pool.agents and all(agent.idle for agent in pool.agents), timeout=LONG)
                await until(lambda: not pool.instances, timeout=LONG)
            finally:
                await pool.down(force=True)
                pool.stop()
                await running
                await pool.close()

    asyncio.run(scenario())
    assert sorted((tmp_path / "ran").read_text().split()) == ["one", "three", "two"]
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(state["done"]) == 3


def timetable(directory: Path, what: str, given: object = None) -> object:
    """What the program prints."""
    command = [sys.executable, EXAMPLES / "timetable.py", directory, what]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_closed_agent_of_the_timetable_takes_no_job(tmp_path: Path) -> None:
    (tmp_path / "timetable").write_text("00:00 1 true\n")
    agent = {"open": True, "job": None, "uses": 0, "taken": 0, "slots": 2, "seen": SystemClock().now() + 1000}
    busy = {**agent, "job": "00:00 1 x", "uses": 1}
    (tmp_path / "state.json").write_text(json.dumps({"agents": {"idle": agent, "busy": busy}, "done": {}}))
    asked = {"drain": ["idle", "busy", "gone"], "when_done": False}
    assert timetable(tmp_path, "drain", asked) == {"released": ["idle", "gone"], "waiting": [], "refused": ["busy"]}
    view = timetable(tmp_path, "view")
    assert isinstance(view, dict)
    assert [(each["name"], each["idle"], each["draining"]) for each in view["agents"]] == [
        ("idle", True, True),
        ("busy", False, False),
    ]
    assert view["tasks"] == [{"id": "true", "resources": {"slots": 1}}]
    assert timetable(tmp_path, "drain", {"drain": ["busy"], "when_done": True})["waiting"] == ["busy"]  # type: ignore[index]
    timetable(tmp_path, "drain", {"cancel": ["idle", "busy", "gone"]})
    view = timetable(tmp_path, "view")
    assert isinstance(view, dict)
    assert [each["draining"] for each in view["agents"]] == [False, False]


# A URL that is read: a Celery queue, in memory where the page has Redis


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setattr(celery_view, "PATIENCE", 0.5)
    app = Celery("work", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_transport_options = {"polling_interval": 0.02}
    yield app
    app.close()


@contextmanager
def answering(app: Celery) -> Iterator[Callable[[], HttpScheduler]]:
    """The example's server, and a connector for it as the page configures it."""
    server = celery_view.serve(celery_view.CeleryView(app), 0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    settings = {"type": "http", "url": f"{address}/view", "drain_url": f"{address}/drains", "timeout": "60s"}
    try:
        yield lambda: HttpScheduler(HttpSettings.model_validate(settings), CONTEXT)
    finally:
        server.shutdown()
        server.server_close()


def test_a_celery_queue_is_seen_and_its_workers_are_given_up(queue: Celery) -> None:
    go = threading.Event()

    @queue.task
    def wait() -> None:
        go.wait(LONG)

    async def scenario(connect: Callable[[], HttpScheduler]) -> None:
        connector = connect()
        one = TaskClass(Resources(1), 1, example="celery")
        assert await connector.scaling_info() == ScalingInfo()
        for _ in range(3):
            wait.delay()
        info = await connector.scaling_info()
        assert info.tasks == (TaskClass(Resources(1), 3, example="celery"),)
        with start_worker(
            queue, pool="threads", concurrency=1, perform_ping_check=False, hostname="i-1@here", loglevel="critical"
        ):
            # A worker on a busy machine may be late with an answer: whatever is to be seen is waited for.
            async def stands(*, idle: bool, draining: bool) -> bool:
                agents = (await connector.scaling_info()).agents
                return [(each.name, each.idle, each.capacity, each.draining) for each in agents] == [
                    ("i-1", idle, Resources(1), draining)
                ]

            async def drained(outcome: DrainOutcome, *, when_done: bool) -> bool:
                return (await connector.drain(["i-1"], when_done=when_done))["i-1"].outcome is outcome

            # One runs, one is held by the worker, one waits.
            await until(lambda: _waits(connector, (one,)), timeout=LONG)
            await until(lambda: stands(idle=False, draining=False), timeout=LONG)
            assert await drained(DrainOutcome.REFUSED, when_done=False)
            await until(lambda: stands(idle=False, draining=False), timeout=LONG)
            await until(lambda: drained(DrainOutcome.WAITING, when_done=True), timeout=LONG)
            go.set()
            await until(lambda: drained(DrainOutcome.RELEASED, when_done=True), timeout=LONG)
            await until(lambda: stands(idle=True, draining=True), timeout=LONG)
            assert await _waits(connector, (one,)), "a closed worker takes nothing"
            await until(lambda: _undrained(connector), timeout=LONG)
        await connector.close()

    with answering(queue) as connect:
        asyncio.run(scenario(connect))


async def _waits(connector: HttpScheduler, tasks: tuple[TaskClass, ...]) -> bool:
    return (await connector.scaling_info()).tasks == tasks


async def _undrained(connector: HttpScheduler) -> bool:
    """Whether the worker takes tasks again; it is asked each time, because it may not have heard."""
    await connector.cancel_drain(["i-1"])
    return await _waits(connector, ())


def test_a_broker_that_is_not_there_is_told() -> None:
    app = Celery("work", broker="redis://127.0.0.1:9/0", set_as_current=False)
    app.conf.broker_connection_retry = False
    with answering(app) as connect, pytest.raises(SchedulerError, match=r"was answered with 503: .*error"):
        asyncio.run(connect().scaling_info())


# A connector in 30 lines


def test_the_connector_is_as_short_as_is_said() -> None:
    lines = (EXAMPLES / "spool.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("from ", '"""'))]
    assert len(code) <= 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "waiting").mkdir()
    (tmp_path / "agents" / "i-1").mkdir(parents=True)
    (tmp_path / "agents" / "i-2").mkdir()
    return tmp_path


def test_the_spool_is_seen_and_its_agents_are_given_up(folder: Path) -> None:
    connector = spool.Spool(spool.plugin.settings(type="spool", directory=folder), CONTEXT)  # type: ignore[call-arg]
    (folder / "waiting" / "b").touch()
    (folder / "agents" / "i-2" / "a.job").touch()

    async def scenario() -> None:
        await connector.setup()
        info = await connector.scaling_info()
        assert info.agents == (Agent("i-1", True), Agent("i-2", False))
        assert info.tasks == (TaskClass(Resources(1), example="b"),)
        answers = await connector.drain(["i-1", "i-2", "gone"], when_done=False)
        assert [answers[name].outcome for name in ("i-1", "i-2", "gone")] == ["released", "refused", "released"]
        assert (folder / "agents" / "i-1" / "closed").exists()
        assert not (folder / "agents" / "i-2" / "closed").exists()
        assert (await connector.drain(["i-2"], when_done=True))["i-2"].outcome == "waiting"
        assert (folder / "agents" / "i-2" / "closed").exists()
        await connector.cancel_drain(["i-1", "gone"])
        assert not (folder / "agents" / "i-1" / "closed").exists()
        (folder / "waiting" / "b").unlink()
        (folder / "waiting").rmdir()
        with pytest.raises(SchedulerError, match="the spool cannot be read"):
            await connector.scaling_info()
        await connector.close()

    asyncio.run(scenario())


def test_an_agent_of_the_spool_works_until_it_is_closed(folder: Path) -> None:
    (shown,) = blocks(section(PAGE, "## A connector in 30 lines"), "sh")
    script = shown.text.replace("/srv/spool", str(folder)).replace("sleep 1", "sleep 0.05")
    ran = folder / "ran"
    for name in ("a", "b"):
        (folder / "waiting" / name).write_text(f"echo {name} >> {ran}")
    environment = {"SLOTSMITH_INSTANCE_ID": "i-1", "PATH": "/usr/bin:/bin"}
    agent = subprocess.Popen(["sh", "-c", script], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: ran.exists() and ran.read_text().split() == ["a", "b"], timeout=LONG)
        wait_until(lambda: not list((folder / "agents" / "i-1").iterdir()), timeout=LONG)
        (folder / "agents" / "i-1" / "closed").touch()
        (folder / "agents" / "i-1" / "x.job").touch()
        # It looks for what is closed before it takes anything, and it lives.
        (folder / "waiting" / "c").write_text(f"echo c >> {ran}")
        assert agent.poll() is None
        (folder / "agents" / "i-1" / "closed").unlink()
        wait_until(lambda: ran.read_text().split() == ["a", "b", "c"], timeout=LONG)
    finally:
        agent.kill()
        agent.wait()
