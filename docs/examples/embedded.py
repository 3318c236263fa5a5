"""A program that schedules its own work and has slotsmith keep the agents for it: `python embedded.py FILE`.

FILE is a configuration whose first pool has `scheduler: {type: push}`. What would be your scheduler is here a list of
two tasks, which are done as soon as there is an agent for each.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from slotsmith.clock import Clock
from slotsmith.config import load_config
from slotsmith.config.assembly import Assembly
from slotsmith.model.agent import Agent
from slotsmith.model.instance import InstanceState
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Task
from slotsmith.provisioner import Provisioner
from slotsmith.store.sql import open_store

TASKS = [Task("first", Resources(slots=2)), Task("second", Resources(slots=2))]


async def main(file: Path) -> int:
    """Run the tasks; how many instances it took."""
    config = load_config(file)
    with open_store(config.store.url) as store, store.lock(), Assembly(config, store) as assembly:
        pool = assembly.provisioner(config.pools[0])
        async with asyncio.TaskGroup() as group:
            group.create_task(pool.run())
            try:
                launched = await schedule(pool, assembly.clock)
            finally:
                pool.stop()
        await pool.close()
    return launched


async def schedule(pool: Provisioner, clock: Clock) -> int:
    """What your program does: it tells the pool what waits and who works, whenever that changes."""
    pool.update_scaling_info(ScalingInfo.of(tasks=TASKS))
    while sum(each.state is InstanceState.RUNNING for each in pool.instances) < len(TASKS):
        await clock.sleep(0.1)
    names = [each.agent_name for each in pool.instances]
    pool.update_scaling_info(ScalingInfo.of(Agent(name, idle=False) for name in names))
    # Here the tasks would run. When they are done, their agents are idle, and go after the idle period.
    pool.update_scaling_info(ScalingInfo.of(Agent(name, idle=True) for name in names))
    while pool.instances:
        await clock.sleep(0.1)
    return len(names)


if __name__ == "__main__":
    print(asyncio.run(main(Path(sys.argv[1]))), "instances were launched and are gone")
