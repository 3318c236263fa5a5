"""A pool's own loop on EC2: what is refused in one place is launched in the next, without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from providers.aws.ec2_world import World
from slotsmith.clock import system_ids
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.provisioner import Provisioner
from slotsmith.schedulers.base import SchedulerContext
from slotsmith.schedulers.push import PushScheduler
from slotsmith.store.sql import open_store
from slotsmith.store.writer import ThreadRunner
from waiting import until


@asynccontextmanager
async def pool(world: World, directory: Path, **more: Any) -> AsyncIterator[Provisioner]:
    """A pool at work, whose demand is pushed."""
    run_store = ThreadRunner()
    with open_store(f"sqlite:///{directory}/books.db") as store:
        made = Provisioner(
            "one",
            Policy(max_instances=8),
            provider=world.provider(**more),
            scheduler=PushScheduler(SchedulerContext("one", world.clock, lambda: None)),
            store=store,
            run_store=run_store,
            clock=world.clock,
            random=Random(1),
            new_id=system_ids,
            telemetry=lambda _: None,
        )
        world.on_wake = made.provider_changed
        running = asyncio.create_task(made.run())
        try:
            await until(lambda: made.last_decision, timeout=30, what="a first pass")
            yield made
        finally:
            made.stop()
            await running
            await made.close()
    run_store.close()


def test_w46_no_capacity_in_one_place_is_no_reason_to_wait(aws: World, tmp_path: Path) -> None:
    """Spot in two zones has none; on demand has."""
    answered: list[tuple[str, float]] = []
    aws.journal.watch = lambda operation, phase: answered.append((f"{operation} {phase}", time.monotonic()))

    async def check() -> None:
        for zone in ("eu-west-1a", "eu-west-1b"):
            aws.ec2.capacity["g4dn.xlarge", zone, "spot"] = 0
        more = {"markets": ["spot", "on-demand"], "zones": ["eu-west-1a", "eu-west-1b"]}
        async with pool(aws, tmp_path, **more) as made:
            made.update_scaling_info(ScalingInfo(tasks=(TaskClass(Resources(slots=1), count=3),)))
            await until(lambda: len(aws.ec2.alive) == 3, what="three instances")
            assert {one.place[2] for one in aws.ec2.alive} == {"on-demand"}

    asyncio.run(check())
    asked = [at for what, at in answered if what == "RunInstances before"]
    assert len(asked) == len(aws.journal.told("RunInstances"))
    assert 2 <= len(asked) <= 3 + 2
    # The pauses of an offering are half a minute and more; here there are none.
    assert asked[-1] - asked[0] < 5.0


def test_fewer_than_asked_for_are_made_up_elsewhere(aws: World, tmp_path: Path) -> None:
    async def check() -> None:
        aws.ec2.capacity["g4dn.xlarge", "eu-west-1a", "on-demand"] = 2
        async with pool(aws, tmp_path, zones=["eu-west-1a", "eu-west-1b"]) as made:
            made.update_scaling_info(ScalingInfo(tasks=(TaskClass(Resources(slots=1), count=5),)))
            await until(lambda: len(aws.ec2.alive) == 5, what="five instances")
            assert len(aws.ec2.instances) == 5

    asyncio.run(check())
