"""What a pool logs and records: what has changed, not how things stand; and why it does not work yet."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from provisioner.world import World
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.base import ProviderError
from slotsmith.store.base import Changes
from waiting import PATIENCE, until

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


def summary_of(world: World) -> dict[str, Any]:
    return dict(world.store.summary("p") or {})


def test_i6_a_pool_that_cannot_be_set_up_says_why() -> None:
    async def scenario() -> None:
        world = World(max_instances=7)
        world.provider.setup = denied  # type: ignore[method-assign]
        last = {"instances": [{"id": "old"}], "counts": {"running": 1}, "pending_tasks": 5, "unmet": ["x"]}
        world.store.commit(Changes("p", 123.0, summary=last))
        running = asyncio.create_task(world.pool.run())
        await until(lambda: "provider" in summary_of(world), what="a summary")
        await until(lambda: summary_of(world)["provider"]["error"] == "the key is wrong", what="the reason")
        told = summary_of(world)
        assert (told["instances"], told["counts"], told["stopped"]) == ([{"id": "old"}], {"running": 1}, False)
        assert (told["pending_tasks"], told["unmet"], told["policy"]["max_instances"]) == (0, [], 7)
        # What has vanished since is taken to have ended when a daemon last worked on the pool.
        assert world.store.load("p").heartbeat == 123.0
        world.pool.stop()
        await asyncio.wait_for(running, PATIENCE)
        assert summary_of(world)["stopped"] is True

    async def denied() -> None:
        await asyncio.sleep(0.01)
        raise ProviderError(ErrorKind.DENIED, "the key is wrong")

    asyncio.run(scenario())


def test_i6_a_pool_whose_provider_cannot_be_listed_says_why() -> None:
    async def scenario() -> None:
        world = World()
        world.provider.list_faults = [ProviderError(ErrorKind.DENIED, "no right to list")] * 10_000
        running = asyncio.create_task(world.pool.run())
        await until(lambda: summary_of(world).get("provider", {}).get("error") == "no right to list", what="the reason")
        world.pool.stop()
        await asyncio.wait_for(running, PATIENCE)

    asyncio.run(scenario())
