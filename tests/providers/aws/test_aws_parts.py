"""The parts of the EC2 provider that need no EC2: settings, errors, memory, buckets, messages, addresses."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from pydantic import ValidationError

from providers.aws.ec2_world import settings
from slotsmith.boot import Address
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.resources import Resources
from slotsmith.providers.aws.buckets import Buckets
from slotsmith.providers.aws.catalogue import least_price
from slotsmith.providers.aws.errors import ERROR_KINDS, from_answer, kind_of_code
from slotsmith.providers.aws.memory import FIRST_BLOCK, LONGEST_BLOCK, CapacityMemory, Place
from slotsmith.providers.aws.metadata import resolve
from slotsmith.providers.aws.notices import Message, Weight, read_message
from slotsmith.providers.aws.places import Choice, shortages
from slotsmith.providers.aws.tags import owner_tags
from slotsmith.providers.base import ProviderError

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"image_id": ""}, "image_id is missing"),
        ({"instance_type": "a", "instance_types": ["b"]}, "one of instance_type and instance_types"),
        ({"instance_types": []}, "one of instance_type and instance_types"),
        ({"subnets": ["s"]}, "zones and subnets are both given"),
        ({"markets": ["spot"], "spot": True}, "markets and spot are both given"),
        ({"log_stream": "x"}, "log_stream needs a log_group"),
        ({"log_group": "x"}, "agent.container is not set"),
        ({"spot_max_price": "."}, "a price in dollars"),
        ({"spot_max_price": "5."}, "a price in dollars"),
        ({"region": "europe"}, "name of a region"),
        ({"root_volume_size": 2}, "greater than or equal to 8"),
        ({"custom_tags": [{"key": "slotsmith-pool", "value": "x"}]}, "does not begin with slotsmith-"),
        ({"custom_tags": [{"key": "aws:x"}]}, "does not begin with"),
        ({"instance_name": "a\nb"}, "what EC2 allows in a tag"),
        ({"spread": "zones", "agent": {"command": "a", "startup_script": "x"}}, "startup_script_from"),
        ({"spread": "zones", "launch_template_id": "lt-1"}, "goes with spread: each"),
        ({"no_such_key": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_contradicts_itself_is_told(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(URL, **more)


def test_every_key_of_the_reference_is_taken() -> None:
    given = {
        "region": "us-west-2", "root_volume_size": 400, "image_id": "ami-1", "tag_key": "managed-by", "tag_value": "d",
        "instance_name": "agent", "ssh_key_name": "key", "iam_instance_profile_arn": "arn", "instance_slots": 4,
        "network_interface": {"public_ip": False, "subnet_id": "subnet-1", "security_group_id": "sg-1"},
        "instance_type": "g4dn.metal", "spot": True, "spot_max_price": "1.5", "cpu_slots_allowed": True, "zones": [],
        "custom_tags": [{"key": "a", "value": "b"}], "log_group": "group", "log_stream": "stream",
        "agent": {"preset": "determined", "scheduler": "http://m", "container": {"image": "agent"}},
    }  # fmt: skip
    taken = settings(URL, **given)
    assert taken.effective_markets == ("spot",)
    assert taken.effective_subnets == ("subnet-1",)
    tags = owner_tags(taken, "team", "gpu")
    assert tags == {
        "managed-by": "d", "a": "b", "Name": "agent", "slotsmith-cluster": "team", "slotsmith-pool": "gpu",
    }  # fmt: skip


def test_i10_scripts_are_secret_in_what_is_shown() -> None:
    shown = settings(URL, agent={"command": "a", "startup_script": "xyzzy", "config_file": "xyzzy"}).model_dump_json()
    assert "xyzzy" not in shown


def test_an_error_that_nobody_knows_is_judged_by_its_status() -> None:
    assert kind_of_code("New", 400) is ErrorKind.INVALID
    assert kind_of_code("New", 503) is ErrorKind.TRANSIENT
    assert kind_of_code("", 0) is ErrorKind.TRANSIENT
    assert from_answer("RunInstances", {}).kind is ErrorKind.TRANSIENT
    # Capacity is a refusal, whatever its status says.
    assert kind_of_code("InsufficientInstanceCapacity", 500) is ErrorKind.CAPACITY
    assert {ERROR_KINDS[code] for code in ("VcpuLimitExceeded", "InstanceLimitExceeded")} == {ErrorKind.QUOTA}


A = Place("g4dn.xlarge", "a", "spot")
B = Place("g5.xlarge", "b", "spot")
C = Place("g4dn.xlarge", "a", "on-demand")
D = Place("c5.large", "a", "spot")


def test_capacity_is_remembered_by_place_and_longer_each_time() -> None:
    memory = CapacityMemory()
    now = 0.0
    for expected in (180, 360, 720, 1440, 1800, 1800):
        memory.failed(A, ErrorKind.CAPACITY, "none", now)
        block = memory.block(A, now)
        assert block is not None
        assert block.until - now == expected
        # Asked again in between: no longer for that.
        memory.failed(A, ErrorKind.CAPACITY, "none", block.until - 1)
        now = max(block.until, memory._blocks[A].until)
    assert memory.block(C, now) is None
    memory.failed(A, ErrorKind.CAPACITY, "none", now + 100_000)
    block = memory.block(A, now + 100_000)
    assert block is not None
    assert block.until - (now + 100_000) == FIRST_BLOCK < LONGEST_BLOCK
    memory.worked(A)
    assert memory.block(A, now + 100_000) is None


def test_a_quota_blocks_its_family_and_a_throttle_nothing() -> None:
    memory = CapacityMemory()
    memory.failed(A, ErrorKind.THROTTLED, "slow down", 0)
    assert memory.block(A, 1) is None
    memory.failed(A, ErrorKind.QUOTA, "limit", 0)
    blocked = [memory.block(place, 1) is not None for place in (A, B, C, D)]
    assert blocked == [True, True, False, False]


def test_an_offering_is_short_when_none_of_its_places_has_room() -> None:
    memory = CapacityMemory()
    one = Choice(Offering("g4dn.xlarge", Resources(1), "a", "spot"), (A,))
    two = Choice(Offering("any", Resources(1), "", "spot"), (A, B))
    assert shortages([one, two], memory, 0.0) == {}
    memory.failed(A, ErrorKind.CAPACITY, "none in a", 0.0)
    assert shortages([one, two], memory, 1.0) == {"g4dn.xlarge/a/spot": Shortage(FIRST_BLOCK, "none in a")}
    memory.failed(B, ErrorKind.CAPACITY, "none in b", 10.0)
    assert shortages([two], memory, 11.0) == {"any/spot": Shortage(FIRST_BLOCK, "none in a")}
    # One of them may be tried again.
    assert shortages([two], memory, FIRST_BLOCK) == {}
    assert shortages([one, two], memory, 1e6) == {}
    assert not memory


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("vt1.3xlarge", "g"),
        ("gr6.4xlarge", "g"),
        ("g5g.xlarge", "g"),
        ("p4d.24xlarge", "p"),
        ("im4gn.large", "standard"),
    ],
)
def test_families_are_those_of_the_quotas(name: str, family: str) -> None:
    assert Place(name, "a", "spot").family == f"{family}/spot"


def test_buckets_let_bursts_through_and_then_the_rate() -> None:
    buckets = Buckets()
    for _ in range(5):
        assert buckets.wait("RunInstances", 1, 0.0) == 0
        buckets.take("RunInstances", 1, 0.0)
    assert buckets.wait("RunInstances", 1, 0.0) == pytest.approx(0.5)
    assert buckets.wait("DescribeInstances", 0, 0.0) == 0
    buckets.take("RunInstances", 995, 10.0)
    # 995 instances later the account's bucket of instances is what holds.
    assert buckets.wait("RunInstances", 100, 10.0) > 30
    assert buckets.wait("RunInstances", 5000, 10_000.0) == 0
    buckets.empty("DescribeInstances", 0.0)
    assert buckets.wait("DescribeSpotPriceHistory", 0, 0.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "body", ["", "null", "[]", "{}", '{"detail-type": 1, "detail": 2}', '{"detail-type": "other", "detail": {}}']
)
def test_messages_that_say_nothing_are_no_notices(body: str) -> None:
    assert read_message(body, 0.0) == Message()


def test_scheduled_events_are_told() -> None:
    body = (
        '{"detail-type": "AWS Health Event", "detail": {"service": "EC2", "startTime": "Sat, 5 Jun 2027", '
        '"eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", "affectedEntities": [{"entityValue": "i-1"}]}}'
    )
    (notice,) = read_message(body, 5.0).notices
    assert (notice.instance_id, notice.weight) == ("i-1", Weight.EVENT)
    assert "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED" in notice.text


def test_prices_of_products() -> None:
    assert least_price([]) is None
    assert least_price(['{"terms": {}}']) is None


@pytest.mark.parametrize(("host", "entry"), [("local-ipv4", "local-ipv4"), ("", "local-ipv4"), ("ipv6", "ipv6")])
def test_w73_aliases_off_and_on_ec2(host: str, entry: str) -> None:
    address = Address("http", host, 8080)
    assert resolve(address, {entry: "10.0.0.1"}.get) == Address("http", "10.0.0.1", 8080)
    with pytest.raises(ProviderError) as caught:
        resolve(address, {}.get)
    assert caught.value.kind is ErrorKind.INVALID
    assert resolve(Address("http", "host", 1), {}.get) == Address("http", "host", 1)


def test_every_operation_that_is_used_exists() -> None:
    from slotsmith.providers.aws.buckets import _REQUESTS

    known = botocore.session.get_session().get_service_model("ec2").operation_names
    assert {name for name in _REQUESTS if name not in ("", "Describe")} <= set(known)
