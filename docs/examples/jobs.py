"""A connector for a queue in a SQL table, whose agents take their jobs from it by themselves.

    scheduler: {type: jobs, database: /srv/queue/jobs.db}

`jobs` has a row for each job: how many slots it needs, which agent works on it (NULL while it waits), whether it is
done. `agents` has a row for each connected agent. An agent takes a job only while it is `open`, and looks at that in
the transaction in which it takes the job.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.schedulers.base import (
    DrainAnswer,
    DrainOutcome,
    SchedulerContext,
    SchedulerError,
    SchedulerPlugin,
    SchedulerSettings,
)

TABLES = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, slots INTEGER NOT NULL, agent TEXT, done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE agents (name TEXT PRIMARY KEY, slots INTEGER NOT NULL, open INTEGER NOT NULL DEFAULT 1);
"""

WAITING = "SELECT slots, count(*), min(id) FROM jobs WHERE agent IS NULL AND NOT done GROUP BY slots"
AGENTS = """
SELECT name, agents.slots, open, coalesce(sum(jobs.slots * NOT done), 0), coalesce(sum(NOT done), 0), count(jobs.id)
FROM agents LEFT JOIN jobs ON agent = name GROUP BY name
"""
RUNNING = "SELECT id FROM jobs WHERE agent = ? AND NOT done LIMIT 1"


class JobsSettings(SchedulerSettings):
    """The keys of the `scheduler:` block."""

    type: Literal["jobs"] = "jobs"
    database: Path = Field(description="the SQLite file with the tables jobs and agents")


class Jobs:
    """Satisfies `slotsmith.schedulers.base.Scheduler`; it needs no base class."""

    poll_period = 1.0

    def __init__(self, settings: JobsSettings, _context: SchedulerContext) -> None:
        self._file = settings.database

    async def setup(self) -> None:
        await self.scaling_info()

    async def scaling_info(self) -> ScalingInfo:
        waiting, agents = await self._in_database(
            lambda database: (database.execute(WAITING).fetchall(), database.execute(AGENTS).fetchall())
        )
        return ScalingInfo(
            tuple(
                Agent(
                    name,
                    idle=not running,
                    capacity=Resources(slots),
                    used=Resources(used),
                    draining=not is_open,
                    activity=taken,  # it grows with each job, so one that came and went between two looks is noticed
                )
                for name, slots, is_open, used, running, taken in agents
            ),
            tuple(TaskClass(Resources(slots), count, example=example) for slots, count, example in waiting),
        )

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        def drain_all(database: sqlite3.Connection) -> dict[str, DrainAnswer]:
            return {name: _drain(database, name, when_done) for name in agents}

        answers: dict[str, DrainAnswer] = await self._in_database(drain_all)
        return answers

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        names = [(name,) for name in agents]
        await self._in_database(
            lambda database: database.executemany("UPDATE agents SET open = 1 WHERE name = ?", names)
        )

    async def close(self) -> None:
        """Nothing is held open."""

    async def _in_database(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run one transaction in a thread, because the event loop serves other pools too."""

        def run() -> Any:
            # Not the mode that creates: a wrong path must be told, not become an empty queue.
            uri = f"{self._file.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                with database:  # commits, or rolls back when something is raised
                    return work(database)

        try:
            return await asyncio.to_thread(run)
        except sqlite3.Error as error:
            raise SchedulerError(f"the queue {self._file} cannot be used: {error}") from error


def _drain(database: sqlite3.Connection, name: str, when_done: bool) -> DrainAnswer:
    """Look whether the agent works, and close it, in one transaction: no job can slip in between."""
    running = database.execute(RUNNING, (name,)).fetchone()
    if running and not when_done:
        return DrainAnswer(DrainOutcome.REFUSED, f"it works on {running[0]}")
    known = database.execute("UPDATE agents SET open = 0 WHERE name = ?", (name,)).rowcount
    if running:
        return DrainAnswer(DrainOutcome.WAITING, f"it works on {running[0]}")
    return DrainAnswer(DrainOutcome.RELEASED, "" if known else "no such agent")


plugin = SchedulerPlugin(JobsSettings, Jobs)
