"""A second opinion: moto's EC2, which others wrote, as far as it goes.

It knows no client tokens, launches the least that is asked for and not the most, fulfils everything at once, and has no
faults; so the conformance suite's tests of tokens, shortfalls and partial grants are not for it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.aws.ec2_world import credentials  # noqa: E402
from slotsmith.providers.aws import AwsSettings, create  # noqa: E402
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderContext  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402
from waiting import wait_until  # noqa: E402

pytestmark = pytest.mark.slow

_BEYOND_IT = (
    # An instance that is gone cannot be terminated again: it looks for its network interface.
    "test_terminating_twice_is_no_failure",
    "test_the_same_token_launches_once",
    "test_the_same_token_at_the_same_time_launches_once",
    "test_the_token_of_what_is_gone_launches_nothing",
    "test_a_restarted_provider_finds_and_ends_what_the_last_one_launched",
    "test_a_cancelled_launch_asked_again_launches_once",
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """moto's server, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name("moto_server"))
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, timeout=60, what="moto's port")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class OneByOne:
    """moto launches MinCount, and ours is 1: a launch of several is made of several."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        ids: list[str] = []
        for _ in range(request.count):
            ids += (await self._inner.launch(LaunchRequest(request.token, request.offering, 1))).instance_ids
        return LaunchResult(tuple(ids))


class MotoHarness(Harness):
    unknown_id = "i-0123456789abcdef0"
    look_again = 0.1
    patience = 60.0
    number = 0

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__()
        MotoHarness.number += 1
        self._cluster = f"team-{MotoHarness.number}"
        self._directory = directory
        self._url = url
        self._patch = pytest.MonkeyPatch()
        credentials(self._patch)

    def provider(self, pool: str = "one") -> Provider:
        settings = AwsSettings.model_validate(
            {
                "type": "aws", "region": "eu-west-1", "image_id": "ami-03cf127a", "instance_type": "g4dn.xlarge",
                "zones": ["eu-west-1a"], "endpoint_url": self._url, "root_volume_size": 100,
                "agent": {"preset": "dask", "scheduler": "tcp://10.0.0.5:8786"},
            }
        )  # fmt: skip
        context = ProviderContext(self._cluster, pool, self._directory, self.clock, lambda: None)
        return OneByOne(create(settings, context))  # type: ignore[return-value]

    def finish(self) -> None:
        self._patch.undo()


class TestMoto(ProviderConformance):
    @pytest.fixture(autouse=True)
    def _server(self, url: str, request: pytest.FixtureRequest) -> None:
        if request.node.name in _BEYOND_IT:
            pytest.skip("moto is not like EC2 there")
        self._url = url

    def harness(self, directory: Path) -> Harness:
        return MotoHarness(directory, self._url)
