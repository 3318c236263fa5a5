"""Pushes to `slotsmith serve`: one process serves, another pushes; each says what CPU time it took.

`python -m benchmarks pushes` takes about 20 s and stops by itself. `SECONDS` and `POOLS` in the environment change how
long each rate is held, and how many pools there are.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.harness import Row, Table, figure

SECONDS = float(os.environ.get("SECONDS", "10"))
POOLS = int(os.environ.get("POOLS", "100"))
RATE = 1000
SIZE = 1024
_CONNECTIONS = 20


@dataclass(frozen=True)
class Load:
    """What a run came to. Times in milliseconds of wall time, CPU in milliseconds a push."""

    pushes: int
    failed: int
    seconds: float
    times: Sequence[float]
    cpu: float
    memory_mib: tuple[float, float]

    def within(self, share: float) -> float:
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))] if self.times else float("inf")


def bodies(pool: int, *, different: bool) -> list[bytes]:
    """Views of about 1 KiB; `different`: each has other tasks than the one before."""
    agents = [
        {"name": f"pool-{pool}-{n}", "idle": False, "capacity": {"slots": 4}, "used": {"slots": 2}} for n in range(8)
    ]
    made = []
    for count in range(1, 8 if different else 2):
        tasks = [{"id": f"task-{count}", "resources": {"slots": 1, "cpus": 1, "mem_gib": 2}, "count": count}]
        view = json.dumps({"agents": agents, "tasks": tasks})
        made.append(view.encode().ljust(SIZE))
    return made


class Connection:
    """One connection that pushes and waits for the answer, again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def push(self, pool: int, body: bytes) -> bool:
        head = (
            f"PUT /api/v1/pools/p{pool}/scaling-info HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return b" 200 " in lines[0]

    def close(self) -> None:
        self._writer.close()


async def run(port: int, process: psutil.Process, *, different: bool, seconds: float, rate: int) -> Load:
    """Push at a rate, one pool after the other, over some connections. Late pushes are not left out."""
    views = [bodies(pool, different=different) for pool in range(POOLS)]
    times: list[float] = []
    failed = 0
    number = 0
    before, memory = sum(process.cpu_times()[:2]), process.memory_info().rss
    began = time.perf_counter()

    async def pushing() -> None:
        nonlocal number, failed
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        while True:
            mine, number = number, number + 1
            due = began + mine / rate
            # A server that is behind is not pushed to for longer: what it has not taken by then counts as missing.
            if max(due, time.perf_counter()) > began + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            pool = mine % POOLS
            ok = await connection.push(pool, views[pool][mine // POOLS % len(views[pool])])
            # From when it was due, so that a server that is behind does not look quick.
            times.append(1000 * (time.perf_counter() - due))
            failed += not ok
        connection.close()

    await asyncio.gather(*(pushing() for _ in range(_CONNECTIONS)))
    took = time.perf_counter() - began
    cpu = sum(process.cpu_times()[:2]) - before
    sizes = (memory / 2**20, process.memory_info().rss / 2**20)
    return Load(len(times), failed, took, sorted(times), 1000 * cpu / max(1, len(times)), sizes)


def serve(directory: Path) -> tuple[subprocess.Popen[str], int]:
    """A service with so many pools, each of which may have no instance: it is the pushes that cost."""
    pools = [
        {
            "name": f"p{number}",
            "scheduler": {"type": "push"},
            "provider": {"type": "local", "command": "sleep 600"},
            "max_instances": 0,
        }
        for number in range(POOLS)
    ]
    config = {
        "cluster": "bench",
        "store": {"url": f"sqlite:///{directory}/bench.db"},
        "service": {"listen": "127.0.0.1:0", "max_requests_per_second": 100_000},
        "log": {"level": "error"},
        "pools": pools,
    }
    (directory / "slotsmith.yaml").write_text(json.dumps(config))
    command = ["-m", "slotsmith", "serve", "--config", str(directory / "slotsmith.yaml")]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    if "serving on" not in line:
        raise RuntimeError(f"the service did not start: {line!r}")
    return process, int(line.strip().rpartition(":")[2])


async def measure(port: int, pid: int) -> list[Row]:
    process = psutil.Process(pid)
    rows = []
    await run(port, process, different=True, seconds=2, rate=200)
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(5)
    idle = (sum(process.cpu_times()[:2]) - before) / 5
    rows.append(figure("CPU time a second without pushes", 1000 * idle))
    for what, different in (("the same view again", False), ("another view each time", True)):
        load = await run(port, process, different=different, seconds=SECONDS, rate=RATE)
        rows += [
            figure(f"{what}: pushes a second", load.pushes / load.seconds, ""),
            figure(f"{what}: 50 of 100 within", load.within(0.5)),
            figure(f"{what}: 99 of 100 within", load.within(0.99), target=50),
            figure(f"{what}: CPU time a push", load.cpu, target=2 * 1000 / RATE),
            figure(f"{what}: refused or failed", load.failed, "", target=0),
            figure(f"{what}: memory at the end, {load.memory_mib[0]:.0f} MiB before", load.memory_mib[1], "MiB"),
        ]
    return rows


def tables() -> list[Table]:
    """The answers' times and the CPU time that they cost, for views that are equal and views that differ."""
    with tempfile.TemporaryDirectory() as directory:
        process, port = serve(Path(directory))
        try:
            rows = asyncio.run(measure(port, process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return [
        Table(f"{RATE:,} pushes a second of {SIZE} bytes to {POOLS} pools, {SECONDS:g} s each (wall time)", rows, "")
    ]
