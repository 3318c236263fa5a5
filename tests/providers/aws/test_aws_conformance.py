"""The EC2 provider does what every provider must, over the real wire."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.aws.ec2_harness import Ec2Harness  # noqa: E402
from providers.aws.ec2_persistent import Persistent  # noqa: E402
from slotsmith.providers.base import Provider  # noqa: E402
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


class FaultyHarness(Ec2Harness):
    """Many calls go wrong, in turn: the answer is lost, or nothing is done. The caller asks again."""

    def provider(self, pool: str = "one") -> Provider:
        return Persistent(super().provider(pool))  # type: ignore[return-value]


@pytest.mark.slow
class TestWithFaults(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        harness = FaultyHarness(directory, {"lag": 0.02, "boot": 0.02, "ending": 0.02}, zones=["eu-west-1a"])
        journal, turns = harness.world.journal, iter(range(1_000_000))

        def go_wrong(operation: str, phase: str) -> None:
            if phase == "before":
                kind = ("lose", "error", "cut", "", "lose", "error", "")[next(turns) % 7]
                journal.faults.clear()
                for each in ("RunInstances", "DescribeInstances", "TerminateInstances") if kind else ():
                    journal.fault(kind, each, code="InternalError")  # type: ignore[arg-type]

        journal.watch = go_wrong
        return harness
