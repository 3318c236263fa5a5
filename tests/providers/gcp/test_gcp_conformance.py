"""The GCE provider does what every provider must, over HTTP, whatever the contract allows to go wrong."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("slotsmith.providers.conformance")

from providers.gcp.gce_cloud import Cloud  # noqa: E402
from providers.gcp.gce_faults import BACKEND, RATE, Fault  # noqa: E402
from providers.gcp.gce_world import GceHarness  # noqa: E402
from slotsmith.providers.conformance import Harness, ProviderConformance  # noqa: E402

ZONES = ("us-central1-a", "us-central1-b")


class TestGce(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        return GceHarness()


class TestGceInSeveralZonesOnSmallPages(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        cloud = Cloud(operation_time=0.004, boot_time=0.004)
        cloud.page_size = 2
        prices = directory / "prices.csv"
        prices.write_text("instance_type,market,price_per_hour\nn1-standard-8,spot,0.1\n")
        return GceHarness(cloud, zones=ZONES, spot=True, prices=prices)


class TestGceInARegionWithSlowOperationsListingsThatLagAndLooksThatFail(ProviderConformance):
    def harness(self, directory: Path) -> Harness:
        cloud = Cloud(operation_time=0.06)
        cloud.listing_lag = 0.05
        harness = GceHarness(cloud, zones=ZONES, regional=True, machine_types=["n1-standard-32"])
        wait = "regionOperations.wait"
        harness.server.faults.add(Fault(wait, error=BACKEND, times=2), Fault(wait, lost=True), Fault(wait, error=RATE))
        return harness
