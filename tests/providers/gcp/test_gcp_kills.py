"""Killed between every two calls of a launch and of a termination, on either side of each: nothing doubles or stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_faults import Fault, Gate
from providers.gcp.gce_server import GceServer
from providers.gcp.gce_world import QuickClock, provider
from providers.gcp.test_gcp_launches import launch, run
from slotsmith.providers.base import Provider
from waiting import until

MOST_CALLS = 60


async def life(subject: Provider) -> None:
    """What a provisioner asks of a provider from its start to the end of its instances."""
    await subject.setup()
    result = await launch(subject)
    await subject.list_instances()
    await subject.terminate(result.instance_ids)


async def killed_at(server: GceServer, call: int, *, after: bool, **more: Any) -> bool:
    """Run a life until its `call`-th request is held, and end it there. False: it was over before."""
    gate = Gate()
    server.faults.add(Fault("*", gate=gate, skip=call, after=after))
    subject = provider(server, clock=QuickClock(), **more)
    task = asyncio.create_task(life(subject))
    await until(lambda: gate.reached.is_set() or task.done(), what="the call or the end")
    reached = gate.reached.is_set()
    task.cancel()
    await asyncio.wait([task])
    await subject.close()
    # What was held goes on when nobody is there to hear the answer.
    gate.opened.set()
    return reached


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "more", [{}, {"zones": ["us-central1-a", "us-central1-b"], "regional": True}], ids=["zone", "region"]
)
def test_i3_killed_at_every_call(after: bool, more: dict[str, Any]) -> None:
    async def check() -> int:
        for call in range(MOST_CALLS):
            with GceServer(Cloud(operation_time=0.004, boot_time=0.004)) as server:
                reached = await killed_at(server, call, after=after, **more)
                await settled(server)
                again = provider(server, clock=QuickClock(), **more)
                await again.setup()
                if server.cloud.calls["instances.delete"] == 0:
                    assert len((await launch(again)).instance_ids) == 3
                assert len(server.cloud.created_ever) == 3, f"killed at call {call}"
                ids = [instance.id for instance in await again.list_instances()]
                assert await again.terminate(ids) == {}
                await settled(server)
                assert await again.list_instances() == []
                await again.close()
                if not reached:
                    return call
        raise AssertionError(f"a life of more than {MOST_CALLS} calls")

    calls = 0

    async def counted() -> None:
        nonlocal calls
        calls = await check()

    run(counted())
    assert calls >= 6


async def settled(server: GceServer) -> None:
    """Whatever the cloud was told is done."""

    def is_so() -> bool:
        with server.lock:
            server.cloud.tick()
            return not (server.under_way or server.cloud._events)

    await until(is_so, what="the end of all that is under way")
