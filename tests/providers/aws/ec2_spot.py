"""Spot requests of the EC2 for tests: their states and status codes, late visibility, races of cancelling.

The moves are those of SPEC 7.4's reference and of AWS's page on spot request status: open (pending-evaluation, then
perhaps capacity-not-available, price-too-low, ...), active (fulfilled), closed, cancelled, failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from providers.aws.ec2_faults import Ec2Error

if TYPE_CHECKING:
    from providers.aws.ec2_backend import Ec2, Ec2Instance

MESSAGES = {
    "pending-evaluation": "Your Spot request has been submitted for review, and is pending evaluation.",
    "capacity-not-available": "There is no Spot capacity available that matches your request.",
    "price-too-low": "Your maximum price is lower than the minimum required Spot request fulfillment price.",
    "fulfilled": "Your spot request is fulfilled.",
    "request-canceled-and-instance-running": "Your spot request is canceled, but your instance is still running.",
    "canceled-before-fulfillment": "Your Spot request was canceled before it was fulfilled.",
    "instance-terminated-by-user": "Your Spot instance was terminated because you terminated the instance.",
    "instance-terminated-no-capacity": "Your Spot instance was terminated because there is no Spot capacity available.",
}


@dataclass
class SpotRequest:
    id: str
    spec: Mapping[str, Any]
    price: str
    valid_from: float
    created: float
    visible: float
    tags: dict[str, str]
    token: str
    state: str = "open"
    code: str = "pending-evaluation"
    instance: str = ""
    waits: str = ""
    """A status code that keeps it open, as long as it stands."""
    hidden: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


class SpotRequests:
    """`delay` seconds pass before a request is looked at, `lag` before it is listed."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self.requests: dict[str, SpotRequest] = {}
        self.delay = 0.0
        self.lag = 0.0
        self.waits = ""
        self.skew = 0.0
        self._numbers = count(1)

    def behind(self, one: Ec2Instance, tags: dict[str, str]) -> str:
        """The request that RunInstances and CreateFleet make by the way."""
        now = self._ec2.now()
        request = SpotRequest(
            self._new_id(), one.spec, "", now, now, now, tags, one.token, "active", "fulfilled", one.id
        )
        self.requests[request.id] = request
        return request.id

    def _new_id(self) -> str:
        return f"sir-{next(self._numbers):08x}"

    def request_spot_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        def request() -> Any:
            made = [self._place(params) for _ in range(params.get("InstanceCount", 1))]
            return lambda: {"SpotInstanceRequests": [self._row(one) for one in made]}

        return self._ec2.once("RequestSpotInstances", params, request)

    def _place(self, params: Mapping[str, Any]) -> SpotRequest:
        now = self._ec2.now()
        begins = params.get("ValidFrom", now + self.skew + 1)
        if begins < now + self.skew:
            raise Ec2Error("InvalidTime", "ValidFrom must be in the future")
        if self._ec2.spot_left is not None and self._ec2.spot_left <= 0:
            raise Ec2Error("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        spec = self._ec2.spec_of(params["LaunchSpecification"])
        tags = self._ec2.tags_for(params, "spot-instances-request")
        one = SpotRequest(
            self._new_id(), spec, params.get("SpotPrice", ""), params.get("ValidFrom", now), now, now + self.lag, tags,
            params.get("ClientToken", ""), waits=self.waits,
        )  # fmt: skip
        self.requests[one.id] = one
        return one

    def move(self) -> None:
        """What has become of the requests by now."""
        now = self._ec2.now()
        for one in self.requests.values():
            if one.state != "open" or now < one.created + self.delay or now + self.skew < one.valid_from:
                continue
            if one.waits:
                one.code = one.waits
                continue
            place = (one.spec["InstanceType"], self._ec2.zone_of(one.spec), "spot")
            try:
                (made,) = self._ec2.make(place, 1, {**one.spec, "TagSpecifications": []}, one.token)
            except Ec2Error:
                one.code = "capacity-not-available"
                continue
            # The request that `make` put behind the instance is this one.
            del self.requests[made.spot_request]
            made.spot_request = one.id
            one.state, one.code, one.instance = "active", "fulfilled", made.id
            return self.move()
        return None

    def ended(self, instance: Ec2Instance) -> None:
        one = self.requests.get(instance.spot_request)
        if one is not None and one.state == "active":
            by_user = instance.reason.startswith("Client.User")
            one.state = "closed"
            one.code = "instance-terminated-by-user" if by_user else "instance-terminated-no-capacity"

    def describe_spot_instance_requests(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self.move()
        now = self._ec2.now()
        rows = [one for one in self.requests.values() if one.visible <= now and not one.hidden]
        ids = params.get("SpotInstanceRequestIds")
        if ids:
            unknown = [each for each in ids if each not in {one.id for one in rows}]
            if unknown:
                raise Ec2Error("InvalidSpotInstanceRequestID.NotFound", f"'{unknown[0]}' does not exist")
            rows = [one for one in rows if one.id in ids]
        for each in params.get("Filters", ()):
            rows = [one for one in rows if self._fits(one, each)]
        size = params.get("MaxResults")
        begin = int(params.get("NextToken") or 0)
        end = begin + size if size else len(rows)
        token = str(end) if end < len(rows) else ""
        return {"SpotInstanceRequests": [self._row(one) for one in rows[begin:end]], "NextToken": token}

    def _fits(self, one: SpotRequest, each: Mapping[str, Any]) -> bool:
        name, values = each["Name"], each["Values"]
        if len(values) > 200:
            raise Ec2Error("FilterLimitExceeded", "The maximum number of filter values is 200")
        if name.startswith("tag:"):
            return one.tags.get(name[4:]) in values
        have = {"state": one.state, "status-code": one.code, "spot-instance-request-id": one.id}
        if name not in have:
            raise Ec2Error("InvalidParameterValue", f"The filter '{name}' is invalid")
        return have[name] in values

    def cancel_spot_instance_requests(self, params: Mapping[str, Any]) -> dict[str, Any]:
        ids = params["SpotInstanceRequestIds"]
        unknown = [each for each in ids if each not in self.requests]
        if unknown:
            raise Ec2Error("InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{unknown[0]}'")
        self.move()
        for each in ids:
            one = self.requests[each]
            if one.state == "active":
                one.state, one.code = "cancelled", "request-canceled-and-instance-running"
            elif one.state == "open":
                one.state, one.code = "cancelled", "canceled-before-fulfillment"
        return {
            "CancelledSpotInstanceRequests": [{"SpotInstanceRequestId": each, "State": "cancelled"} for each in ids]
        }

    def _row(self, one: SpotRequest) -> dict[str, Any]:
        return {
            "SpotInstanceRequestId": one.id,
            "State": one.state,
            "Status": {"Code": one.code, "Message": MESSAGES.get(one.code, one.code), "UpdateTime": self._ec2.now()},
            "InstanceId": one.instance or None,
            "CreateTime": one.created,
            "Type": "one-time",
            "Tags": [{"Key": key, "Value": value} for key, value in one.tags.items()],
            "LaunchSpecification": {"InstanceType": one.spec["InstanceType"]},
            "SpotPrice": one.price or None,
        }
