"""The EC2 for tests as a world of the conformance suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from providers.aws.ec2_catalogue import ZONES
from providers.aws.ec2_world import World
from slotsmith.providers.base import Provider
from slotsmith.providers.conformance import Harness


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
