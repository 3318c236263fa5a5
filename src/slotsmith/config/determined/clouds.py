"""The keys of `type: aws`, `gcp` and `hpc`, as the reference has them (defaults too)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from slotsmith.config.determined.base import BaseKeys
from slotsmith.config.determined.values import Block, GoDuration
from slotsmith.text import quoted

_PRICE: Final = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+", re.ASCII)
_MACHINE_TYPE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_LABEL_KEY: Final = re.compile(r"(?!slotsmith-)[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
_LABEL: Final = "expected at most 63 lower-case letters, digits, '-' and '_'"
_GPU_COUNTS: Final = (0, 1, 2, 4, 8, 16)

DEFAULT_GCE_IMAGE: Final = "projects/determined-ai/global/images/det-environments-2b7e2a1"
DEFAULT_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


class AwsNetwork(Block):
    """`network_interface` of an EC2 pool."""

    public_ip: bool = True
    subnet_id: str = ""
    security_group_id: str = ""


class Tag(Block):
    """One of `custom_tags`."""

    key: str
    value: str


class AwsKeys(BaseKeys):
    """`type: aws`."""

    type: Literal["aws"] = "aws"
    region: str = ""
    root_volume_size: Annotated[int, Field(ge=100)] = 200
    image_id: str = ""
    tag_key: str = "managed_by"
    tag_value: str = ""
    instance_name: str = "determined-ai-agent"
    ssh_key_name: Annotated[str, Field(min_length=1, description="the name of an EC2 key pair")]
    network_interface: AwsNetwork = AwsNetwork()
    iam_instance_profile_arn: str = ""
    instance_type: Annotated[str, Field(min_length=1)] = "g4dn.metal"
    instance_slots: Annotated[int, Field(ge=0)] | None = None
    log_group: str = ""
    log_stream: str = ""
    spot: bool = False
    spot_max_price: str = ""
    custom_tags: tuple[Tag, ...] = Field(default=(), strict=False)
    cpu_slots_allowed: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong between keys: the key and the sentence."""
        price = self.spot_max_price
        if self.spot and price not in ("", "OnDemand") and not _PRICE.fullmatch(price):
            return [("spot_max_price", f"expected dollars per hour like '2.50', got {quoted(price)}")]
        return []


def _check_machine_type(value: str) -> str:
    if not _MACHINE_TYPE.fullmatch(value):
        raise ValueError("expected the name of a machine type like n1-standard-8")
    return value


def _check_gpu_count(value: int) -> int:
    if value not in _GPU_COUNTS:
        raise ValueError(f"expected one of {', '.join(map(str, _GPU_COUNTS))}")
    return value


class GceInstanceType(Block):
    """`instance_type` of a GCE pool. What is left out keeps its default, so a machine without GPUs says so."""

    machine_type: Annotated[str, AfterValidator(_check_machine_type)] = "n1-standard-32"
    gpu_type: str = "nvidia-tesla-t4"
    gpu_num: Annotated[int, AfterValidator(_check_gpu_count)] = 4
    preemptible: bool = False


class GceNetwork(Block):
    """`network_interface` of a GCE pool."""

    network: str = ""
    subnetwork: str = ""
    external_ip: bool = False


class GceServiceAccount(Block):
    """`service_account` of a GCE pool."""

    email: str = ""
    scopes: tuple[str, ...] = Field(default=(), strict=False)


class GcpKeys(BaseKeys):
    """`type: gcp`."""

    type: Literal["gcp"] = "gcp"
    base_config: Mapping[str, Any] | None = None
    project: str = ""
    zone: str = ""
    boot_disk_size: Annotated[int, Field(ge=100)] = 200
    boot_disk_source_image: str = DEFAULT_GCE_IMAGE
    boot_disk_type: str = ""
    labels: Mapping[str, str] = {}
    label_key: str = "managed-by"
    label_value: str = ""
    name_prefix: str = ""
    network_interface: GceNetwork = GceNetwork()
    network_tags: tuple[str, ...] = Field(default=(), strict=False)
    service_account: GceServiceAccount = GceServiceAccount()
    instance_type: GceInstanceType = GceInstanceType()
    operation_timeout_period: GoDuration = 300.0
    cpu_slots_allowed: bool = False
    use_cloud_logging: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with a key that becomes a part of another one here."""
        wrong = []
        if not _LABEL_KEY.fullmatch(self.label_key):
            wrong.append(("label_key", f"{_LABEL}, beginning with a letter, got {quoted(self.label_key)}"))
        if not _LABEL_VALUE.fullmatch(self.label_value):
            wrong.append(("label_value", f"{_LABEL}, got {quoted(self.label_value)}"))
        return wrong


KEYS: Final[dict[str, type[AwsKeys] | type[GcpKeys]]] = {"aws": AwsKeys, "gcp": GcpKeys}
"""The model of each `type` that can be run."""

HPC: Final = (
    "'hpc' is a partition of a batch system such as Slurm, which has its own machines: there is nothing to launch. "
    "Use 'aws' or 'gcp', or leave the pool out"
)
