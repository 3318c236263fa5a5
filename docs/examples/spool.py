"""A connector in 30 lines: jobs are files in DIRECTORY/waiting, which agents move to DIRECTORY/agents/NAME."""

from pathlib import Path
from typing import Literal

from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Task
from slotsmith.schedulers.base import SchedulerError, SchedulerPlugin, SchedulerSettings, as_seen


class SpoolSettings(SchedulerSettings):
    type: Literal["spool"] = "spool"
    directory: Path


class Spool:
    poll_period = 2.0

    def __init__(self, settings, context):
        self._root = settings.directory

    async def setup(self):
        await self.scaling_info()

    async def scaling_info(self):
        try:
            tasks = [Task(job.name, Resources(slots=1)) for job in sorted((self._root / "waiting").iterdir())]
            agents = [Agent(each.name, idle=not any(each.glob("*.job"))) for each in (self._root / "agents").iterdir()]
        except OSError as error:
            raise SchedulerError(f"the spool cannot be read: {error}") from error
        return ScalingInfo.of(sorted(agents), tasks)

    async def drain(self, agents, *, when_done):
        folders = {name: self._root / "agents" / name for name in agents}
        for folder in folders.values():  # closed first, looked at then: an agent that finds this gives its job back
            if folder.exists():
                (folder / "closed").touch()
        answers = {name: as_seen(not any(folder.glob("*.job")), when_done) for name, folder in folders.items()}
        await self.cancel_drain([name for name, answer in answers.items() if answer.outcome == "refused"])
        return answers

    async def cancel_drain(self, agents):
        for name in agents:
            (self._root / "agents" / name / "closed").unlink(missing_ok=True)

    async def close(self): ...


plugin = SchedulerPlugin(SpoolSettings, Spool)
