"""Several `slotsmith serve` over one PostgreSQL database, to be stopped, killed and asked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from slotsmith.providers.local import find_processes
from system.daemon import PLUGINS
from waiting import wait_until

PATIENCE = 90.0
"""Seconds for a replica to come to a state, on a machine that has much else to do."""


class Replica:
    """One `slotsmith serve`, by its number."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory = directory
        self.log_file = directory / f"log-{number}"
        path = os.pathsep.join(filter(None, [*PLUGINS, os.environ.get("PYTHONPATH", "")]))
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slotsmith", "serve", "--config", "slotsmith.yaml", "--listen", "127.0.0.1:0"],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stderr=log,
                # Of a session of its own: a shell that ends wakes the stopped processes of its own session.
                start_new_session=True,
            )
        found = wait_until(self._serving, timeout=PATIENCE, what="an address")
        self.client = httpx.Client(base_url=found, timeout=PATIENCE, trust_env=False)

    def _serving(self) -> str | None:
        assert self.process.poll() is None, self.log()
        found = re.search(r"serving on (http://\S+)", self.log_file.read_text())
        return found[1] if found else None

    def log(self) -> str:
        """The end of what it says."""
        return self.log_file.read_text()[-5000:]

    def health(self) -> dict[str, Any]:
        """What it says of itself, whether it is ready or not."""
        told: dict[str, Any] = self.client.get("/health/ready").json()
        return told

    @property
    def role(self) -> str:
        return str(self.health()["role"])

    def leads(self) -> bool:
        return self.role == "leader"

    def wait(self, role: str) -> None:
        """Until it leads, or waits and knows who does."""
        wait_until(
            lambda: (told := self.health())["role"] == role and told["leader"],
            timeout=PATIENCE,
            what=f"a {role}\n{self.log()}",
        )

    def get(self, path: str) -> Any:
        """The answer of its API."""
        answer = self.client.get(f"/api/v1{path}")
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def pause(self) -> None:
        """Stop the process as a machine that swaps, or a debugger, does."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self) -> None:
        """End it cleanly."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log()
        self.client.close()


class Replicas:
    """Up to as many as are started; leaving it kills them, and whatever runs for their instances."""

    def __init__(self, directory: Path, url: str, *pools: dict[str, Any], **settings: Any) -> None:
        self.directory = directory
        self._started: list[Replica] = []
        config = {"cluster": "team", "store": {"url": url}, "log": {"format": "json"}, "pools": list(pools)} | settings
        (directory / "slotsmith.yaml").write_text(json.dumps(config))

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self._started:
            if replica.process.poll() is None:
                replica.go_on()
                replica.kill()
        for process in find_processes(state_dir=self.directory):
            os.kill(process.pid, signal.SIGKILL)

    def start(self) -> Replica:
        """One more."""
        replica = Replica(self.directory, len(self._started) + 1)
        self._started.append(replica)
        return replica
