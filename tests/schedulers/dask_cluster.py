"""Real Dask schedulers and workers for tests: processes of their own on the loopback interface.

The fixture `cluster` gives a running scheduler; outside of pytest:

    with DaskProcesses() as processes, DaskCluster(processes, directory) as cluster:
        cluster.add_worker("agent-1", nthreads=2, slots=2)
        async with cluster.client() as client, cluster.connector() as connector:
            ...

Slotsmith cannot be imported in these processes; `schedulers.dask_tasks` and other helpers of the tests can.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Self

from slotsmith.clock import SystemClock
from slotsmith.model.agent import Agent
from slotsmith.schedulers.base import DrainOutcome, SchedulerContext
from slotsmith.schedulers.dask import DaskScheduler, DaskSettings
from waiting import PATIENCE, until, wait_until

_HERE = Path(__file__).parent

STRICT = {
    "distributed.scheduler.validate": True,
    "distributed.scheduler.work-stealing-interval": "50ms",
    "distributed.scheduler.allowed-failures": 100,
}
"""The scheduler checks its own state at every step, steals often, and never gives a task up."""


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test to its end. One that hangs is interrupted, so that the traceback tells where."""

    async def limited(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(100):
            await test(*args, **kwargs)

    @wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        asyncio.run(limited(*args, **kwargs))

    return wrapped


def free_port() -> int:
    """A port that nothing listens at, and none that the system gives to somebody else by itself before we do."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def starts_in(directory: Path) -> Counter[int]:
    """How often each task `dask_tasks.noted(directory, number, ...)` was started."""
    return Counter(int(line) for path in directory.glob("starts-*") for line in path.read_text().split())


class DaskProcesses:
    """Starts processes of Dask, quickly. All of them end when this is closed, or when the tests die."""

    def __init__(self) -> None:
        self._starter = subprocess.Popen(
            [sys.executable, str(_HERE / "dask_processes.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_HERE.parent)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.close()
        self._starter.wait(timeout=PATIENCE)
        self._starter.stdout.close()

    def start(self, role: str, arguments: list[str], config: dict[str, Any], log: Path) -> int:
        """The id of a new process, the leader of its group. `role` is scheduler or worker."""
        pid: int = self._ask({"role": role, "arguments": arguments, "config": config, "log": str(log)})
        return pid

    def exit_status(self, pid: int) -> int | None:
        """None while it runs; negative = killed by that signal."""
        status: int | None = self._ask({"status_of": pid})
        return status

    def kill(self, pid: int, sign: int = signal.SIGKILL) -> None:
        """Send the signal and wait for the end."""
        if self.exit_status(pid) is None:
            os.kill(pid, sign)
            wait_until(lambda: self.exit_status(pid) is not None, what=f"the end of process {pid}")

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write(json.dumps(request) + "\n")
        self._starter.stdin.flush()
        return json.loads(self._starter.stdout.readline())


class DaskCluster:
    """A scheduler at `address`, and workers by name; all of them are killed when it is closed."""

    def __init__(
        self,
        processes: DaskProcesses,
        directory: Path,
        *,
        config: dict[str, Any] | None = None,
        scheme: str = "tcp",
    ) -> None:
        self.directory = directory
        self.scheme = scheme
        self.port = free_port()
        self.workers: dict[str, int] = {}
        self._processes = processes
        self._config = STRICT if config is None else config
        self._scheduler: int | None = None

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start_scheduler()
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (*self.workers.values(), self._scheduler):
            if pid is not None:
                self._processes.kill(pid)

    def start_scheduler(self) -> None:
        """Start it, and wait until it listens. After `kill_scheduler`: a new one at the same address."""
        self._scheduler = self._processes.start(
            "scheduler",
            [
                *("--host", f"{self.scheme}://127.0.0.1", "--port", str(self.port)),
                *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
            ],
            self._config,
            self.directory / "scheduler.log",
        )
        wait_until(self._listens, what="the scheduler's port")

    def signal_scheduler(self, sign: int) -> None:
        assert self._scheduler is not None
        os.kill(self._scheduler, sign)

    def kill_scheduler(self) -> None:
        assert self._scheduler is not None
        self._processes.kill(self._scheduler)

    def add_worker(
        self, name: str, *, nthreads: int = 2, slots: float = 2, resources: str = "", memory: str = "1GiB"
    ) -> int:
        """Start a worker and return its process id; it joins a little later. No slots = without that resource."""
        wanted = " ".join(filter(None, [f"slot={slots:g}" if slots else "", resources]))
        self.workers[name] = self._processes.start(
            "worker",
            [
                *(self.address, "--name", name, "--nthreads", str(nthreads), "--host", "127.0.0.1"),
                *("--no-nanny", "--no-dashboard", "--death-timeout", "60", "--memory-limit", memory),
                *("--local-directory", str(self.directory)),
                *(("--resources", wanted) if wanted else ()),
            ],
            {},
            self.directory / f"worker-{name}.log",
        )
        return self.workers[name]

    def kill_worker(self, name: str) -> None:
        self._processes.kill(self.workers.pop(name))

    def exit_status(self, name: str) -> int | None:
        """Of a worker: None while it runs; negative = killed by that signal."""
        return self._processes.exit_status(self.workers[name])

    def log(self, name: str = "scheduler") -> str:
        """What `scheduler` or `worker-NAME` has printed so far."""
        path = self.directory / f"{name}.log"
        return path.read_text() if path.exists() else ""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """A `distributed.Client` of the running loop, and the default one, which actors ask for."""
        from distributed import Client

        sender = None
        try:
            async with Client(self.address, asynchronous=True) as client:
                try:
                    yield client
                finally:
                    sender = client.scheduler_comm
        finally:
            # A client does not always wait for its sender, which may then leave a time limit that nobody awaits.
            if sender is not None:
                sender.abort()
                await sender.stopped.wait()

    @asynccontextmanager
    async def connector(self, **settings: Any) -> AsyncIterator[Connector]:
        """A connector that has been set up."""
        connector = Connector(self.address, **settings)
        try:
            await connector.setup()
            yield connector
        finally:
            await connector.close()

    def _listens(self) -> bool:
        assert self._scheduler is not None
        assert self._processes.exit_status(self._scheduler) is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Connector(DaskScheduler):
    """The connector under test; `wakes` are the times at which it woke its pool."""

    def __init__(self, address: str, **settings: Any) -> None:
        self.wakes: list[float] = []
        context = SchedulerContext("test", SystemClock(), lambda: self.wakes.append(time.perf_counter()))
        super().__init__(DaskSettings(address=address, **settings), context)

    async def demand(self) -> dict[str, int]:
        """How many tasks of each kind are told, e.g. `{"1 slot, 1 cpu": 3}`; gangs as `... x 3 together`."""
        info = await self.scaling_info()
        assert info is not None
        told: dict[str, int] = {}
        for tasks in info.tasks:
            kind = str(tasks.resources) + (f" x {tasks.gang} together" if tasks.gang > 1 else "")
            told[kind] = told.get(kind, 0) + tasks.count
        return told

    async def agents(self) -> dict[str, Agent]:
        info = await self.scaling_info()
        assert info is not None
        return {agent.name: agent for agent in info.agents}

    async def joined(self, *names: str) -> None:
        """Return when exactly these agents are connected."""

        async def are_there() -> bool:
            return set(await self.agents()) == set(names)

        await until(are_there, what=f"the agents {', '.join(names)}")

    async def check(self) -> dict[str, Any]:
        """The plugin's comparison of its counts with a search through all tasks."""
        answer: dict[str, Any] = await self._reads.request("slotsmith_check")
        return answer


RELEASED, WAITING, REFUSED = DrainOutcome.RELEASED, DrainOutcome.WAITING, DrainOutcome.REFUSED


def open_gate(path: str) -> None:
    """Lets the tasks `dask_tasks.held(path, ...)` end."""
    Path(path).touch()


async def started(gate: str, *values: object) -> None:
    """Return when the tasks `dask_tasks.held(gate, value)` run."""
    for value in values:
        await until(Path(f"{gate}.started-{value}").exists, what=f"the start of task {value}")


async def ask(connector: Connector, *names: str, when_done: bool = False) -> dict[str, DrainOutcome]:
    answers = await connector.drain(names, when_done=when_done)
    return {name: answer.outcome for name, answer in answers.items()}


async def ask_until_released(connector: Connector, name: str, *, when_done: bool = True) -> list[DrainOutcome]:
    """Every answer until the agent is released."""
    answers: list[DrainOutcome] = []

    async def is_released() -> bool:
        answers.append((await ask(connector, name, when_done=when_done))[name])
        return answers[-1] is RELEASED

    await until(is_released, what=f"the release of {name}")
    return answers
