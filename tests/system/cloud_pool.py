"""A daemon with a pool on a cloud of the tests, and its whole life with one kill in it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from providers.aws.ec2_catalogue import IMAGE
from providers.aws.ec2_world import World
from system.daemon import Daemon, Queue
from waiting import wait_until

_PATIENCE = 240.0
"""Seconds for a daemon to start and do its work, on a machine that has much else to do."""


def ec2_provider(world: World, directory: Path, **more: Any) -> dict[str, Any]:
    """The `provider:` block of a pool on this world's server; `directory` gets a price list."""
    prices = directory / "prices.csv"
    prices.write_text("instance_type,price_per_hour,market\ng4dn.xlarge,0.5,on-demand\ng4dn.xlarge,0.2,spot\n")
    return {
        "type": "aws",
        "region": "eu-west-1",
        "image_id": IMAGE,
        "instance_type": "g4dn.xlarge",
        "zones": ["eu-west-1a"],
        "endpoint_url": world.server.url,
        "catalog": str(prices),
        "poll_period": "100ms",
        "agent": {"preset": "command", "command": "agent"},
        **more,
    }


class CloudPool:
    """`slotsmith run` with one pool, whose running machines sign in as agents.

    `machines` tells, by the name of its agent, whether each machine that is there runs.
    """

    def __init__(
        self, directory: Path, provider: Mapping[str, Any], machines: Callable[[], Mapping[str, bool]]
    ) -> None:
        self.queue = Queue(directory / "queue")
        self.daemon = Daemon(directory)
        self.killed: list[int] = []
        """The exit status of each daemon that was killed."""
        self._machines = machines
        pool = {**self.queue.pool("gpu"), "provider": dict(provider), "max_instances": 4}
        config = {"cluster": "team", "store": {"url": f"sqlite:///{directory}/books.db"}, "pools": [pool]}
        (directory / "slotsmith.yaml").write_text(json.dumps(config))

    def sign_in(self) -> int:
        """Let agents be where machines run, and nowhere else; how many machines there are."""
        machines = self._machines()
        for name in set(self.queue.live()) - machines.keys():
            (self.queue.agents / name).unlink()
        for name, runs in machines.items():
            if runs:
                (self.queue.agents / name).touch()
        return len(machines)

    def until(self, count: int) -> None:
        """Wait until there are so many machines."""
        self._wait(lambda: self.sign_in() == count, f"{count} machines")

    def _wait(self, state: Callable[[], bool], what: str) -> None:
        wait_until(state, timeout=_PATIENCE, what=lambda: f"{what}\n{self.daemon.log()}")

    def kill(self) -> None:
        """`kill -9`, from whatever thread."""
        process = self.daemon.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        self.killed.append(process.wait())

    def live_with_a_kill(self, count: int, *, comes: Callable[[], bool]) -> None:
        """Up to so many machines and down to none; whoever calls `kill` meanwhile, the next daemon goes on from there.

        `comes`: whether the kill is still to come when all machines are gone.
        """
        with self.daemon as daemon:
            self.queue.demand(count)
            daemon.start()
            self._wait(lambda: self.sign_in() == count or bool(self.killed), "machines")
            if self.killed:
                daemon.start()
            self.until(count)
            self.queue.demand(0)
            alive = not self.killed
            self._wait(lambda: self.sign_in() == 0 or (alive and bool(self.killed)), "an end")
            self._wait(lambda: bool(self.killed) or not comes(), "the kill")
            if alive and self.killed:
                daemon.start()
            self.until(0)
            # One that hears no signals yet would not end as a daemon does.
            starts = 2 if self.killed else 1
            self._wait(lambda: daemon.log().count("[slotsmith.daemon]") >= starts, "the last start")
            daemon.stop()
