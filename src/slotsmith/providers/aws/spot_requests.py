"""Spot requests that wait: an instance that is asked for at a price, and comes when the market allows it.

A request is an instance to us from the moment in which it is placed, under its own id (`sir-...`), and stays that when
it is fulfilled: so nothing is lost or counted twice between a request and its instance. Its tags say whose it is. EC2
puts no tags on the instances of such requests; the listing finds them by their requests, and tags them once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.client import AwsClient
from slotsmith.providers.aws.errors import AwsError
from slotsmith.providers.aws.rows import Row
from slotsmith.providers.aws.tags import CLUSTER, INTENT, MODE, as_aws
from slotsmith.providers.base import ProviderError

REQUEST_MODE: Final = "request"
PENDING: Final = "pending-request"
"""The state of a row whose request is open; no state of an instance is called like that."""

_FILTER_VALUES: Final = 200
"""EC2's most for one filter."""
_RUNS_ON: Final = "request-canceled-and-instance-running"


async def rows(client: AwsClient, cluster: str, tagged: set[str]) -> list[Row]:
    """A row for each request that is open or has an instance; `tagged` has the instances that were tagged before.

    Raises:
        ProviderError: EC2 cannot be asked.
    """
    found = [each async for each in _requests(client, cluster, "state", ["open", "active", "cancelled"])]
    requests = {each["SpotInstanceRequestId"]: each for each in found if _matters(each)}
    instances = await _instances(client, [key for key, each in requests.items() if each.get("InstanceId")])
    made = []
    for key, each in requests.items():
        row = _row(key, each, instances.get(key))
        if row is not None:
            made.append(row)
    await _tag(client, [row for row in instances.values() if CLUSTER not in row.tags], requests, tagged)
    return made


async def of_token(client: AwsClient, cluster: str, token: str) -> list[str]:
    """All requests that a token placed, also those that are over. Raises ProviderError."""
    return [each["SpotInstanceRequestId"] async for each in _requests(client, cluster, f"tag:{INTENT}", [token])]


async def any_left(client: AwsClient, cluster: str) -> bool:
    """Whether there are requests that wait or have an instance: of a pool that placed some before its settings changed.

    False also when EC2 does not let us ask.
    """
    try:
        async for each in _requests(client, cluster, "state", ["open", "active"]):
            return bool(each)
    except AwsError as error:
        if error.kind is not ErrorKind.DENIED:
            raise
    return False


async def _requests(
    client: AwsClient, cluster: str, name: str, values: Sequence[str]
) -> AsyncIterator[Mapping[str, Any]]:
    filters = [
        {"Name": f"tag:{CLUSTER}", "Values": [cluster]},
        {"Name": f"tag:{MODE}", "Values": [REQUEST_MODE]},
        {"Name": name, "Values": list(values)},
    ]
    async for page in client.pages(
        "DescribeSpotInstanceRequests", "SpotInstanceRequests", Filters=filters, MaxResults=1000
    ):
        for each in page:
            yield each


def _code(request: Mapping[str, Any]) -> str:
    return str(request.get("Status", {}).get("Code", ""))


def _matters(request: Mapping[str, Any]) -> bool:
    """A cancelled request is over, unless it was fulfilled just before: then somebody must end its instance."""
    return request.get("State") != "cancelled" or (_code(request) == _RUNS_ON and bool(request.get("InstanceId")))


async def _instances(client: AwsClient, request_ids: Sequence[str]) -> dict[str, Row]:
    """The instances of these requests, by request; those that EC2 does not show yet are left out."""
    found: dict[str, Row] = {}
    for begin in range(0, len(request_ids), _FILTER_VALUES):
        filters = [{"Name": "spot-instance-request-id", "Values": list(request_ids[begin : begin + _FILTER_VALUES])}]
        async for page in client.pages("DescribeInstances", "Reservations", Filters=filters, MaxResults=1000):
            found |= {row.request: row for row in page}
    return found


def _row(request_id: str, request: Mapping[str, Any], instance: Row | None) -> Row | None:
    """None = its instance is gone, and EC2 has only not told the request yet."""
    tags = {each["Key"]: each["Value"] for each in request.get("Tags", ())}
    if instance is not None:
        if instance.state == "terminated":
            return None
        return instance._replace(id=request_id, tags={**instance.tags, **tags}, agent=instance.id)
    spec, created = request.get("LaunchSpecification", {}), request.get("CreateTime")
    status = request.get("Status", {})
    return Row(
        id=request_id,
        state="pending" if request.get("InstanceId") else PENDING,
        launched_at=created.timestamp() if created else 0.0,
        instance_type=spec.get("InstanceType", ""),
        zone=spec.get("Placement", {}).get("AvailabilityZone", ""),
        spot=True,
        request=request_id,
        reason=f"{_code(request)}: {status.get('Message', '')}".strip(": "),
        tags=tags,
        agent=request.get("InstanceId") or request_id,
    )


async def _tag(
    client: AwsClient, bare: Sequence[Row], requests: Mapping[str, Mapping[str, Any]], tagged: set[str]
) -> None:
    """Give instances the tags of their requests, once; what fails is tried at the next listing."""
    by_tags: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in bare:
        if row.id not in tagged and row.state != "terminated":
            tags = tuple(sorted((each["Key"], each["Value"]) for each in requests[row.request].get("Tags", ())))
            by_tags.setdefault(tags, []).append(row.id)
    for tags, ids in by_tags.items():
        try:
            await client.call("CreateTags", Resources=ids, Tags=as_aws(dict(tags)))
        except ProviderError:
            # They are found by their requests all the same.
            continue
        tagged.update(ids)


async def cancel(client: AwsClient, request_ids: Sequence[str]) -> dict[str, ProviderError]:
    """Cancel these requests, and end the instances of those that were fulfilled; the result has what failed."""
    if not request_ids:
        return {}
    try:
        await client.call("CancelSpotInstanceRequests", SpotInstanceRequestIds=list(request_ids))
        answer = await client.call("DescribeSpotInstanceRequests", SpotInstanceRequestIds=list(request_ids))
        # After the cancellation nothing is fulfilled any more, so these are all.
        ids = [each["InstanceId"] for each in answer["SpotInstanceRequests"] if each.get("InstanceId")]
        if ids:
            await client.call("TerminateInstances", instances=len(ids), InstanceIds=ids)
    except AwsError as error:
        if error.kind is not ErrorKind.GONE or len(request_ids) == 1:
            return dict.fromkeys(request_ids, error)
        half = len(request_ids) // 2
        return {**await cancel(client, request_ids[:half]), **await cancel(client, request_ids[half:])}
    return {}
