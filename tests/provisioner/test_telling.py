"""What a pool logs and records: what has changed, and not how things stand."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from provisioner.world import World
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass

SMALL, LARGE = Resources(slots=1), Resources(slots=2)


async def unmet_told(*views: ScalingInfo) -> tuple[list[str], int]:
    """What is logged as unmet over a pass for each view, by a full pool; and how many decisions are on record."""
    world = World(max_instances=1)
    await world.pool.setup()
    with capture_logs() as logs:
        for view in views:
            world.pool.update_scaling_info(view)
            await world.passes()
    told = [entry["what"] for entry in logs if entry["event"] == "unmet"]
    return told, len(world.store.decisions("p", limit=1000))


def waiting(**counts: int) -> ScalingInfo:
    sizes = {"small": SMALL, "large": LARGE}
    return ScalingInfo((), tuple(TaskClass(sizes[name], count) for name, count in counts.items()))


def test_a_number_that_changes_is_not_told_again() -> None:
    told, decisions = asyncio.run(unmet_told(*(waiting(small=count) for count in range(100, 50, -1))))
    assert told == ["98 tasks of 1 slot"]
    # The launch, and that what is unmet stays so with another reason (the pool is full) or the same.
    assert decisions <= 2


def test_another_kind_of_task_is_told_and_one_that_comes_back_is_told_again() -> None:
    told, _ = asyncio.run(
        unmet_told(
            waiting(small=10),
            waiting(small=9, large=5),
            waiting(small=8, large=4),
            waiting(large=3),
            waiting(small=7, large=2),
        )
    )
    assert told[0] == "8 tasks of 1 slot"
    assert sorted(text.split(" ", 1)[1] for text in told) == [
        "tasks of 1 slot",
        "tasks of 1 slot",
        "tasks of 2 slots",
    ]
