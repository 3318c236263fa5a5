"""A pool on EC2 that goes up and down under `slotsmith run`, and whose daemon is killed at every call that it makes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_world import World
from system.cloud_pool import CloudPool, ec2_provider
from waiting import wait_until

_LISTINGS = ("DescribeInstances", "DescribeSpotInstanceRequests")
_COUNT = 3
_OWNER = {"slotsmith-cluster": "team", "slotsmith-pool": "gpu"}


def pool_on(directory: Path, world: World, **more: Any) -> CloudPool:
    """A daemon with a pool on this world's server."""

    def machines() -> dict[str, bool]:
        return {one.id: world.ec2.state(one) == "running" for one in world.ec2.alive}

    return CloudPool(directory, ec2_provider(world, directory, **more), machines)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


class Killing:
    """Kills the daemon before or after the first call of its kind that follows on another one ("" = on none)."""

    def __init__(self, call: str, follows: str, phase: str, kill: Callable[[], None]) -> None:
        self._call, self._follows, self._phase, self._kill = call, follows, phase, kill
        self._served: set[str] = {""}
        self._done = False

    def __call__(self, operation: str, phase: str) -> None:
        name = _LISTING if operation in _LISTINGS else operation
        if not self._done and (name, phase) == (self._call, self._phase) and self._follows in self._served:
            self._done = True
            self._kill()
        if phase == "after":
            self._served.add(name)


_LISTING = "a listing"
_LIVES: dict[str, tuple[dict[str, Any], tuple[tuple[str, str], ...]]] = {
    "one place": (
        {},
        (
            *((_LISTING, ""), ("RunInstances", ""), (_LISTING, "RunInstances")),
            *(("TerminateInstances", ""), (_LISTING, "TerminateInstances")),
        ),
    ),
    "a fleet": (
        {"spread": "zones", "zones": [], "spot": True},
        (
            *((_LISTING, ""), ("CreateLaunchTemplate", ""), ("CreateFleet", ""), (_LISTING, "CreateFleet")),
            *(("TerminateInstances", ""), (_LISTING, "TerminateInstances")),
        ),
    ),
    "requests": (
        {"spot": True, "spot_mode": "request"},
        (
            *((_LISTING, ""), ("RequestSpotInstances", ""), (_LISTING, "RequestSpotInstances"), ("CreateTags", "")),
            *(("CancelSpotInstanceRequests", ""), (_LISTING, "CancelSpotInstanceRequests")),
            *(("TerminateInstances", ""), (_LISTING, "TerminateInstances")),
        ),
    ),
}
"""Settings, and the calls of a life: listings come again and again, so that all between two other calls are one."""
_POINTS = [
    pytest.param(life, *point, phase, id=f"{life}, {phase} {point[0]} {point[1]}".strip())
    for life, (_, points) in _LIVES.items()
    for point in points
    for phase in ("before", "after")
]


@pytest.mark.slow
@pytest.mark.parametrize(("life", "call", "follows", "phase"), _POINTS)
def test_i3_the_daemon_is_killed_at_every_call(
    tmp_path: Path, aws: World, life: str, call: str, follows: str, phase: str
) -> None:
    """`kill -9` at each call of a launch and of a termination, in turn: three instances for one intent, then none."""
    more, _ = _LIVES[life]
    fleet = pool_on(tmp_path, aws, **more)
    aws.journal.watch = Killing(call, follows, phase, fleet.kill)
    fleet.live_with_a_kill(_COUNT, comes=lambda: True)
    assert fleet.killed == [-signal.SIGKILL]
    _check(aws)


def _check(world: World) -> None:
    """Never two launches for an intent, never anything without our tags, and nothing is left."""
    assert len(world.ec2.instances) == _COUNT
    intents = set()
    for one in world.ec2.instances.values():
        request = world.ec2.spot.requests.get(one.spot_request)
        # What comes of a waiting request is known by that: EC2 gives such instances no tags.
        tags = request.tags if request is not None and "slotsmith-mode" in request.tags else one.tags
        assert _OWNER.items() <= tags.items()
        intents.add(tags["slotsmith-intent"])
    assert len(intents) == 1
    for request in world.ec2.spot.requests.values():
        assert _OWNER.items() <= request.tags.items()
        assert request.state != "open"
    for template in world.ec2.templates.values():
        assert _OWNER.items() <= template["tags"].items()
    assert not world.ec2.alive


def test_a_pool_goes_up_and_down_and_says_why(tmp_path: Path, aws: World) -> None:
    """A zone without room: told in `explain`, and launched in the other."""
    aws.ec2.capacity["g4dn.xlarge", "eu-west-1a", "on-demand"] = 0
    fleet = pool_on(tmp_path, aws, zones=["eu-west-1a", "eu-west-1b"])
    with fleet.daemon as daemon:
        fleet.queue.demand(2)
        daemon.start()
        fleet.until(2)
        assert {one.place[1] for one in aws.ec2.alive} == {"eu-west-1b"}
        told = "pending tasks need 2 more instances, without g4dn.xlarge/eu-west-1a/on-demand"
        wait_until(lambda: told in daemon.command("explain").stdout, timeout=60, what=f"the reason\n{daemon.log()}")
        fleet.queue.demand(0)
        fleet.until(0)
        daemon.stop()
        assert "Traceback" not in daemon.log()
    assert len(aws.ec2.instances) == 2
