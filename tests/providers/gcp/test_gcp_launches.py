"""Launches on GCE when something goes wrong: what is known, what is not, and that no token launches twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from providers.gcp import gce_faults
from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_faults import BACKEND, FORBIDDEN, QUOTA, RATE, STOCK_OUT, ApiError, Fault, OperationFault
from providers.gcp.gce_server import GceServer
from providers.gcp.gce_world import QuickClock, provider
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderError
from slotsmith.providers.gcp.operations import read_operation

INSERT, WAIT = "instances.bulkInsert", "zoneOperations.wait"


@asynccontextmanager
async def opened(server: GceServer, pool: str = "one", **more: Any) -> AsyncIterator[Provider]:
    subject = provider(server, pool, QuickClock(), **more)
    try:
        await subject.setup()
        yield subject
    finally:
        await subject.close()


def run(check: Coroutine[Any, Any, None]) -> None:
    asyncio.run(check)


async def launch(subject: Provider, token: str = "token", count: int = 3) -> LaunchResult:
    return await subject.launch(LaunchRequest(token, subject.offerings()[0], count))


async def failure(subject: Provider, token: str = "token", count: int = 3) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await launch(subject, token, count)
    return raised.value


@pytest.fixture
def server() -> Any:
    with GceServer(Cloud(operation_time=0.004, boot_time=0.004)) as running:
        yield running


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RATE, ErrorKind.THROTTLED),
        (ApiError(429, "tooManyRequests"), ErrorKind.THROTTLED),
        (BACKEND, ErrorKind.TRANSIENT),
        (ApiError(500, "internalError"), ErrorKind.TRANSIENT),
        (STOCK_OUT, ErrorKind.CAPACITY),
        (QUOTA, ErrorKind.QUOTA),
        (FORBIDDEN, ErrorKind.DENIED),
        (ApiError(401, "authError"), ErrorKind.DENIED),
        (ApiError(400, "invalid", "Invalid value for field 'resource.x'"), ErrorKind.INVALID),
        (ApiError(404, "notFound"), ErrorKind.GONE),
        (ApiError(409, "somethingNew"), ErrorKind.INVALID),
    ],
)
def test_what_is_answered_at_once_is_typed(server: GceServer, error: ApiError, kind: ErrorKind) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(INSERT, error=error))
            answer = await failure(subject)
            assert answer.kind is kind
            assert error.message in str(answer)
            assert await subject.list_instances() == []
            assert len((await launch(subject, "other")).instance_ids) == 3

    run(check())
    assert len(server.cloud.created_ever) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", ErrorKind.CAPACITY),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", ErrorKind.CAPACITY),
        ("QUOTA_EXCEEDED", ErrorKind.QUOTA),
        ("PERMISSIONS_ERROR", ErrorKind.DENIED),
        ("INVALID_USAGE", ErrorKind.INVALID),
        ("A_NEW_WORD", ErrorKind.CAPACITY),
    ],
)
def test_w63_what_the_operation_ends_with_is_the_answer(server: GceServer, code: str, kind: ErrorKind) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.cloud.operation_faults.append(OperationFault(code))
            answer = await failure(subject)
            assert answer.kind is kind
            assert f"Google says {code}: it is a test" in str(answer)
            assert str(await failure(subject)) == str(answer), "the same token has the same answer"

    run(check())
    assert server.cloud.created_ever == []


def test_w64_a_part_is_a_part_with_its_reason(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.cloud.operation_faults.append(OperationFault("QUOTA_EXCEEDED", created=2))
            result = await launch(subject)
            assert result.shortfall is not None
            assert result.shortfall.kind is ErrorKind.QUOTA
            assert str(result.shortfall).startswith("2 of 3 instances were launched: Google says QUOTA_EXCEEDED")
            listed = {instance.id for instance in await subject.list_instances()}
            assert set(result.instance_ids) == listed
            assert len(listed) == 2

    run(check())


def test_a_part_that_no_listing_shows_yet_is_asked_for_by_name(server: GceServer) -> None:
    server.cloud.listing_lag = 60

    async def check() -> None:
        async with opened(server) as subject:
            server.cloud.operation_faults.append(OperationFault("QUOTA_EXCEEDED", created=2))
            assert list((await launch(subject)).instance_ids) == server.cloud.created_ever

    run(check())


def test_a_part_of_which_the_operation_does_not_say_how_many_is_found(server: GceServer) -> None:
    server.cloud.listing_lag = 60
    server.cloud.tells_progress = False

    async def check() -> None:
        async with opened(server) as subject:
            server.cloud.operation_faults.append(OperationFault("QUOTA_EXCEEDED", created=2))
            assert list((await launch(subject)).instance_ids) == server.cloud.created_ever

    run(check())


def test_trouble_with_looking_at_an_operation_is_told_once_and_at_the_end(server: GceServer) -> None:
    server.cloud.operation_time = 60

    async def check() -> None:
        async with opened(server, operation_timeout_period="100ms") as subject:
            server.faults.add(Fault(WAIT, error=FORBIDDEN, times=1000))
            with capture_logs() as logs:
                answer = await failure(subject)
            assert answer.kind is ErrorKind.TRANSIENT
            assert "is still PENDING after 0.1 seconds: Google says 403 forbidden" in str(answer)
            assert [each["event"] for each in logs].count("cannot look at an operation, trying again") == 1

    run(check())


@pytest.mark.parametrize("method", [INSERT, WAIT])
@pytest.mark.parametrize("after", [False, True])
def test_i3_a_lost_answer_is_asked_for_again(server: GceServer, method: str, after: bool) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(method, lost=True, after=after))
            if method == INSERT:
                assert (await failure(subject)).kind is ErrorKind.TRANSIENT
            assert len((await launch(subject)).instance_ids) == 3

    run(check())
    assert len(server.cloud.created_ever) == 3


def test_i3_a_no_after_a_lost_answer_tells_of_what_was_launched(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(INSERT, lost=True, after=True), Fault(INSERT, error=FORBIDDEN, skip=1))
            assert (await failure(subject)).kind is ErrorKind.TRANSIENT
            assert len((await launch(subject)).instance_ids) == 3

    run(check())
    assert len(server.cloud.created_ever) == 3


def test_i3_a_request_id_that_google_has_forgotten_launches_nothing(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            first = await launch(subject)
            server.cloud.operations.clear()
            again = await launch(subject)
            assert again == first

    run(check())
    assert len(server.cloud.created_ever) == 3


def test_w65_a_look_that_fails_ends_nothing(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(WAIT, error=BACKEND, times=2), Fault(WAIT, error=RATE), Fault(WAIT, lost=True))
            assert len((await launch(subject)).instance_ids) == 3

    run(check())
    assert server.cloud.calls[WAIT] == 5


def test_w65_a_long_operation_is_found_again(server: GceServer) -> None:

    async def check() -> None:
        server.cloud.operation_time = 30
        async with opened(server, operation_timeout_period="20ms") as subject:
            server.faults.add(Fault(WAIT, error=BACKEND, times=100))
            answer = await failure(subject)
            assert answer.kind is ErrorKind.TRANSIENT
            assert "is still PENDING after 0.02 seconds" in str(answer)
        server.faults = gce_faults.Faults()
        with server.lock:
            for _, _, act in list(server.cloud._events):
                act()
            server.cloud.operation_time = 0.004
        async with opened(server) as subject:
            operation = next(iter(server.cloud.operations.values()))
            server.cloud._end(operation)
            assert len((await launch(subject)).instance_ids) == 3

    run(check())
    assert len(server.cloud.created_ever) == 3
    assert len(server.cloud.operations) == 1


def test_more_than_google_makes_at_once(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            result = await launch(subject, count=1001)
            assert len(result.instance_ids) == 1000
            assert "GCE makes at most 1000 instances at once" in str(result.shortfall)
            assert len(await subject.list_instances()) == 1000

    run(check())


def test_a_region_gives_what_a_zone_has_not(server: GceServer) -> None:
    server.cloud.room = {"us-central1-a": 1, "us-central1-b/n1-standard-8": 0}
    zones = ["us-central1-a", "us-central1-b"]

    async def check() -> None:
        async with opened(server, zones=zones, regional=True, machine_types=["n1-standard-32"]) as subject:
            # There are no prices to choose by, so GCE chooses.
            assert [offering.name for offering in subject.offerings()] == ["n1-standard-8/us-central1/on-demand"]
            result = await launch(subject)
            assert result.shortfall is None
            names = sorted(instance.offering for instance in await subject.list_instances())
            assert names == ["n1-standard-32/us-central1/on-demand"] * 2 + ["n1-standard-8/us-central1/on-demand"]

    run(check())


def test_operations_are_data() -> None:
    """HISTORY 1: a word that nobody knows is no failure."""
    operation = read_operation({"name": "o", "status": "A_NEW_WORD", "zone": "https://x/zones/z"})
    assert (operation.done, operation.error, operation.created, operation.scope) == (False, None, None, "zones/z")
    rolled = {"zones/z": {"targetVmCount": 3, "createdVmCount": 2, "deletedVmCount": 2, "failedToCreateVmCount": 1}}
    error = {"errors": [{"code": "X"}, {"code": "QUOTA_EXCEEDED", "message": "m"}]}
    body = {"status": "DONE", "error": error, "instancesBulkInsertOperationMetadata": {"perLocationStatus": rolled}}
    operation = read_operation(body)
    assert (operation.done, operation.created) == (True, 0)
    assert operation.error is not None
    assert (operation.error.kind, str(operation.error)) == (
        ErrorKind.QUOTA,
        "Google says QUOTA_EXCEEDED: m (and 1 more)",
    )
    warned = read_operation({"status": "DONE", "warnings": [{"code": "LIMIT_EXCEEDED", "message": "w"}]})
    assert warned.error is not None
    assert warned.error.kind is ErrorKind.QUOTA


def test_a_region_is_used_only_where_it_is_wanted(server: GceServer) -> None:
    """A zone that a location policy does not name is allowed, so the others are named, too."""
    server.cloud.room = {"us-central1-b": 0, "us-central1-c": 0}

    async def check() -> None:
        async with opened(server, zones=["us-central1-b", "us-central1-c"], regional=True) as subject:
            assert (await failure(subject)).kind is ErrorKind.CAPACITY
            server.cloud.room["us-central1-c"] = 1
            result = await launch(subject, "other")
            assert [zone for zone, _ in server.cloud.machines] == ["us-central1-c"]
            assert await subject.terminate(result.instance_ids) == {}

    run(check())
