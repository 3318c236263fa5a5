"""The examples of the documentation do what it says they do."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import embedded
import jobs
import lab
import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from docs.pages import EXAMPLES, blocks, page  # noqa: E402
from leftovers import end_all  # noqa: E402
from slotsmith.clock import SystemClock  # noqa: E402
from slotsmith.model.policy import Policy  # noqa: E402
from slotsmith.providers.base import Provider, ProviderContext  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402
from slotsmith.providers.local import find_processes  # noqa: E402
from slotsmith.provisioner import Provisioner  # noqa: E402
from slotsmith.schedulers.base import DrainOutcome, SchedulerContext, SchedulerError  # noqa: E402
from slotsmith.store.sql import open_store  # noqa: E402
from slotsmith.store.writer import InlineRunner  # noqa: E402

MACHINES = [f"desk-{number}" for number in range(30)]


class LabHarness(Harness):
    """As `docs/providers.md` shows it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._book = directory / "loans.db"

    def provider(self, pool: str = "one") -> Provider:
        settings = lab.LabSettings(type="lab", book=self._book, machines=MACHINES, slots=2)
        return lab.Lab(settings, ProviderContext("team", pool, self._directory, self.clock, lambda: None))

    def finish(self) -> None:
        self._book.unlink(missing_ok=True)

    async def restrict(self, provider: Provider, count: int) -> bool:
        with closing(sqlite3.connect(self._book)) as book, book:
            for machine in MACHINES[count:]:
                book.execute("INSERT INTO loans VALUES (?, ?, 'a guest', '', 0, 0)", (machine, machine))
        return True


class TestLab(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return LabHarness(directory)


class Queue:
    """The jobs and agents of a queue, set by hand."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self("")
        with closing(sqlite3.connect(file)) as database, database:
            database.executescript(jobs.TABLES)

    def __call__(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.file)) as database, database:
            return database.execute(statement, values).fetchall()

    def connector(self) -> jobs.Jobs:
        settings = jobs.JobsSettings(type="jobs", database=self.file)
        return jobs.Jobs(settings, SchedulerContext("one", SystemClock(), lambda: None))

    def is_open(self, agent: str) -> bool:
        return self("SELECT open FROM agents WHERE name = ?", agent) == [(1,)]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "jobs.db")


def test_the_queue_is_seen_as_it_is(queue: Queue) -> None:
    for row in (("a", 1, None, 0), ("b", 1, None, 0), ("c", 2, None, 0), ("d", 1, "desk-1", 0), ("e", 1, "desk-1", 1)):
        queue("INSERT INTO jobs VALUES (?, ?, ?, ?)", *row)
    queue("INSERT INTO agents VALUES ('desk-1', 2, 1), ('desk-2', 2, 0)")
    info = asyncio.run(queue.connector().scaling_info())
    assert [(kind.resources.slots, kind.count, kind.example) for kind in info.tasks] == [(1, 2, "a"), (2, 1, "c")]
    busy, idle = info.agents
    assert (busy.name, busy.idle, busy.used and busy.used.slots, busy.activity) == ("desk-1", False, 1, 2)
    assert (idle.name, idle.idle, idle.draining, idle.activity) == ("desk-2", True, True, 0)


def test_a_drain_looks_and_closes_in_one_step(queue: Queue) -> None:
    queue("INSERT INTO jobs VALUES ('a', 1, 'desk-1', 0)")
    queue("INSERT INTO agents VALUES ('desk-1', 2, 1), ('desk-2', 2, 1)")
    connector = queue.connector()
    names = ["desk-1", "desk-2", "nobody"]
    at_once = asyncio.run(connector.drain(names, when_done=False))
    expected = [DrainOutcome.REFUSED, DrainOutcome.RELEASED, DrainOutcome.RELEASED]
    assert [at_once[name].outcome for name in names] == expected
    assert (queue.is_open("desk-1"), queue.is_open("desk-2")) == (True, False)
    assert asyncio.run(connector.drain(["desk-1"], when_done=True))["desk-1"].outcome is DrainOutcome.WAITING
    assert not queue.is_open("desk-1")
    queue("UPDATE jobs SET done = 1")
    assert asyncio.run(connector.drain(["desk-1"], when_done=True))["desk-1"].outcome is DrainOutcome.RELEASED
    asyncio.run(connector.cancel_drain(["desk-1"]))
    assert queue.is_open("desk-1")


def test_a_closed_agent_takes_no_job(queue: Queue) -> None:
    (take,) = blocks(page("docs/schedulers.md"), "sql")
    queue("INSERT INTO jobs VALUES ('a', 1, NULL, 0), ('b', 3, NULL, 0)")
    queue("INSERT INTO agents VALUES ('desk-1', 2, 0)")
    queue(take.text)
    assert queue("SELECT id FROM jobs WHERE agent = 'desk-1'") == []
    queue("UPDATE agents SET open = 1")
    queue(take.text)
    queue(take.text)
    assert queue("SELECT id FROM jobs WHERE agent = 'desk-1'") == [("a",)]


def test_a_queue_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = jobs.JobsSettings(type="jobs", database=tmp_path / "nothing.db")
    with pytest.raises(SchedulerError, match=r"nothing.db cannot be used: unable to open"):
        asyncio.run(jobs.Jobs(settings, SchedulerContext("one", SystemClock(), lambda: None)).setup())
    assert not (tmp_path / "nothing.db").exists()


class HandClock:
    """Time goes on when it is told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


def test_both_examples_in_one_pool_from_the_first_job_to_the_last_loan(queue: Queue, tmp_path: Path) -> None:
    asyncio.run(_from_first_to_last(queue, tmp_path))


async def _from_first_to_last(queue: Queue, directory: Path) -> None:
    clock = HandClock()
    book = directory / "loans.db"
    settings = lab.LabSettings(type="lab", book=book, machines=MACHINES[:3], slots=2)
    context = ProviderContext("team", "one", directory, clock, lambda: None)
    pool = Provisioner(
        "one",
        Policy(max_instances=2, max_idle_agent_period=60),
        provider=lab.Lab(settings, context),
        scheduler=queue.connector(),
        store=open_store("sqlite://"),
        run_store=InlineRunner(),
        clock=clock,
        random=Random(1),
        new_id=iter(["t1", "t2"]).__next__,
    )
    await pool.setup()
    queue("INSERT INTO jobs VALUES ('a', 1, NULL, 0), ('b', 2, NULL, 0), ('c', 2, NULL, 0)")
    decision = await pool.provision()
    assert decision is not None
    assert [(launch.offering.name, launch.count) for launch in decision.launches] == [("lab/on-demand", 2)]
    (unmet,) = decision.unmet
    assert (unmet.tasks and unmet.tasks.example, unmet.reason) == ("a", "the pool is at its maximum of 2 instances")
    await pool.provision()
    assert [instance.agent_name for instance in pool.instances] == ["desk-0", "desk-1"]

    queue("INSERT INTO agents VALUES ('desk-0', 2, 1), ('desk-1', 2, 1)")
    queue("UPDATE jobs SET agent = 'desk-0' WHERE id = 'b'")
    queue("UPDATE jobs SET agent = 'desk-1' WHERE id = 'c'")
    clock.at += 300
    assert (await pool.provision()).terminations == ()  # type: ignore[union-attr]

    queue("UPDATE jobs SET done = 1 WHERE id = 'c'")
    queue("UPDATE jobs SET agent = 'desk-1' WHERE id = 'a'")
    queue("UPDATE jobs SET done = 1 WHERE id = 'b'")
    await pool.provision()
    clock.at += 61
    await pool.provision()
    await pool.provision()
    assert [instance.agent_name for instance in pool.instances] == ["desk-1"], "the busy one stays"

    queue("UPDATE jobs SET done = 1")
    await pool.provision()
    clock.at += 61
    await pool.provision()
    await pool.provision()
    assert pool.instances == ()
    await pool.close()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples' package as `pip install` would leave it, for commands in a process of their own."""
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(EXAMPLES)]))
    return tmp_path


def test_the_command_line_finds_the_examples_by_their_entry_points(installed: Path, queue: Queue) -> None:
    config = {
        "cluster": "team",
        "pools": [
            {
                "name": "one",
                "scheduler": {"type": "jobs", "database": str(queue.file)},
                "provider": {"type": "lab", "book": str(installed / "loans.db"), "machines": MACHINES[:2]},
                "max_instances": 2,
            }
        ],
    }
    (installed / "slotsmith.yaml").write_text(json.dumps(config))
    queue("INSERT INTO jobs VALUES ('a', 1, NULL, 0)")
    command = [sys.executable, "-m", "slotsmith"]
    check = subprocess.run(
        [*command, "config", "check", "--connect"], cwd=installed, capture_output=True, text=True, check=False
    )
    assert (check.stdout, check.stderr) == ("slotsmith.yaml: ok, 1 pool: one (jobs on lab)\n", "")
    look = subprocess.run(
        [*command, "run", "--dry-run", "--json"], cwd=installed, capture_output=True, text=True, check=False
    )
    (pool,) = json.loads(look.stdout)["pools"]
    assert [(launch["offering"], launch["count"]) for launch in pool["launch"]] == [("lab/on-demand", 1)]


EMBEDDED = """\
store: {{url: "sqlite:///{directory}/books.db"}}
pools:
  - name: mine
    scheduler: {{type: push}}
    provider: {{type: local, command: "sleep 600", slots: 2}}
    max_idle_agent_period: 100ms
"""


@pytest.fixture
def no_process_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_all(tmp_path)


@pytest.mark.usefixtures("no_process_left")
def test_a_program_that_embeds_a_pool(tmp_path: Path) -> None:
    file = tmp_path / "slotsmith.yaml"
    file.write_text(EMBEDDED.format(directory=tmp_path))
    assert asyncio.run(asyncio.wait_for(embedded.main(file), 60)) == 2
    assert find_processes(state_dir=tmp_path) == []
