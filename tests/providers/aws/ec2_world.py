"""Providers on the EC2 for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_catalogue import IMAGE, REGION, ZONES
from providers.aws.ec2_server import Server
from slotsmith.clock import Clock, SystemClock
from slotsmith.providers.aws import AwsSettings, create
from slotsmith.providers.base import Provider, ProviderContext
from slotsmith.providers.conformance import Harness


def settings(url: str, **more: Any) -> AwsSettings:
    """One type in one zone unless more is said."""
    base: dict[str, Any] = {
        "type": "aws",
        "region": REGION,
        "image_id": IMAGE,
        "endpoint_url": url,
        "zones": ["eu-west-1a"],
        "agent": {"preset": "dask", "scheduler": "tcp://10.0.0.5:8786"},
    }
    if not {"instance_type", "instance_types"} & more.keys():
        base["instance_type"] = "g4dn.xlarge"
    return AwsSettings.model_validate({**base, **more})


def credentials(patch: pytest.MonkeyPatch) -> None:
    """Some for boto3, and none of this machine's own files or metadata."""
    patch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)


class World:
    """A server, and providers on it; `wakes` counts how often any of them told of a change."""

    def __init__(self, directory: Path, clock: Clock | None = None, **server: Any) -> None:
        self.directory = directory
        self.clock = clock or SystemClock()
        self.patch = pytest.MonkeyPatch()
        credentials(self.patch)
        self.server = Server(**server).__enter__()
        self.ec2 = self.server.ec2
        self.journal = self.server.journal
        self.wakes = 0

    def provider(self, pool: str = "one", cluster: str = "team", **more: Any) -> Provider:
        """Not set up yet; further settings as in a config file."""
        context = ProviderContext(cluster, pool, self.directory, self.clock, self._wake)
        return create(settings(self.server.url, **more), context)

    def close(self) -> None:
        self.patch.undo()
        self.server.__exit__()

    def _wake(self) -> None:
        self.wakes += 1


class Ec2Harness(Harness):
    """For the conformance suite."""

    unknown_id = "i-0123456789abcdef0"
    look_again = 0.02
    cancel_after = (0.0, 0.001, 0.004, 0.012, 0.03)

    def __init__(self, directory: Path, server: dict[str, Any], **more: Any) -> None:
        super().__init__()
        self.world = World(directory, **server)
        # One client less to make, for each of some hundred providers.
        prices = directory / "prices.csv"
        prices.write_text("instance_type,price_per_hour\ng4dn.xlarge,0.587\n")
        self.more = {"catalog": prices, **more}

    def provider(self, pool: str = "one") -> Provider:
        return self.world.provider(pool, **self.more)

    def finish(self) -> None:
        self.world.close()

    async def restrict(self, provider: Provider, count: int) -> bool:
        for market in ("spot", "on-demand"):
            for zone in ZONES:
                self.world.ec2.capacity["g4dn.xlarge", zone, market] = count if zone == ZONES[0] else 0
        return True
