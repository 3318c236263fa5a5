"""The parameters of launches. Pure, and the same for the same input: a token is repeated with the same parameters."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.memory import Place
from slotsmith.providers.aws.places import Choice
from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.aws.tags import MODE, as_aws, launch_tags, owner_tags
from slotsmith.providers.base import LaunchRequest, ProviderError

USER_DATA_LIMIT: Final = 16_384
"""Bytes before base64. EC2 User Guide, "User data"."""
MAX_FLEET: Final = 1000
MAX_OVERRIDES: Final = 300
"""EC2's most for one fleet."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """All that launches of a pool have in common. `subnets` is the subnet for each zone, "" = the default one."""

    settings: AwsSettings
    cluster: str
    pool: str
    root_device: str
    subnets: Mapping[str, str]
    user_data: bytes

    def run_instances(self, request: LaunchRequest, place: Place) -> dict[str, Any]:
        """For RunInstances: one place."""
        settings = self.settings
        tags = as_aws({**self._tags(), **launch_tags(request.token, request.offering.name)})
        kinds = ["instance", "volume", *(["spot-instances-request"] if place.market == "spot" else [])]
        params = {
            **self._machine(),
            "InstanceType": place.instance_type,
            "MinCount": 1,
            "MaxCount": request.count,
            "ClientToken": request.token,
            "UserData": self.user_data,
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
            **self._network(self.subnets.get(place.zone, "")),
        }
        if not self.subnets.get(place.zone):
            params["Placement"] = {"AvailabilityZone": place.zone}
        if settings.launch_template_id:
            params["LaunchTemplate"] = {"LaunchTemplateId": settings.launch_template_id, "Version": "$Default"}
        if place.market == "spot":
            options: dict[str, Any] = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            if settings.spot_max_price:
                options["MaxPrice"] = settings.spot_max_price
            params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        return params

    def request_spot(self, request: LaunchRequest, place: Place) -> dict[str, Any]:
        """For RequestSpotInstances: requests that wait for their price. At once, so no clocks need to agree."""
        subnet = self.subnets.get(place.zone, "")
        machine = self._machine()
        # What this old call does not know: the image says how metadata is read, and a one-time request ends anyway.
        for key in ("MetadataOptions", "InstanceInitiatedShutdownBehavior"):
            del machine[key]
        tags = {**self._tags(), **launch_tags(request.token, request.offering.name), MODE: "request"}
        params = {
            "ClientToken": request.token,
            "InstanceCount": request.count,
            "Type": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "LaunchSpecification": {
                **machine,
                "InstanceType": place.instance_type,
                "UserData": base64.b64encode(self.user_data).decode(),
                "Placement": {"AvailabilityZone": place.zone},
                **self._network(subnet),
            },
            "TagSpecifications": [{"ResourceType": "spot-instances-request", "Tags": as_aws(tags)}],
        }
        return params | ({"SpotPrice": self.settings.spot_max_price} if self.settings.spot_max_price else {})

    def create_fleet(self, request: LaunchRequest, choice: Choice) -> dict[str, Any]:
        """For CreateFleet: several places, among which EC2 chooses; on demand, in our order."""
        market = choice.offering.market
        overrides = []
        for priority, place in enumerate(choice.places[:MAX_OVERRIDES]):
            subnet = self.subnets.get(place.zone)
            where = {"SubnetId": subnet} if subnet else {"AvailabilityZone": place.zone}
            first = {"Priority": float(priority)} if market == "on-demand" else {}
            price = (
                {"MaxPrice": self.settings.spot_max_price} if market == "spot" and self.settings.spot_max_price else {}
            )
            overrides.append({"InstanceType": place.instance_type, **where, **first, **price})
        tags = as_aws({**self._tags(), **launch_tags(request.token, request.offering.name)})
        by_market = (
            {
                "SpotOptions": {
                    "AllocationStrategy": "price-capacity-optimized",
                    "InstanceInterruptionBehavior": "terminate",
                }
            }
            if market == "spot"
            else {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
        )
        return {
            "Type": "instant",
            "ClientToken": request.token,
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": self.template_name, "Version": "1"},
                    "Overrides": overrides,
                }
            ],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": request.count,
                "DefaultTargetCapacityType": market,
            },
            "TagSpecifications": [
                {"ResourceType": "fleet", "Tags": tags},
                {"ResourceType": "instance", "Tags": tags},
            ],
            **by_market,
        }

    def create_template(self) -> dict[str, Any]:
        """For CreateLaunchTemplate: what fleets of this pool launch from."""
        return {
            "LaunchTemplateName": self.template_name,
            "LaunchTemplateData": self._template(),
            "TagSpecifications": [{"ResourceType": "launch-template", "Tags": as_aws(self._tags())}],
            # The name is made from the content: who makes it twice means the same.
            "ClientToken": hashlib.sha256(self.template_name.encode()).hexdigest()[:32],
        }

    @property
    def template_name(self) -> str:
        """One for each pool and content. Templates are never changed, so that a repeated launch finds its own."""
        content = json.dumps(self._template(), sort_keys=True)
        return f"slotsmith-{self.cluster}-{self.pool}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def _template(self) -> dict[str, Any]:
        tags = as_aws(self._tags())
        kinds = ("instance", "volume", "spot-instances-request")
        return {
            **self._machine(),
            "UserData": base64.b64encode(self.user_data).decode(),
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
            **self._network(""),
        }

    def _tags(self) -> dict[str, str]:
        return owner_tags(self.settings, self.cluster, self.pool)

    def _machine(self) -> dict[str, Any]:
        settings = self.settings
        params: dict[str, Any] = {
            # An instance that shuts itself down, after a failed boot or without a scheduler, must not cost any more.
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                # A container is one hop further away.
                "HttpPutResponseHopLimit": 2,
            },
        }
        if settings.image_id:
            params["ImageId"] = settings.image_id
            params["BlockDeviceMappings"] = [
                {
                    "DeviceName": self.root_device,
                    "Ebs": {
                        "VolumeSize": settings.root_volume_size,
                        "VolumeType": settings.volume_type,
                        "DeleteOnTermination": True,
                    },
                }
            ]
        if settings.ssh_key_name:
            params["KeyName"] = settings.ssh_key_name
        if settings.iam_instance_profile_arn:
            params["IamInstanceProfile"] = {"Arn": settings.iam_instance_profile_arn}
        return params

    def _network(self, subnet: str) -> dict[str, Any]:
        wanted = self.settings.network_interface
        interface: dict[str, Any] = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": wanted.public_ip,
            "DeleteOnTermination": True,
        }
        if subnet:
            interface["SubnetId"] = subnet
        if wanted.security_group_id:
            interface["Groups"] = [wanted.security_group_id]
        return {"NetworkInterfaces": [interface]}


def encode_user_data(script: str) -> bytes:
    """The boot script as user data: as it is, or packed (cloud-init unpacks it) when it would be too long.

    Raises:
        ProviderError: it is too long even so (INVALID).
    """
    plain = script.encode()
    if len(plain) <= USER_DATA_LIMIT:
        return plain
    packed = gzip.compress(plain, mtime=0)
    if len(packed) > USER_DATA_LIMIT:
        text = (
            f"agent: the boot script has {len(packed)} bytes packed, and EC2 takes {USER_DATA_LIMIT}; give "
            "startup_script_from, container_startup_script_from or config_file_from instead of long texts"
        )
        raise ProviderError(ErrorKind.INVALID, text)
    return packed
