"""Real Dask schedulers and workers for tests: processes of their own on the loopback interface.

    with DaskCluster(tmp_path) as cluster:
        cluster.add_worker("agent-1", nthreads=2, slots=2)
        client = Client(cluster.address)

Slotsmith cannot be imported in them; `schedulers.dask_tasks` and the other test helpers can.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from waiting import wait_until

_HERE = Path(__file__).parent

STRICT = {
    "distributed.scheduler.validate": True,
    "distributed.scheduler.work-stealing-interval": "50ms",
    "distributed.scheduler.allowed-failures": 100,
}
"""The scheduler checks its own state at every step, steals often, and never gives a task up."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DaskCluster:
    """A scheduler at `address`, and workers by name. Everything ends when it is closed, or when the tests die."""

    def __init__(self, directory: Path, *, config: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self._config = STRICT if config is None else config
        self.port = free_port()
        self.workers: dict[str, int] = {}
        self.scheduler: int | None = None
        self._starter = subprocess.Popen(
            [sys.executable, str(_HERE / "dask_processes.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_HERE.parent)},
        )

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start_scheduler()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_scheduler(self) -> None:
        """Start it, and wait until it listens; after `kill_scheduler` it is a new one at the same address."""
        arguments = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        self.scheduler = self._start("scheduler", arguments, self._config, "scheduler")
        wait_until(self._listens, timeout=30, what="the scheduler's port")

    def kill_scheduler(self, sign: int = signal.SIGKILL) -> None:
        assert self.scheduler is not None
        self._kill(self.scheduler, sign)
        self.scheduler = None

    def add_worker(
        self, name: str, *, nthreads: int = 2, slots: float = 2, resources: str = "", arguments: tuple[str, ...] = ()
    ) -> int:
        """Start a worker and return its process id; it joins a little later. No slots: no such resource at all."""
        wanted = " ".join(filter(None, [f"slot={slots:g}" if slots else "", resources]))
        self.workers[name] = self._start(
            "worker",
            [
                *(self.address, "--name", name, "--nthreads", str(nthreads), "--host", "127.0.0.1"),
                *("--no-nanny", "--no-dashboard", "--death-timeout", "60"),
                *("--local-directory", str(self.directory), "--memory-limit", "1GiB"),
                *(("--resources", wanted) if wanted else ()),
                *arguments,
            ],
            {},
            f"worker-{name}",
        )
        return self.workers[name]

    def kill_worker(self, name: str, sign: int = signal.SIGKILL) -> None:
        self._kill(self.workers.pop(name), sign)

    def exit_status(self, pid: int) -> int | None:
        """None while it runs; negative = killed by that signal."""
        status: int | None = self._ask({"status_of": pid})
        return status

    def log(self, name: str) -> str:
        """What `scheduler` or `worker-NAME` has printed so far."""
        path = self.directory / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.close()
        self._starter.wait(timeout=30)
        self._starter.stdout.close()

    def _start(self, role: str, arguments: list[str], config: dict[str, Any], log: str) -> int:
        request = {"role": role, "arguments": arguments, "config": config, "log": str(self.directory / f"{log}.log")}
        pid: int = self._ask(request)
        return pid

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write(json.dumps(request) + "\n")
        self._starter.stdin.flush()
        return json.loads(self._starter.stdout.readline())

    def _kill(self, pid: int, sign: int) -> None:
        os.kill(pid, sign)
        wait_until(lambda: self.exit_status(pid) is not None, what=f"the end of process {pid}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
