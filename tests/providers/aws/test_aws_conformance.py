"""The EC2 provider does what every provider must, over the real wire."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.aws.ec2_world import Ec2Harness  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402


class TestOnDemand(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return Ec2Harness(directory, {})


class TestSpotFleetUnderLag(ProviderConformance):
    """EC2 chooses the zone, shows instances late, boots and ends them slowly."""

    def harness(self, directory: Path) -> Harness:
        return Ec2Harness(
            directory, {"lag": 0.03, "boot": 0.05, "ending": 0.05}, markets=["spot"], spread="zones", zones=[]
        )
