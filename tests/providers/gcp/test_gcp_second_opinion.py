"""Google's own client talks to the tests' GCE, and finds there what ours has launched. It takes seconds to import."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_faults import QUOTA, Fault
from providers.gcp.gce_server import GceServer
from providers.gcp.test_gcp_launches import launch, opened
from waiting import wait_until

pytestmark = pytest.mark.slow
ZONE = {"project": "proj", "zone": "us-central1-a"}


@pytest.fixture
def server() -> Iterator[GceServer]:
    with GceServer(Cloud(operation_time=0.01, boot_time=0.01)) as running:
        yield running


@pytest.fixture
def official() -> Any:
    return pytest.importorskip("google.cloud.compute_v1", reason="make test-slow installs it")


def client(official: Any, kind: str, server: GceServer) -> Any:
    from google.auth.credentials import AnonymousCredentials

    transport = getattr(official.services, kind).transports
    name = "".join(part.capitalize() for part in kind.split("_"))
    rest = getattr(transport, f"{name}RestTransport")
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    made = rest(host=server.metadata_host, url_scheme="http", credentials=credentials)
    return getattr(official, f"{name}Client")(transport=made)


def finished(official: Any, operations: Any, name: str) -> Any:
    """The operation at its end; `wait` may answer before."""

    def ended() -> Any:
        operation = operations.wait(operation=name, **ZONE)
        return operation if operation.status == official.Operation.Status.DONE else None

    return wait_until(ended, what=f"the end of operation {name}")


def test_it_launches_waits_lists_and_deletes(server: GceServer, official: Any) -> None:
    instances, operations = (client(official, kind, server) for kind in ("instances", "zone_operations"))
    body = official.BulkInsertInstanceResource(
        count=2,
        min_count=1,
        per_instance_properties={name: {} for name in ("a-1", "a-2")},
        instance_properties=official.InstanceProperties(machine_type="n1-standard-8", labels={"k": "v"}),
    )
    request = {
        **ZONE,
        "bulk_insert_instance_resource_resource": body,
        "request_id": "6f2b0a0e-6a43-4b0b-9d3e-0f1c5d1f7a11",
    }
    begun = instances.bulk_insert_unary(request=request)
    assert instances.bulk_insert_unary(request=request).name == begun.name, "a request id counts once"
    ended = finished(official, operations, begun.name)
    status = ended.instances_bulk_insert_operation_metadata.per_location_status["zones/us-central1-a"]
    assert (status.created_vm_count, status.failed_to_create_vm_count) == (2, 0)
    server.cloud.page_size = 1
    listed = list(instances.list(request={**ZONE, "filter": 'labels.k = "v"'}))
    assert [each.name for each in listed] == ["a-1", "a-2"]
    everywhere = instances.aggregated_list(request={"project": "proj"})
    assert sum(len(scope.instances) for _, scope in everywhere) == 2
    gone = instances.delete_unary(instance="a-1", **ZONE)
    finished(official, operations, gone.name)
    assert [each.name for each in instances.list(request=ZONE)] == ["a-2"]


def test_it_finds_what_ours_has_launched(server: GceServer, official: Any) -> None:
    async def ours() -> None:
        async with opened(server, "GPU_1", spot=True) as subject:
            await launch(subject, "token", 2)

    asyncio.run(ours())
    instances = client(official, "instances", server)
    found = list(instances.list(request={**ZONE, "filter": 'labels.slotsmith-token = "token"'}))
    assert len(found) == 2
    assert {each.scheduling.provisioning_model for each in found} == {"SPOT"}
    assert all(each.status in ("PROVISIONING", "STAGING", "RUNNING") for each in found)


def test_it_understands_the_errors(server: GceServer, official: Any) -> None:
    from google.api_core.exceptions import Forbidden, NotFound

    instances = client(official, "instances", server)
    with pytest.raises(NotFound):
        instances.delete_unary(instance="nobody", **ZONE)
    server.faults.add(Fault("instances.list", error=QUOTA))
    with pytest.raises(Forbidden) as raised:
        list(instances.list(request=ZONE))
    assert raised.value.errors[0]["reason"] == "quotaExceeded"
