"""A scheduler connector from outside the project: a queue in a file, agents that sign in by touching a file.

The tests put this folder on PYTHONPATH, where its `entry_points.txt` makes it a plugin like any other's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

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

ONE = Resources(slots=1)


class FileQueueSettings(SchedulerSettings):
    """`scheduler: {type: filequeue, directory: ...}`."""

    type: Literal["filequeue"] = "filequeue"
    directory: str


class FileQueue:
    """`tasks.json` has the number of one-slot tasks; each agent works on one of them, the first agents by name."""

    poll_period = 0.05

    def __init__(self, settings: FileQueueSettings, _context: SchedulerContext) -> None:
        self._directory = Path(settings.directory)

    async def setup(self) -> None:
        """Nothing to connect to."""

    async def scaling_info(self) -> ScalingInfo:
        try:
            tasks = int(json.loads((self._directory / "tasks.json").read_text()))
        except (OSError, ValueError) as error:
            raise SchedulerError(f"cannot read the queue: {error}") from error
        names = sorted(path.name for path in (self._directory / "agents").iterdir())
        agents = tuple(
            Agent(name, rank >= tasks, ONE, ONE if rank < tasks else Resources()) for rank, name in enumerate(names)
        )
        waiting = tasks - len(names)
        return ScalingInfo(agents, (TaskClass(ONE, waiting),) if waiting > 0 else ())

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        idle = {agent.name for agent in (await self.scaling_info()).agents if agent.idle}
        known = {path.name for path in (self._directory / "agents").iterdir()}
        busy = DrainOutcome.WAITING if when_done else DrainOutcome.REFUSED
        return {
            name: DrainAnswer(DrainOutcome.RELEASED if name in idle or name not in known else busy) for name in agents
        }

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """Nothing is remembered of a drain."""

    async def close(self) -> None:
        """Nothing to let go of."""


plugin = SchedulerPlugin(FileQueueSettings, FileQueue)
