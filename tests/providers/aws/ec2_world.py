"""Providers on the EC2 for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_catalogue import IMAGE, REGION
from providers.aws.ec2_server import Server
from slotsmith.clock import Clock, SystemClock
from slotsmith.providers.aws import AwsSettings, create
from slotsmith.providers.base import Provider, ProviderContext


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


class Ticking(SystemClock):
    """A clock that can be put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class World:
    """A server, and providers on it; `wakes` counts how often any of them told of a change.

    `on_wake` is what each of them wakes then.
    """

    def __init__(self, directory: Path, clock: Clock | None = None, **server: Any) -> None:
        self.directory = directory
        self.clock = clock or SystemClock()
        self.patch = pytest.MonkeyPatch()
        credentials(self.patch)
        self.server = Server(**server).__enter__()
        self.ec2 = self.server.ec2
        self.journal = self.server.journal
        self.wakes = 0
        self.on_wake: Callable[[], None] = lambda: None

    def provider(self, pool: str = "one", cluster: str = "team", **more: Any) -> Provider:
        """Not set up yet; further settings as in a config file."""
        context = ProviderContext(cluster, pool, self.directory, self.clock, self._wake)
        return create(settings(self.server.url, **more), context)

    def close(self) -> None:
        self.patch.undo()
        self.server.__exit__()

    def _wake(self) -> None:
        self.wakes += 1
        self.on_wake()
