"""What is asked of EC2 when instances are launched, and what follows from its answers."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_catalogue import IMAGE, KEY_NAME, SUBNETS, ZONES
from providers.aws.ec2_world import Ticking, World
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderError, market_of

COMMAND = {"preset": "command", "command": "agent"}


@asynccontextmanager
async def opened(world: World, pool: str = "one", **more: Any) -> AsyncIterator[Provider]:
    provider = world.provider(pool, **more)
    try:
        await provider.setup()
        yield provider
    finally:
        await provider.close()


async def launch(provider: Provider, count: int = 1, token: str = "token", index: int = 0) -> LaunchResult:
    return await provider.launch(LaunchRequest(token, provider.offerings()[index], count))


async def refused(provider: Provider, count: int = 1, token: str = "token") -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await launch(provider, count, token)
    return caught.value


def run(check: Coroutine[Any, Any, None]) -> None:
    asyncio.run(check)


def tags(world: World) -> dict[str, str]:
    (one,) = world.ec2.alive
    return one.tags


def test_w56_w58_everything_bears_our_tags_from_birth(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, spot=True, custom_tags=[{"key": "cost", "value": "42"}]) as provider:
            await launch(provider)
        (one,) = aws.ec2.alive
        expected = {
            "slotsmith-cluster": "team",
            "slotsmith-pool": "one",
            "slotsmith-intent": "token",
            "slotsmith-offering": "g4dn.xlarge/eu-west-1a/spot",
            "managed-by": "slotsmith",
            "cost": "42",
            "Name": "slotsmith-agent",
        }
        assert one.tags == expected
        assert aws.ec2.volumes[one.volume] == expected
        assert aws.ec2.spot.requests[one.spot_request].tags == expected
        assert "CreateTags" not in aws.journal.counts

    run(check())


def test_what_an_instance_is_made_of(aws: World) -> None:
    async def check() -> None:
        more = {
            "ssh_key_name": KEY_NAME,
            "iam_instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/agents",
            "root_volume_size": 150,
            "network_interface": {"public_ip": False, "security_group_id": "sg-0000000a"},
            "subnets": ["subnet-0000000b"],
            "zones": [],
        }
        async with opened(aws, **more) as provider:
            await launch(provider, 2)
        (told,) = aws.journal.told("RunInstances")
        # W47: the image says what its root device is called; W58: IMDSv2, one hop further for containers.
        assert told["BlockDeviceMappings"] == [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": 150, "VolumeType": "gp3", "DeleteOnTermination": True},
            }
        ]
        assert told["MetadataOptions"] == {
            "HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 2,
        }  # fmt: skip
        assert told["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert (told["MinCount"], told["MaxCount"], told["ClientToken"]) == (1, 2, "token")
        assert told["NetworkInterfaces"] == [
            {
                "DeviceIndex": 0, "AssociatePublicIpAddress": False, "DeleteOnTermination": True,
                "SubnetId": "subnet-0000000b", "Groups": ["sg-0000000a"],
            }
        ]  # fmt: skip
        assert told["IamInstanceProfile"] == {"Arn": "arn:aws:iam::123456789012:instance-profile/agents"}
        assert (told["KeyName"], told["ImageId"]) == (KEY_NAME, IMAGE)
        assert base64.b64decode(told["UserData"]).startswith(b"#!/bin/bash\n")

    run(check())


def test_w48_long_user_data_is_packed_and_too_long_ones_are_told_before_any_launch(aws: World) -> None:
    async def check() -> None:
        script = "\n".join(f"echo {number}" for number in range(3000))
        async with opened(aws, agent={**COMMAND, "startup_script": script}) as provider:
            await launch(provider)
        data = base64.b64decode(aws.journal.told("RunInstances")[0]["UserData"])
        assert b"write_files" in gzip.decompress(data)
        noise = base64.b64encode(b"".join(bytes([number * 7919 % 251]) * (number % 3) for number in range(90_000)))
        with pytest.raises(ProviderError, match="EC2 takes 16384; give startup_script_from") as caught:
            async with opened(aws, agent={**COMMAND, "startup_script": _noise(noise)}):
                pass
        assert caught.value.kind is ErrorKind.INVALID

    run(check())


def _noise(seed: bytes) -> str:
    """Text that does not become shorter by packing."""
    from hashlib import sha256

    return "".join(sha256(seed + bytes([number % 256, number // 256])).hexdigest() for number in range(1200))


def test_w44_a_partial_grant_has_its_reason_and_the_place_comes_last(aws: World) -> None:
    async def check() -> None:
        aws.ec2.capacity["g4dn.xlarge", "eu-west-1a", "on-demand"] = 2
        async with opened(aws, zones=["eu-west-1a", "eu-west-1b"]) as provider:
            result = await launch(provider, 5)
            assert len(result.instance_ids) == 2
            assert result.shortfall is not None
            assert result.shortfall.kind is ErrorKind.CAPACITY
            assert "2 of 5 g4dn.xlarge in eu-west-1a" in str(result.shortfall)
            # Offerings stay as they are; what is short is told beside them, to every pool of the region.
            assert [each.zone for each in provider.offerings()] == ["eu-west-1a", "eu-west-1b"]
            async with opened(aws, "two", zones=["eu-west-1a", "eu-west-1b"]) as other:
                for each in (provider, other):
                    (name,) = market_of(each).shortages
                    assert name == "g4dn.xlarge/eu-west-1a/on-demand"
                    assert "2 of 5 g4dn.xlarge" in market_of(each).shortages[name].reason
            assert len((await launch(provider, 3, "other", 1)).instance_ids) == 3

    run(check())


CODES = [
    ("InsufficientInstanceCapacity", ErrorKind.CAPACITY),
    ("MaxSpotInstanceCountExceeded", ErrorKind.QUOTA),
    ("VcpuLimitExceeded", ErrorKind.QUOTA),
    ("RequestLimitExceeded", ErrorKind.THROTTLED),
    ("UnauthorizedOperation", ErrorKind.DENIED),
    ("InvalidParameterValue", ErrorKind.INVALID),
    ("InternalError", ErrorKind.TRANSIENT),
    ("Unavailable", ErrorKind.TRANSIENT),
    ("SomethingNewAndUnheardOf", ErrorKind.INVALID),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_an_error_has_its_kind_and_is_asked_once(aws: World, code: str, kind: ErrorKind) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            aws.journal.fault("error", "RunInstances", code=code, count=9, message="the reason")
            error = await refused(provider)
            assert error.kind is kind
            assert code in str(error)
            assert "the reason" in str(error)
        # botocore would have asked three times for most of these.
        assert aws.journal.counts["RunInstances"] == 1
        assert not aws.ec2.instances

    run(check())


def test_i3_a_lost_answer_is_found_under_its_token(aws: World) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            aws.journal.fault("lose", "RunInstances")
            assert (await refused(provider, 2)).kind is ErrorKind.TRANSIENT
            assert len(aws.ec2.alive) == 2
            again = await launch(provider, 2)
            assert set(again.instance_ids) == {one.id for one in aws.ec2.alive}
            assert len(aws.ec2.alive) == 2

    run(check())


def test_i3_a_token_from_before_the_settings_changed_is_looked_up(aws: World) -> None:
    async def check() -> None:
        async with opened(aws) as provider:
            aws.journal.fault("lose", "RunInstances")
            await refused(provider, 2)
        async with opened(aws, root_volume_size=300) as provider:
            result = await launch(provider, 2)
            assert set(result.instance_ids) == {one.id for one in aws.ec2.alive}
        assert len(aws.ec2.alive) == 2
        aws.ec2.lag = 1000.0
        async with opened(aws) as provider:
            aws.journal.fault("lose", "RunInstances")
            await refused(provider, 2, "late")
        async with opened(aws, root_volume_size=300) as provider:
            # Not to be seen yet: nothing is known, so nothing definite is said.
            assert (await refused(provider, 2, "late")).kind is ErrorKind.TRANSIENT

    run(check())


@pytest.mark.parametrize("code", ["IdempotentParameterMismatch", "IdempotentInstanceTerminated"])
def test_i3_a_token_of_which_nothing_is_left_is_answered_for_good(tmp_path: Path, code: str) -> None:
    clock = Ticking()
    world = World(tmp_path, clock)

    async def check() -> None:
        async with opened(world) as provider:
            world.journal.fault("error", "RunInstances", code=code, count=2)
            # It may be launched and not to be seen yet.
            assert (await refused(provider, 2)).kind is ErrorKind.TRANSIENT
            clock.ahead = 200.0
            result = await launch(provider, 2)
            assert result.instance_ids == ()
            assert result.shortfall is not None
            assert "nothing is left" in str(result.shortfall)
        assert not world.ec2.instances

    try:
        run(check())
    finally:
        world.close()


FLEET: dict[str, Any] = {"instance_types": ["g4dn.xlarge", "g5.xlarge"], "spread": "types", "zones": []}


def test_a_fleet_takes_what_there_is_in_one_call(aws: World) -> None:
    async def check() -> None:
        for zone in ZONES[1:]:
            aws.ec2.capacity["g4dn.xlarge", zone, "spot"] = 0
        aws.ec2.capacity["g4dn.xlarge", ZONES[0], "spot"] = 2
        async with opened(aws, **FLEET, markets=["spot"]) as provider:
            (offering,) = provider.offerings()
            assert (offering.name, offering.capacity.slots, offering.capacity.cpus) == ("any/spot", 1, 4.0)
            result = await launch(provider, 5)
            assert len(result.instance_ids) == 5
            assert result.shortfall is None
            listed = await provider.list_instances()
            assert {each.offering for each in listed} == {"any/spot"}
        assert aws.journal.counts["CreateFleet"] == 1
        assert aws.journal.counts["RunInstances"] == 0
        (told,) = aws.journal.told("CreateFleet")
        assert told["SpotOptions"]["AllocationStrategy"] == "price-capacity-optimized"
        assert sorted(one.place[0] for one in aws.ec2.alive) == ["g4dn.xlarge"] * 2 + ["g5.xlarge"] * 3

    run(check())


def test_a_fleets_shortfall_names_its_reasons(aws: World) -> None:
    async def check() -> None:
        for name in ("g4dn.xlarge", "g5.xlarge"):
            for zone in ZONES:
                aws.ec2.capacity[name, zone, "on-demand"] = 0
        async with opened(aws, **FLEET) as provider:
            error = await refused(provider, 2)
            assert error.kind is ErrorKind.CAPACITY
            assert "InsufficientInstanceCapacity" in str(error)
            aws.ec2.vcpus_left = 4
            aws.ec2.capacity.clear()
            result = await launch(provider, 2, "other")
            assert len(result.instance_ids) == 1
            assert result.shortfall is not None
            assert result.shortfall.kind is ErrorKind.QUOTA

    run(check())


def test_templates_have_no_secrets_and_old_ones_go(aws: World) -> None:
    async def check() -> None:
        now = aws.ec2.now
        aws.ec2.now = lambda: now() - 7200
        async with opened(aws, **FLEET) as provider:
            await launch(provider)
        assert len(aws.ec2.templates) == 1
        aws.ec2.now = now
        async with opened(aws, **FLEET, root_volume_size=300) as provider:
            assert not aws.ec2.templates
            await launch(provider, 1, "other")
            await launch(provider, 1, "third")
        assert aws.journal.counts["CreateLaunchTemplate"] == 2
        (template,) = aws.ec2.templates.values()
        assert template["tags"]["slotsmith-pool"] == "one"

    run(check())


def test_w46_markets_types_and_zones_make_offerings_by_price(aws: World) -> None:
    async def check() -> None:
        types = {"instance_types": ["g5.xlarge", "g4dn.xlarge", "p4d.24xlarge"], "markets": ["spot", "on-demand"]}
        async with opened(aws, **types, zones=["eu-west-1a", "eu-west-1b"]) as provider:
            names = [each.name for each in provider.offerings()]
            assert names[:3] == [
                "g4dn.xlarge/eu-west-1a/spot",
                "g4dn.xlarge/eu-west-1b/spot",
                "g5.xlarge/eu-west-1a/spot",
            ]
            # p4d is sold in one of the two zones.
            assert len(names) == 10
        async with opened(aws, **types, zones=["eu-west-1b"]) as provider:
            told = [(each.name, each.price) for each in provider.offerings()]
            assert told == [
                ("g4dn.xlarge/eu-west-1b/spot", pytest.approx(0.231)),
                ("g5.xlarge/eu-west-1b/spot", pytest.approx(0.495)),
                ("g4dn.xlarge/eu-west-1b/on-demand", 0.587),
                ("g5.xlarge/eu-west-1b/on-demand", 1.123),
                ("p4d.24xlarge/eu-west-1b/spot", pytest.approx(13.31)),
                ("p4d.24xlarge/eu-west-1b/on-demand", 35.4),
            ]

    run(check())


def test_several_offerings_need_prices_and_one_does_not(aws: World) -> None:
    async def check() -> None:
        aws.journal.fault("error", "GetProducts", code="AccessDeniedException", count=9)
        async with opened(aws) as provider:
            assert [each.price for each in provider.offerings()] == [None]
        with pytest.raises(ProviderError, match="or give a catalog file") as caught:
            async with opened(aws, instance_types=["g4dn.xlarge", "g5.xlarge"]):
                pass
        assert caught.value.kind is ErrorKind.DENIED

    run(check())


def test_w74_w75_types_are_found_by_what_they_have(aws: World) -> None:
    async def check() -> None:
        wanted = {"min_gpus": 1, "max_gpus": 4, "min_cpus_per_gpu": 4}
        async with opened(aws, instance_types=wanted) as provider:
            found = {each.instance_type: each.capacity for each in provider.offerings()}
            assert sorted(found) == ["g4dn.12xlarge", "g4dn.xlarge", "g5.xlarge"]
            assert (found["g4dn.12xlarge"].slots, found["g4dn.12xlarge"].mem_gib) == (4, 192.0)
        async with opened(aws, instance_type="c5.large", cpu_slots_allowed=True) as provider:
            assert provider.offerings()[0].capacity.slots == 1
        async with opened(aws, instance_type="g4dn.12xlarge", instance_slots=2) as provider:
            assert provider.offerings()[0].capacity.slots == 2
        async with opened(aws, instance_type="g4dn.12xlarge") as provider:
            assert provider.offerings()[0].capacity.slots == 4

    run(check())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"image_id": "ami-00000000"}, "InvalidAMIID.NotFound"),
        ({"instance_type": "g9.huge"}, "InvalidInstanceType"),
        ({"subnets": ["subnet-00000000"], "zones": []}, "InvalidSubnetID.NotFound"),
        ({"instance_type": "p4d.24xlarge"}, "sold in eu-west-1a"),
        ({"agent": {"preset": "dask", "scheduler": "tcp://local-ipv4"}}, "stands for an EC2 instance's own address"),
        ({"profile": "nobody"}, "nobody"),
        ({"catalog": "/nonexistent.csv"}, "No such file"),
    ],
)
def test_setup_tells_what_cannot_work(aws: World, more: dict[str, Any], said: str) -> None:
    async def check() -> None:
        with pytest.raises(ProviderError, match=said) as caught:
            async with opened(aws, **more):
                pass
        assert caught.value.kind is ErrorKind.INVALID

    run(check())


def test_w73_an_alias_is_this_instances_address(aws: World) -> None:
    async def check() -> None:
        aws.patch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        aws.patch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.server.url)
        aws.server.metadata = {"local-ipv4": "10.9.8.7", "placement/region": "eu-west-1"}
        async with opened(aws, agent={"preset": "dask", "scheduler": "tcp://local-ipv4:1"}, region=None) as provider:
            await launch(provider)
        data = base64.b64decode(aws.journal.told("RunInstances")[0]["UserData"]).decode()
        assert "export SCHEDULER=tcp://10.9.8.7:1\n" in data

    run(check())


def test_subnets_are_tried_in_their_zones(aws: World) -> None:
    async def check() -> None:
        async with opened(aws, subnets=list(reversed(SUBNETS)), zones=[]) as provider:
            assert [each.zone for each in provider.offerings()] == list(reversed(ZONES))

    run(check())
