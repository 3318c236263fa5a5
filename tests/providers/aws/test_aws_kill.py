"""The program is killed before and after every single call of a launch and of a termination."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from providers.aws import ec2_driver
from providers.aws.ec2_world import World

_COUNT = 3
_CALLS = (
    *("CreateLaunchTemplate", "CreateFleet", "RunInstances", "RequestSpotInstances", "CancelSpotInstanceRequests"),
    *("DescribeInstances", "DescribeSpotInstanceRequests", "CreateTags", "TerminateInstances"),
)
_TAGS = {"slotsmith-cluster": "team", "slotsmith-pool": "one"}


class Driver:
    """The program of `ec2_driver.py`. `run` returns the exit status: 0, or minus the signal that killed it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, ec2_driver.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"},
        )
        assert self._read() == "ready"
        self.pid = 0

    def start(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.pid = int(self._read())

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(int(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


class Killing:
    """Kills the program at one point: the `at`-th of all moments just before and just after a call is served."""

    def __init__(self, driver: Driver, at: int) -> None:
        self.moments: list[tuple[str, str]] = []
        self._driver = driver
        self._at = at

    def __call__(self, operation: str, phase: str) -> None:
        if operation not in _CALLS:
            # Part of the setup, which changes nothing.
            return
        self.moments.append((operation, phase))
        if len(self.moments) - 1 == self._at:
            with suppress(ProcessLookupError):
                os.kill(self._driver.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("name", "settings", "first"),
    [
        ("one place", {}, "RunInstances"),
        pytest.param(
            "requests", {"spot": True, "spot_mode": "request"}, "RequestSpotInstances", marks=pytest.mark.slow
        ),
        pytest.param("a fleet", {"spread": "zones", "zones": [], "spot": True}, "CreateFleet", marks=pytest.mark.slow),
    ],
)
def test_i3_killed_between_every_two_calls(
    tmp_path: Path, driver: Driver, name: str, settings: dict[str, Any], first: str
) -> None:
    point, killed = 0, []
    while True:
        directory = tmp_path / str(point)
        directory.mkdir()
        world = World(directory)
        killing = Killing(driver, point)
        world.journal.watch = killing
        order = {
            "url": world.server.url, "book": str(directory / "book"), "token": f"token-{point}", "count": _COUNT,
            "settings": {**settings, "catalog": _catalog(directory)}, "terminate": True,
        }  # fmt: skip
        try:
            driver.start(order)
            status = driver.wait()
            _check(world, order["token"])
            if not status:
                # It came to its end before that point: all of them were tried.
                break
            assert status == -signal.SIGKILL
            killed.append(killing.moments[point])
            world.journal.watch = None
            driver.start(order)
            assert driver.wait() == 0, killing.moments
            _check(world, order["token"])
            launched = world.ec2.spot.requests if name == "requests" else world.ec2.instances
            assert len(launched) == _COUNT, killing.moments
            assert not world.ec2.alive, killing.moments
        finally:
            world.close()
        point += 1
    last = "CancelSpotInstanceRequests" if name == "requests" else "TerminateInstances"
    assert {(operation, phase) for operation in (first, last) for phase in ("before", "after")} <= set(killed)


def _catalog(directory: Path) -> str:
    path = directory / "prices.csv"
    path.write_text("instance_type,price_per_hour\ng4dn.xlarge,0.5\n")
    return str(path)


def _check(world: World, token: str) -> None:
    """Never more than the intent asked for, and nothing without our tags, whenever one looks."""
    assert len(world.ec2.instances) <= _COUNT
    tags = {**_TAGS, "slotsmith-intent": token}
    for one in world.ec2.instances.values():
        request = world.ec2.spot.requests.get(one.spot_request)
        if request is not None and "slotsmith-mode" in request.tags:
            # Found by its request, for EC2 gives the instances of such requests no tags.
            assert tags.items() <= request.tags.items()
            continue
        assert tags.items() <= one.tags.items()
        assert _TAGS.items() <= world.ec2.volumes[one.volume].items()
    for request in world.ec2.spot.requests.values():
        assert _TAGS.items() <= request.tags.items()
    for template in world.ec2.templates.values():
        assert _TAGS.items() <= template["tags"].items()
