"""The EC2 provider: how many calls it makes, what a listing costs, and how soon news and refusals are acted on.

The other side is the EC2 for tests, in a process of its own, so that CPU time is the provider's alone. The reference's
figures for calls are read from its code; those for boto3 were measured with answers of the same size.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import IO

import structlog

from benchmarks.harness import Row, Table, figure

_TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(_TESTS))

from providers.aws.ec2_world import settings  # noqa: E402
from slotsmith.clock import SystemClock, system_ids  # noqa: E402
from slotsmith.model.policy import Policy  # noqa: E402
from slotsmith.model.resources import Resources  # noqa: E402
from slotsmith.model.scaling_info import ScalingInfo  # noqa: E402
from slotsmith.model.task import TaskClass  # noqa: E402
from slotsmith.providers.aws import create  # noqa: E402
from slotsmith.providers.aws.client import AwsClient, Connection  # noqa: E402
from slotsmith.providers.aws.notices import LONG_POLL  # noqa: E402
from slotsmith.providers.base import LaunchRequest, Provider, ProviderContext  # noqa: E402
from slotsmith.providers.watched import Watched  # noqa: E402
from slotsmith.provisioner import Provisioner  # noqa: E402
from slotsmith.schedulers.base import SchedulerContext  # noqa: E402
from slotsmith.schedulers.push import PushScheduler  # noqa: E402
from slotsmith.store.sql import open_store  # noqa: E402
from slotsmith.store.writer import ThreadRunner  # noqa: E402

_STATE = tempfile.TemporaryDirectory(prefix="slotsmith-bench-")
"""What providers keep; each begins with nothing."""
LISTED = 5000
POOLS = 10
HOUR = 3600
RUNS = 5
FORGOTTEN = 7200.0
"""Seconds after which a zone without room is tried like any other, however often there was none."""


class Ticking(SystemClock):
    """A clock that can be put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass(frozen=True)
class Cloud:
    """An EC2 for tests; what is written to `events` comes out of its queue."""

    url: str
    events: IO[str]


@contextmanager
def cloud(instances: int = 0, *full: str) -> Iterator[Cloud]:
    """A server in a process of its own, with no room in these zones, and credentials for it."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_EC2_METADATA_DISABLED": "true"}
    process = subprocess.Popen(
        [sys.executable, str(_TESTS / "providers" / "aws" / "ec2_serve.py"), str(instances), *full],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Cloud(process.stdout.readline().strip(), process.stdin)
    finally:
        process.stdin.close()
        process.wait(10)


def provider(
    url: str, pool: str = "one", clock: SystemClock | None = None, woken: asyncio.Event | None = None, **more: object
) -> Provider:
    context = ProviderContext(
        "team",
        pool,
        Path(tempfile.mkdtemp(dir=_STATE.name)),
        clock or SystemClock(),
        woken.set if woken is not None else lambda: None,
    )
    return create(settings(url, **more), context)


def calls(of: Provider) -> int:
    """How many calls the region of a provider has made."""
    return of._here.client.calls.total()  # type: ignore[attr-defined]


async def count_calls(url: str) -> tuple[int, int, int]:
    """To launch 1,000, to list 5,000 and to terminate 1,000."""
    one = provider(url)
    await one.setup()
    start = calls(one)
    listed = await one.list_instances()
    after_list = calls(one)
    assert len(listed) == LISTED
    result = await one.launch(LaunchRequest("thousand", one.offerings()[0], 1000))
    after_launch = calls(one)
    assert await one.terminate(result.instance_ids) == {}
    ended = calls(one)
    await one.close()
    return after_launch - after_list, after_list - start, ended - after_launch


async def idle_hour(url: str) -> int:
    """The calls of idle pools that each look once a minute, at moments of their own; with the queue's long polls."""
    clock = Ticking()
    pools = [provider(url, f"pool-{index}", clock) for index in range(POOLS)]
    for each in pools:
        await each.setup()
    clock.ahead = 1000.0
    start = calls(pools[0])
    for second in range(0, HOUR, HOUR // 60 // POOLS):
        clock.ahead = 1000.0 + second
        await pools[second // (HOUR // 60 // POOLS) % POOLS].list_instances()
    asked = calls(pools[0]) - start
    for each in pools:
        await each.close()
    return asked + HOUR // LONG_POLL


async def notice_ms(cloud: Cloud) -> float:
    """From an interruption notice in the queue until the pool is told to look."""
    woken = asyncio.Event()
    one = provider(cloud.url, woken=woken, queue_url=f"{cloud.url}/1/notices")
    await one.setup()
    await asyncio.sleep(0.3)
    woken.clear()
    event = {"detail-type": "EC2 Spot Instance Interruption Warning", "detail": {"instance-id": "i-1"}}
    start = time.perf_counter()
    cloud.events.write(json.dumps(event) + "\n")
    cloud.events.flush()
    await woken.wait()
    seconds = time.perf_counter() - start
    await one.close()
    return 1000 * seconds


async def listing(url: str) -> tuple[float, float]:
    """CPU microseconds for each listed instance, and for how many ms more than an idle one the loop stood still."""
    clock = Ticking()
    one = provider(url, clock=clock)
    await one.setup()
    await one.list_instances()
    clock.ahead = 1000.0
    stalls: list[float] = []

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            stalls.append(now - last - 0.001)
            last = now

    heart = asyncio.create_task(beat())
    used, stopped, idle = [], [], []
    for run in range(RUNS):
        clock.ahead = 1000.0 * (2 + run)
        stalls.clear()
        await asyncio.sleep(0.5)
        idle.append(max(stalls))
        stalls.clear()
        start = time.process_time()
        listed = await one.list_instances()
        used.append(time.process_time() - start)
        stopped.append(max(stalls))
        assert len(listed) == LISTED
    heart.cancel()
    await one.close()
    # What else the machine does stops an idle loop as well.
    return 1e6 * median(used) / LISTED, 1000 * max(0.0, median(stopped) - median(idle))


def stock(url: str) -> float:
    """The same pages by boto3 as it comes, on this machine."""
    client = AwsClient(Connection("eu-west-1", None, url), SystemClock())._make("ec2", "")
    from slotsmith.providers.aws.rows import EVENT, pick_rows

    client.meta.events.unregister(EVENT, pick_rows)
    token: dict[str, str] = {}
    start = time.process_time()
    while True:
        answer = client.describe_instances(MaxResults=1000, **token)
        token = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        if not token:
            return 1e6 * (time.process_time() - start) / LISTED


async def elsewhere_ms(url: str, directory: Path) -> float:
    """A whole pool, from the answer that there is no room to the launch call for another zone; the median."""
    clock, run_store, times = Ticking(), ThreadRunner(), []
    begun: asyncio.Queue[float] = asyncio.Queue()
    ended: list[float] = []

    @contextmanager
    def timed(call: str, _: object) -> Iterator[None]:
        if call == "launch":
            begun.put_nowait(time.perf_counter())
        try:
            yield
        finally:
            if call == "launch":
                ended.append(time.perf_counter())

    with open_store(f"sqlite:///{directory}/bench.db") as store:
        pool = Provisioner(
            "one",
            Policy(max_instances=RUNS + 1, max_agent_starting_period=1e6),
            # The first zone has no room.
            provider=Watched(provider(url, clock=clock, zones=["eu-west-1a", "eu-west-1b"]), timed),
            scheduler=PushScheduler(SchedulerContext("one", clock, lambda: None)),
            store=store,
            run_store=run_store,
            clock=clock,
            random=Random(1),
            new_id=system_ids,
            telemetry=lambda _: None,
        )
        running = asyncio.create_task(pool.run())
        while pool.last_decision is None:
            await clock.sleep(0.01)
        for count in range(1, RUNS + 2):
            pool.update_scaling_info(ScalingInfo(tasks=(TaskClass(Resources(slots=1), count),)))
            async with asyncio.timeout(60):
                await begun.get()
                elsewhere = await begun.get()
                times.append(1000 * (elsewhere - ended[-1]))
            while len(pool.instances) < count:
                await clock.sleep(0.01)
            # By then the first zone is tried again.
            clock.ahead += FORGOTTEN
        pool.stop()
        await running
        await pool.close()
    run_store.close()
    # The first time, modules are imported on the way.
    return median(times[1:])


def tables() -> Sequence[Table]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with cloud(LISTED) as full:
        launch, listed, terminate = asyncio.run(count_calls(full.url))
    with cloud(LISTED) as full:
        used, stall = asyncio.run(listing(full.url))
        by_boto3 = stock(full.url)
    with cloud() as empty:
        idle = asyncio.run(idle_hour(empty.url))
        told = asyncio.run(notice_ms(empty))
    with cloud(0, "eu-west-1a") as full, tempfile.TemporaryDirectory() as directory:
        elsewhere = asyncio.run(elsewhere_ms(full.url, Path(directory)))
    rows: list[Row] = [
        figure("calls to launch 1,000", launch, "calls", reference=1, target=2),
        figure("calls to list 5,000", listed, "calls", reference=1, target=5),
        figure("calls to terminate 1,000", terminate, "calls", reference=1, target=1),
        figure("calls of 10 idle pools in an hour", idle, "calls", reference=7200, target=600),
        figure("a notice in the queue until the pool looks", told, "ms", target=2000),
        figure("client CPU per listed instance", used, "µs", reference=by_boto3, target=200),
        figure("longest stop of the loop, beyond an idle one's", stall, "ms", target=20),
        figure("a capacity error until the call elsewhere", elsewhere, "ms", target=100),
    ]
    return [Table("EC2", rows, "reference; for CPU, boto3 as it comes")]
