"""What the EC2 for tests answers to Describe calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from providers.aws import ec2_wire as wire
from providers.aws.ec2_catalogue import IMAGE, KEY_NAME, NOT_OFFERED, SUBNETS, TYPES, ZONES, type_info
from providers.aws.ec2_faults import Ec2Error

if TYPE_CHECKING:
    from providers.aws.ec2_backend import Ec2, Ec2Instance

_FILTER_VALUES = 200
_GONE_AFTER = 3600.0
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def look_up(ec2: Ec2, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    answer = _ANSWERS.get(name)
    if answer is None:
        raise Ec2Error("InvalidAction", f"{name} is not known here")
    for each in params.get("Filters", ()):
        if len(each["Values"]) > _FILTER_VALUES:
            raise Ec2Error("FilterLimitExceeded", "The maximum number of filter values is 200")
    return answer(ec2, params)


def _instances(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    if params.get("InstanceIds"):
        if "MaxResults" in params:
            raise Ec2Error("InvalidParameterCombination", "MaxResults and instance ids")
        found = ec2.by_ids(params["InstanceIds"])
    else:
        now = ec2.now()
        found = [
            one
            for one in ec2.instances.values()
            if one.visible <= now and (one.ending is None or now < one.ending + ec2.ending + _GONE_AFTER)
        ]
    found = [one for one in found if all(_fits(ec2, one, each) for each in params.get("Filters", ()))]
    page, token = _page(found, params, least=5, most=1000)
    reservations: dict[str, list[Ec2Instance]] = {}
    for one in page:
        reservations.setdefault(one.reservation, []).append(one)
    rows = []
    for members in reservations.values():
        rows.append(
            {"ReservationId": members[0].reservation, "OwnerId": "123456789012", "Groups": [],
             "Instances": [written(ec2, one) for one in members]}
        )  # fmt: skip
    return {"Reservations": rows, "NextToken": token}


_patterns: dict[tuple[str, str], tuple[Ec2Instance, str]] = {}


def written(ec2: Ec2, one: Ec2Instance) -> wire.Raw:
    """An instance as XML, written once for each state.

    One of each launch is written by the model; its siblings differ in their names alone, and are made from it.
    """
    state = ec2.state(one)
    if state in one.xml:
        return one.xml[state]
    key = (one.reservation, state)
    first, xml = _patterns.get(key, (None, ""))
    if first is None or first.spec is not one.spec or (first.tags, first.reason) != (one.tags, one.reason):
        xml = wire.write(wire.service("ec2").shape_for("Instance"), instance(ec2, one), "Instance")
        _patterns.clear()
        _patterns[key] = (one, xml)
    else:
        xml = xml.replace(first.id[2:], one.id[2:]).replace(address(first), address(one))
        xml = xml.replace(address(first).replace(".", "-"), address(one).replace(".", "-"))
        if first.spot_request:
            xml = xml.replace(first.spot_request, one.spot_request)
        xml = xml.replace(f"<amiLaunchIndex>{first.index}<", f"<amiLaunchIndex>{one.index}<")
    one.xml = {state: wire.Raw(xml)}
    return one.xml[state]


def address(one: Ec2Instance) -> str:
    return f"10.{one.index // 65536}.{one.index // 256 % 256}.{one.index % 256}"


def instance(ec2: Ec2, one: Ec2Instance) -> dict[str, Any]:
    instance_type, zone, market = one.place
    subnet = next(subnet for subnet, its in SUBNETS.items() if its == zone)
    state = ec2.state(one)
    own = address(one)
    row: dict[str, Any] = {
        "InstanceId": one.id,
        "ImageId": one.spec["ImageId"],
        "State": {"Code": _CODES[state], "Name": state},
        "PrivateDnsName": f"ip-{own.replace('.', '-')}.eu-west-1.compute.internal",
        "PublicDnsName": "",
        "StateTransitionReason": "User initiated" if one.ending is not None else "",
        "StateReason": {"Code": one.reason.partition(":")[0], "Message": one.reason} if one.reason else None,
        "KeyName": one.spec.get("KeyName", ""),
        "AmiLaunchIndex": one.index,
        "InstanceType": instance_type,
        "LaunchTime": one.launched,
        "Placement": {"AvailabilityZone": zone, "GroupName": "", "Tenancy": "default"},
        "Monitoring": {"State": "disabled"},
        "SubnetId": subnet,
        "VpcId": "vpc-0000000a",
        "PrivateIpAddress": own,
        "Architecture": "x86_64",
        "RootDeviceType": "ebs",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda",
             "Ebs": {"VolumeId": one.volume, "Status": "attached", "AttachTime": one.launched,
                     "DeleteOnTermination": True}}
        ],
        "VirtualizationType": "hvm",
        "ClientToken": one.token,
        "Tags": [{"Key": key, "Value": value} for key, value in one.tags.items()],
        "SecurityGroups": [{"GroupId": "sg-0000000a", "GroupName": "default"}],
        "SourceDestCheck": True,
        "NetworkInterfaces": [
            {"NetworkInterfaceId": f"eni-{one.id[2:]}", "Status": "in-use", "SubnetId": subnet, "VpcId": "vpc-0000000a",
             "OwnerId": "123456789012", "MacAddress": "02:11:22:33:44:55", "PrivateIpAddress": own,
             "InterfaceType": "interface", "SourceDestCheck": True, "Description": "",
             "Groups": [{"GroupId": "sg-0000000a", "GroupName": "default"}],
             "Attachment": {"AttachmentId": f"eni-attach-{one.id[2:]}", "AttachTime": one.launched, "DeviceIndex": 0,
                            "DeleteOnTermination": True, "Status": "attached"},
             "PrivateIpAddresses": [{"PrivateIpAddress": own, "Primary": True}]}
        ],
        "Hypervisor": "xen",
        "EnaSupport": True,
        "EbsOptimized": False,
        "CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2},
        "MetadataOptions": {"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2,
                            "HttpEndpoint": "enabled"},
        "EnclaveOptions": {"Enabled": False},
        "HibernationOptions": {"Configured": False},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
    }  # fmt: skip
    if market == "spot":
        row |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": one.spot_request}
    return row


def _fits(ec2: Ec2, one: Ec2Instance, each: Mapping[str, Any]) -> bool:
    name, values = each["Name"], each["Values"]
    if name.startswith("tag:"):
        text = one.tags.get(name[4:])
        return text is not None and any(wire.matches(value, text) for value in values)
    have = {
        "instance-state-name": lambda: ec2.state(one),
        "instance-id": lambda: one.id,
        "spot-instance-request-id": lambda: one.spot_request,
        "client-token": lambda: one.token,
        "availability-zone": lambda: one.place[1],
        "instance-type": lambda: one.place[0],
    }.get(name)
    if have is None:
        raise Ec2Error("InvalidParameterValue", f"The filter '{name}' is invalid")
    return have() in values


def _page(found: list[Any], params: Mapping[str, Any], *, least: int, most: int) -> tuple[list[Any], str | None]:
    size = params.get("MaxResults")
    if size is not None and not least <= size <= most:
        raise Ec2Error("InvalidParameterValue", f"Value ({size}) for parameter maxResults is invalid")
    begin = int(params.get("NextToken") or 0)
    if size is None:
        return found, None
    end = begin + size
    return found[begin:end], str(end) if end < len(found) else None


def _types(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    wanted = params.get("InstanceTypes")
    unknown = [name for name in wanted or () if name not in TYPES]
    if unknown:
        raise Ec2Error("InvalidInstanceType", f"The following supplied instance types do not exist: {unknown}")
    if wanted and len(wanted) > 100:
        raise Ec2Error("InvalidParameterValue", "more than 100 instance types")
    names = [name for name in TYPES if not wanted or name in wanted]
    page, token = _page(names, params, least=5, most=100)
    return {"InstanceTypes": [type_info(name) for name in page], "NextToken": token}


def _offerings(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}
        for name in TYPES
        for zone in ZONES
        if (name, zone) not in NOT_OFFERED
    ]
    for each in params.get("Filters", ()):
        key = {"instance-type": "InstanceType", "location": "Location"}[each["Name"]]
        rows = [row for row in rows if any(wire.matches(value, row[key]) for value in each["Values"])]
    page, token = _page(rows, params, least=5, most=1000)
    return {"InstanceTypeOfferings": page, "NextToken": token}


def _spot_prices(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {"InstanceType": name, "AvailabilityZone": zone, "ProductDescription": "Linux/UNIX", "Timestamp": ec2.now(),
         "SpotPrice": f"{TYPES[name][5] * (1 + index / 10):.6f}"}
        for name in TYPES
        for index, zone in enumerate(ZONES)
        if not params.get("InstanceTypes") or name in params["InstanceTypes"]
    ]  # fmt: skip
    page, token = _page(rows, params, least=1, most=1000)
    return {"SpotPriceHistory": page, "NextToken": token or ""}


def _images(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    for each in params.get("ImageIds", ()):
        if each != IMAGE:
            raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{each}]' does not exist")
    return {
        "Images": [
            {"ImageId": IMAGE, "State": "available", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
             "RootDeviceType": "ebs", "Name": "an image", "OwnerId": "123456789012",
             "BlockDeviceMappings": [{"DeviceName": "/dev/xvda",
                                      "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 30, "VolumeType": "gp2"}}]}
        ]
    }  # fmt: skip


def _subnets(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    wanted = params.get("SubnetIds") or list(SUBNETS)
    for each in wanted:
        if each not in SUBNETS:
            raise Ec2Error("InvalidSubnetID.NotFound", f"The subnet ID '{each}' does not exist")
    return {
        "Subnets": [
            {"SubnetId": each, "AvailabilityZone": SUBNETS[each], "State": "available", "VpcId": "vpc-0000000a",
             "AvailableIpAddressCount": 4000, "DefaultForAz": True}
            for each in wanted
        ]
    }  # fmt: skip


def _keys(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    for each in params.get("KeyNames", ()):
        if each != KEY_NAME:
            raise Ec2Error("InvalidKeyPair.NotFound", f"The key pair '{each}' does not exist")
    return {"KeyPairs": [{"KeyName": KEY_NAME, "KeyPairId": "key-1"}]}


def template(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "LaunchTemplateId": one["id"],
        "LaunchTemplateName": one["name"],
        "CreateTime": one["made"],
        "CreatedBy": "arn:aws:iam::123456789012:user/tester",
        "DefaultVersionNumber": 1,
        "LatestVersionNumber": 1,
        "Tags": [{"Key": key, "Value": value} for key, value in one["tags"].items()],
    }


def _templates(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    rows: Iterable[Any] = ec2.templates.values()
    for each in params.get("Filters", ()):
        key = each["Name"].removeprefix("tag:")
        rows = [one for one in rows if one["tags"].get(key) in each["Values"]]
    names = params.get("LaunchTemplateNames")
    if names:
        return {"LaunchTemplates": [template(ec2.template({"LaunchTemplateName": name})) for name in names]}
    page, token = _page([template(one) for one in rows], params, least=1, most=200)
    return {"LaunchTemplates": page, "NextToken": token}


def _volumes(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"Volumes": [{"VolumeId": each} for each in ec2.volumes]}


def _statuses(ec2: Ec2, params: Mapping[str, Any]) -> dict[str, Any]:
    """Only running ones, as EC2 does unless it is asked for all."""
    rows = []
    for one in ec2.instances.values():
        codes = {event["Code"] for event in one.events}
        wanted = [set(each["Values"]) for each in params.get("Filters", ()) if each["Name"] == "event.code"]
        if ec2.state(one) == "running" and all(codes & values for values in wanted):
            rows.append({"InstanceId": one.id, "AvailabilityZone": one.place[1], "Events": one.events})
    page, token = _page(rows, params, least=5, most=1000)
    return {"InstanceStatuses": page, "NextToken": token}


_ANSWERS: dict[str, Any] = {
    "DescribeInstances": _instances,
    "DescribeInstanceTypes": _types,
    "DescribeInstanceTypeOfferings": _offerings,
    "DescribeSpotPriceHistory": _spot_prices,
    "DescribeImages": _images,
    "DescribeSubnets": _subnets,
    "DescribeKeyPairs": _keys,
    "DescribeLaunchTemplates": _templates,
    "DescribeVolumes": _volumes,
    "DescribeInstanceStatus": _statuses,
}
