"""From a push of scaling info to the provider's launch call, through a real store on disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from benchmarks.harness import Table, figure
from slotsmith.clock import SystemClock, system_ids
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.provisioner import Provisioner
from slotsmith.schedulers.base import SchedulerContext
from slotsmith.schedulers.push import PushScheduler
from slotsmith.store.sql import open_store
from slotsmith.store.writer import ThreadRunner

OFFERING = Offering("bench", Resources(slots=1))
PUSHES = 300


class Cloud:
    """Launches at once, and says when it was asked to."""

    poll_period = 5.0
    consistency_window = 0.0
    token_lifetime = 3600.0

    def __init__(self) -> None:
        self.instances: list[Instance] = []
        self.asked: asyncio.Queue[float] = asyncio.Queue()

    async def setup(self) -> None: ...

    def offerings(self) -> Sequence[Offering]:
        return (OFFERING,)

    async def list_instances(self) -> Sequence[Instance]:
        return list(self.instances)

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        self.asked.put_nowait(time.perf_counter())
        names = tuple(f"{request.token}-{number}" for number in range(request.count))
        now = time.time()
        self.instances += [Instance(name, InstanceState.RUNNING, now, name, request.token) for name in names]
        return LaunchResult(names)

    async def terminate(self, _: Sequence[str]) -> Mapping[str, ProviderError]:
        return {}

    async def close(self) -> None: ...


async def push_to_launch(directory: Path) -> list[float]:
    """Milliseconds from each push to the launch that it asks for; the fleet grows by one each time."""
    cloud, run_store = Cloud(), ThreadRunner()
    clock, random = SystemClock(), Random(1)
    with open_store(f"sqlite:///{directory}/bench.db") as store:
        pool = Provisioner(
            "bench",
            Policy(max_instances=PUSHES + 1),
            provider=cloud,
            scheduler=PushScheduler(SchedulerContext("bench", clock, lambda: None)),
            store=store,
            run_store=run_store,
            clock=clock,
            random=random,
            new_id=system_ids,
            telemetry=lambda _: None,
        )
        running = asyncio.create_task(pool.run())
        while pool.last_decision is None:
            await clock.sleep(0.01)
        times = []
        for _ in range(PUSHES):
            agents = tuple(Agent(instance.agent_name, idle=False) for instance in cloud.instances)
            pushed = time.perf_counter()
            pool.update_scaling_info(ScalingInfo(agents, desired_new=1))
            times.append(1000 * (await cloud.asked.get() - pushed))
            pool.update_scaling_info(ScalingInfo(agents, desired_new=0))
            await clock.sleep(random.uniform(0.01, 0.05))
        pool.stop()
        await running
    run_store.close()
    return sorted(times)


def tables() -> list[Table]:
    """The median and the slowest of a hundred, in wall time."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as directory:
        times = asyncio.run(push_to_launch(Path(directory)))
    return [
        Table(
            f"From a push to the launch call, {PUSHES} pushes (wall time; the reference polls every 5,000 ms)",
            [
                figure("half of them within", times[len(times) // 2], reference=2500, target=5),
                figure("99 of 100 within", times[int(0.99 * len(times))], reference=5000, target=20),
            ],
        )
    ]
