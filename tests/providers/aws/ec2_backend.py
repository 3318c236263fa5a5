"""What the EC2 for tests does: instances, tokens, capacity, quotas. `Ec2.call` is one API call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore import xform_name

from providers.aws import ec2_lookup
from providers.aws.ec2_catalogue import IMAGE, KEY_NAME, NOT_OFFERED, REGION, SUBNETS, TYPES, ZONES
from providers.aws.ec2_faults import Ec2Error
from providers.aws.ec2_spot import SpotRequests

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_USER_DATA_LIMIT = 16_384

Place = tuple[str, str, str]
"""Type, zone, market."""


@dataclass
class Ec2Instance:
    id: str
    place: Place
    token: str
    reservation: str
    launched: float
    visible: float
    tags: dict[str, str]
    volume: str
    index: int
    spec: Mapping[str, Any]
    spot_request: str = ""
    ending: float | None = None
    reason: str = ""
    stopped: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    """Scheduled ones."""
    xml: dict[str, Any] = field(default_factory=dict)


@dataclass
class Remembered:
    """What a client token stands for."""

    fingerprint: str
    answer: Callable[[], dict[str, Any]]


class Ec2:
    """One region of one account. All times are in seconds of `now`.

    An instance runs `boot` after its launch, is in listings from `lag` after it, and is terminated `ending` after it
    was asked to be. `capacity` has how many more of a place there are (a place that is not in it has no end);
    `vcpus_left` and `spot_left` are quotas. `denied` are operations that the caller has no right to.
    """

    def __init__(
        self,
        *,
        boot: float = 0.0,
        lag: float = 0.0,
        ending: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.boot, self.lag, self.ending = boot, lag, ending
        self.now = now
        self.instances: dict[str, Ec2Instance] = {}
        self.volumes: dict[str, dict[str, str]] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.capacity: dict[Place, int] = {}
        self.vcpus_left: int | None = None
        self.spot_left: int | None = None
        self.denied: set[str] = set()
        self.on_launch: Callable[[Ec2Instance], None] = lambda one: None
        self.on_end: Callable[[Ec2Instance], None] = lambda one: None
        self.spot = SpotRequests(self)
        self._tokens: dict[tuple[str, str], Remembered] = {}
        self._numbers = count(1)

    def call(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Ec2Error."""
        if name in self.denied:
            raise Ec2Error("UnauthorizedOperation", f"You are not authorized to perform this operation: {name}")
        if params.get("DryRun"):
            raise Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        method = getattr(self, f"_{xform_name(name)}", None) or getattr(self.spot, xform_name(name), None)
        if method is not None:
            return method(params)  # type: ignore[no-any-return]
        return ec2_lookup.look_up(self, name, params)

    # Launching

    def _run_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        def launch() -> Callable[[], dict[str, Any]]:
            spec = self.spec_of(params)
            market = params.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
            place = (params["InstanceType"], self.zone_of(spec), market)
            least, most = params["MinCount"], params["MaxCount"]
            if least < 1 or most < least:
                raise Ec2Error("InvalidParameterValue", "MinCount and MaxCount")
            made = self.make(place, most, spec, params.get("ClientToken", ""), least=least)
            return lambda: self.reservation(made)

        return self.once("RunInstances", params, launch)

    def once(
        self, name: str, params: Mapping[str, Any], work: Callable[[], Callable[[], dict[str, Any]]]
    ) -> dict[str, Any]:
        """Each token once; the same answer, with states as they are now, however often."""
        key, fingerprint = (name, params.get("ClientToken", "")), repr(sorted(params.items()))
        if len(key[1]) > 64:
            raise Ec2Error("InvalidParameterValue", "The client token is longer than 64 characters")
        known = self._tokens.get(key) if key[1] else None
        if known is not None and known.fingerprint != fingerprint:
            raise Ec2Error("IdempotentParameterMismatch", "The client token was used with other parameters")
        if known is None:
            known = Remembered(fingerprint, work())
            self._tokens[key] = known
        return known.answer()

    def spec_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The launch parameters with those of the template below them; checked as EC2 does."""
        spec = dict(params)
        if template := params.get("LaunchTemplate"):
            spec = {**self.template(template)["data"], **spec}
        if spec.get("InstanceType") not in TYPES:
            raise Ec2Error("InvalidParameterValue", f"Invalid value '{spec.get('InstanceType')}' for InstanceType")
        if spec.get("ImageId") != IMAGE:
            raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{spec.get('ImageId')}]' does not exist")
        if spec.get("KeyName", KEY_NAME) != KEY_NAME:
            raise Ec2Error("InvalidKeyPair.NotFound", f"The key pair '{spec['KeyName']}' does not exist")
        if len(spec.get("UserData", "")) * 3 // 4 > _USER_DATA_LIMIT + 2:
            raise Ec2Error("InvalidParameterValue", "User data is limited to 16384 bytes")
        return spec

    def zone_of(self, spec: Mapping[str, Any]) -> str:
        subnet = next((nic.get("SubnetId") for nic in spec.get("NetworkInterfaces", ())), None)
        subnet = spec.get("SubnetId", subnet)
        zone = spec.get("Placement", {}).get("AvailabilityZone")
        if subnet is not None and subnet not in SUBNETS:
            raise Ec2Error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
        if subnet is not None and zone is not None and SUBNETS[subnet] != zone:
            raise Ec2Error("InvalidParameterValue", "The subnet is not in that availability zone")
        found = SUBNETS[subnet] if subnet is not None else zone or ZONES[0]
        if found not in ZONES:
            raise Ec2Error("InvalidParameterValue", f"Invalid availability zone: [{found}]")
        return found

    def make(
        self, place: Place, wanted: int, spec: Mapping[str, Any], token: str, *, least: int = 1, fleet: str = ""
    ) -> list[Ec2Instance]:
        """Launch as many as there are, at least `least`. Raises Ec2Error."""
        instance_type, zone, market = place
        if (instance_type, zone) in NOT_OFFERED:
            raise Ec2Error("Unsupported", f"Your requested instance type ({instance_type}) is not supported in {zone}.")
        vcpus = TYPES[instance_type][0]
        granted = min(wanted, self.capacity.get(place, wanted))
        if granted < least:
            raise Ec2Error(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
                f"({zone}).",
            )
        if self.vcpus_left is not None:
            granted = min(granted, self.vcpus_left // vcpus)
            if granted < least:
                raise Ec2Error("VcpuLimitExceeded", "You have requested more vCPU capacity than your limit allows")
        if market == "spot" and self.spot_left is not None:
            granted = min(granted, self.spot_left)
            if granted < least:
                raise Ec2Error("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        self._take(place, granted, vcpus)
        reservation, now = f"r-{next(self._numbers):017x}", self.now()
        tags = self.tags_for(spec, "instance")
        if fleet:
            tags = {**tags, "aws:ec2:fleet-id": fleet}
        made = []
        for index in range(granted):
            number = next(self._numbers)
            one = Ec2Instance(
                f"i-{number:017x}", place, token, reservation, now, now + self.lag, dict(tags), f"vol-{number:017x}",
                index, spec,
            )  # fmt: skip
            if market == "spot":
                one.spot_request = self.spot.behind(one, self.tags_for(spec, "spot-instances-request"))
            self.volumes[one.volume] = self.tags_for(spec, "volume")
            self.instances[one.id] = one
            made.append(one)
            self.on_launch(one)
        return made

    def _take(self, place: Place, granted: int, vcpus: int) -> None:
        if place in self.capacity:
            self.capacity[place] -= granted
        if self.vcpus_left is not None:
            self.vcpus_left -= granted * vcpus
        if place[2] == "spot" and self.spot_left is not None:
            self.spot_left -= granted

    def tags_for(self, spec: Mapping[str, Any], what: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        for one in spec.get("TagSpecifications", ()):
            if one["ResourceType"] == what:
                tags |= {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        if any(key.startswith("aws:") for key in tags) or len(tags) > 50:
            raise Ec2Error("InvalidParameterValue", "Tag keys may not start with aws:, and 50 are the most")
        return tags

    def _create_fleet(self, params: Mapping[str, Any]) -> dict[str, Any]:
        def launch() -> Callable[[], dict[str, Any]]:
            answer = self._fleet(params)
            return lambda: answer

        return self.once("CreateFleet", params, launch)

    def _fleet(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if params.get("Type") != "instant":
            raise Ec2Error("InvalidParameterValue", "only fleets of type instant are known here")
        target = params["TargetCapacitySpecification"]
        left, market = target["TotalTargetCapacity"], target["DefaultTargetCapacityType"]
        fleet = f"fleet-{next(self._numbers):08x}"
        errors, instances = [], []
        for config in params["LaunchTemplateConfigs"]:
            data = self.template(config["LaunchTemplateSpecification"])["data"]
            tags = [*data.get("TagSpecifications", ()), *params.get("TagSpecifications", ())]
            overrides = config.get("Overrides") or [{}]
            for override in sorted(overrides, key=lambda one: self._price(one, data, market, params)):
                if left <= 0:
                    break
                told = {"Overrides": override}
                spec = {**data, **override, "TagSpecifications": tags}
                zone = override.get("AvailabilityZone")
                if zone is not None:
                    spec["Placement"] = {"AvailabilityZone": zone}
                try:
                    spec = self.spec_of(spec)
                    place = (spec["InstanceType"], self.zone_of(spec), market)
                    made = self.make(place, left, spec, params.get("ClientToken", ""), fleet=fleet)
                except Ec2Error as error:
                    errors.append(
                        {"LaunchTemplateAndOverrides": told, "Lifecycle": market, "ErrorCode": error.code,
                         "ErrorMessage": error.message}
                    )  # fmt: skip
                    continue
                left -= len(made)
                instances.append(
                    {"LaunchTemplateAndOverrides": told, "Lifecycle": market, "InstanceType": place[0],
                     "InstanceIds": [one.id for one in made]}
                )  # fmt: skip
        return {"FleetId": fleet, "Errors": errors, "Instances": instances}

    def _price(self, override: Mapping[str, Any], data: Mapping[str, Any], market: str, params: Any) -> float:
        if params.get("OnDemandOptions", {}).get("AllocationStrategy") == "prioritized" and market == "on-demand":
            return float(override.get("Priority", 1e9))
        known = TYPES.get(override.get("InstanceType", data.get("InstanceType", "")))
        return (known[5] if market == "spot" else known[4]) if known else 0.0

    # Templates

    def _create_launch_template(self, params: Mapping[str, Any]) -> dict[str, Any]:
        name = params["LaunchTemplateName"]
        if any(one["name"] == name for one in self.templates.values()):
            raise Ec2Error("InvalidLaunchTemplateName.AlreadyExistsException", f"{name} is in use")
        template_id = f"lt-{next(self._numbers):017x}"
        tags = {
            tag["Key"]: tag["Value"]
            for one in params.get("TagSpecifications", ())
            if one["ResourceType"] == "launch-template"
            for tag in one["Tags"]
        }
        self.templates[template_id] = {
            "id": template_id, "name": name, "data": params["LaunchTemplateData"], "tags": tags, "made": self.now(),
        }  # fmt: skip
        return {"LaunchTemplate": ec2_lookup.template(self.templates[template_id])}

    def _delete_launch_template(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = self.template(params)
        del self.templates[found["id"]]
        return {"LaunchTemplate": ec2_lookup.template(found)}

    def template(self, named: Mapping[str, Any]) -> dict[str, Any]:
        for one in self.templates.values():
            if one["id"] == named.get("LaunchTemplateId") or one["name"] == named.get("LaunchTemplateName"):
                return one
        raise Ec2Error("InvalidLaunchTemplateName.NotFoundException", "The launch template does not exist")

    # What instances do

    def state(self, one: Ec2Instance) -> str:
        now = self.now()
        if one.ending is not None:
            return "terminated" if now >= one.ending + self.ending else "shutting-down"
        if one.stopped:
            return "stopped"
        return "running" if now >= one.launched + self.boot else "pending"

    @property
    def alive(self) -> list[Ec2Instance]:
        """What is paid for."""
        # In one step, for tests look while calls are served.
        return [one for one in list(self.instances.values()) if one.ending is None]

    def _terminate_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        ids = params["InstanceIds"]
        if len(ids) > 1000:
            raise Ec2Error("InvalidParameterValue", "more than 1000 ids")
        found = self.by_ids(ids, anywhere=True)
        before = {one.id: self.state(one) for one in found}
        for one in found:
            self.end(one)
        return {
            "TerminatingInstances": [
                {
                    "InstanceId": one.id,
                    "PreviousState": state_of(before[one.id]),
                    "CurrentState": state_of(self.state(one)),
                }
                for one in found
            ]
        }

    def end(self, one: Ec2Instance, reason: str = "Client.UserInitiatedShutdown: User initiated shutdown") -> None:
        if one.ending is None:
            one.ending, one.reason = self.now(), reason
            self.spot.ended(one)
            self.on_end(one)

    def by_ids(self, ids: Iterable[str], *, anywhere: bool = False) -> list[Ec2Instance]:
        """Raises Ec2Error: one is malformed or not known, and then none is returned."""
        ids = list(dict.fromkeys(ids))
        for each in ids:
            if not each.startswith("i-"):
                raise Ec2Error("InvalidInstanceID.Malformed", f'Invalid id: "{each}"')
        now = self.now()
        unknown = [
            each for each in ids if each not in self.instances or not (anywhere or self.instances[each].visible <= now)
        ]
        if unknown:
            # EC2 names them; so a caller might be tempted to read its prose.
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(unknown)}' do not exist")
        return [self.instances[each] for each in ids]

    def _create_tags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        found = [self._tags_of(resource) for resource in params["Resources"]]
        for each in found:
            each.update(tags)
        for one in self.instances.values():
            one.xml.clear()
        return {}

    def _tags_of(self, resource: str) -> dict[str, str]:
        if resource in self.instances:
            return self.instances[resource].tags
        if resource in self.volumes:
            return self.volumes[resource]
        if resource in self.spot.requests:
            return self.spot.requests[resource].tags
        raise Ec2Error("InvalidID", f"The ID '{resource}' is not valid")

    def reservation(self, made: Iterable[Ec2Instance]) -> dict[str, Any]:
        made = list(made)
        return {
            "ReservationId": made[0].reservation,
            "OwnerId": "123456789012",
            "Groups": [],
            "Instances": [ec2_lookup.written(self, one) for one in made],
        }


def state_of(name: str) -> dict[str, Any]:
    return {"Code": CODES[name], "Name": name}


__all__ = ["CODES", "REGION", "Ec2", "Ec2Instance"]
