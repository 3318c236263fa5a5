"""The `provider:` block of a pool on GCE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from slotsmith.boot import AgentSettings
from slotsmith.providers.base import ProviderSettings
from slotsmith.providers.gcp.names import check_label, check_prefix
from slotsmith.settings import PositiveDuration
from slotsmith.text import quoted, suggestion

GOOGLE: Final = "https://compute.googleapis.com/compute/v1"

_ZONE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_MACHINE_TYPE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_PROJECT: Final = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9_-]*")
_TAG: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_GPU_COUNTS: Final = (0, 1, 2, 4, 8, 16)
# Of `InstanceProperties` in Google's compute v1.
_PROPERTIES: Final = (
    "advancedMachineFeatures",
    "canIpForward",
    "confidentialInstanceConfig",
    "description",
    "disks",
    "guestAccelerators",
    "keyRevocationActionType",
    "labels",
    "localSsdEncryptionMode",
    "machineType",
    "metadata",
    "minCpuPlatform",
    "networkInterfaces",
    "networkPerformanceConfig",
    "privateIpv6GoogleAccess",
    "reservationAffinity",
    "resourceManagerTags",
    "resourcePolicies",
    "scheduling",
    "serviceAccounts",
    "shieldedInstanceConfig",
    "tags",
    "workloadIdentityConfig",
)


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if value and not pattern.fullmatch(value):
            raise ValueError(f"expected {what}")
        return value

    return AfterValidator(check)


Zone = Annotated[str, _matching(_ZONE, "the name of a zone like us-central1-a")]
MachineType = Annotated[
    str, Field(min_length=1), _matching(_MACHINE_TYPE, "the name of a machine type like n1-standard-8")
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InstanceType(_Part):
    """What each instance is. `gpu_num` GPUs of `gpu_type` are added to what the machine type has itself."""

    machine_type: MachineType = Field(description="such as n1-standard-8")
    gpu_type: str = ""
    gpu_num: int = 0
    preemptible: bool = False

    @field_validator("gpu_num")
    @classmethod
    def _count(cls, value: int, info: ValidationInfo) -> int:
        if value not in _GPU_COUNTS:
            raise ValueError(f"expected one of {', '.join(map(str, _GPU_COUNTS))}")
        if value and not info.data.get("gpu_type", "?"):
            raise ValueError("expected 0, or a gpu_type")
        return value


class NetworkInterface(_Part):
    """The interface that is added; none when `network` or `subnetwork` is missing."""

    network: str = ""
    subnetwork: str = ""
    external_ip: bool = False


class ServiceAccount(_Part):
    """Whose rights the instances have; none when `email` is missing."""

    email: str = ""
    scopes: tuple[str, ...] = Field(default=("https://www.googleapis.com/auth/cloud-platform",), strict=False)


class MetadataItem(BaseModel):
    """A key that programs on the instance can read. Its value is hidden, for scripts hold secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    value: SecretStr = SecretStr("")


class Metadata(BaseModel):
    """`metadata` of `base_config`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: tuple[MetadataItem, ...] = ()


class BaseConfig(BaseModel):
    """Instance properties as the API has them, on which everything else is put."""

    model_config = ConfigDict(extra="allow", frozen=True)

    metadata: Metadata | None = None

    def model_post_init(self, _context: Any) -> None:
        for key in self.model_extra or {}:
            if key not in _PROPERTIES:
                raise ValueError(f"unknown instance property {quoted(key)}{suggestion(key, _PROPERTIES)}")
        labels = (self.model_extra or {}).get("labels")
        if labels is not None and not isinstance(labels, Mapping):
            raise ValueError("labels: expected a mapping of keys")
        for key, value in (labels or {}).items():
            check_label(str(key), str(value))

    def plain(self) -> dict[str, Any]:
        """A copy that shares nothing with this one, secrets in it as they are."""
        properties: dict[str, Any] = self.model_dump(mode="json", exclude={"metadata"})
        if self.metadata is not None:
            items = [{"key": item.key, "value": item.value.get_secret_value()} for item in self.metadata.items]
            properties["metadata"] = {"items": items}
        return properties


class GcpSettings(ProviderSettings):
    """Each instance is a virtual machine of one project, made by `instances.bulkInsert`.

    `zone` or `zones` say where; several zones are several offerings, or one if `regional`, and then GCE chooses among
    them. `instance_type` is the wanted machine, and `machine_types` names others that will do as well. Empty `project`
    and no zone: those of the machine on which the daemon runs.
    """

    type: Literal["gcp"]
    project: Annotated[str, _matching(_PROJECT, "the id of a project")] = ""
    zone: Zone = ""
    zones: tuple[Zone, ...] = ()
    regional: bool = False
    instance_type: InstanceType = Field(description="the machine type of the instances, and their GPUs")
    machine_types: tuple[MachineType, ...] = ()
    spot: bool = False
    slots: Annotated[int, Field(ge=0)] | None = None
    cpu_slots_allowed: bool = False
    boot_disk_size: Annotated[int, Field(ge=10)] = 200
    boot_disk_source_image: str = ""
    boot_disk_type: str = ""
    base_config: BaseConfig | None = None
    labels: Mapping[str, str] = {}
    name_prefix: Annotated[str, AfterValidator(check_prefix)] = ""
    network_interface: NetworkInterface = NetworkInterface()
    network_tags: tuple[Annotated[str, _matching(_TAG, "a network tag like my-tag")], ...] = ()
    service_account: ServiceAccount = ServiceAccount()
    metadata: Mapping[str, SecretStr] = {}
    agent: AgentSettings | None = None
    use_cloud_logging: bool = False
    operation_timeout_period: PositiveDuration = 300.0
    poll_period: PositiveDuration = 10.0
    prices: Path | None = Field(default=None, validate_default=True)
    api_endpoint: Annotated[str, _matching(re.compile(r"https?://[^\s/]+(/[^\s]*)?"), "a URL")] = GOOGLE

    @field_validator("labels")
    @classmethod
    def _legal_labels(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, text in value.items():
            check_label(key, text)
        return value

    @field_validator("zones")
    @classmethod
    def _one_way_of_saying_it(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("zone"):
            raise ValueError("expected 'zone' or 'zones', not both")
        if len(set(value)) < len(value):
            raise ValueError("expected each zone once")
        return value

    @field_validator("regional")
    @classmethod
    def _in_one_region(cls, value: bool, info: ValidationInfo) -> bool:
        regions = {region_of(zone) for zone in info.data.get("zones", ())}
        if value and len(regions) > 1:
            raise ValueError(f"expected zones of one region, got {', '.join(sorted(regions))}")
        return value

    @field_validator("prices")
    @classmethod
    def _needed_to_choose(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        several = len(info.data.get("zones", ())) > 1 or info.data.get("machine_types")
        if value is None and several and not info.data.get("regional"):
            raise ValueError("several zones or machine types are chosen by price: name a file, or set regional: true")
        return value

    @property
    def all_zones(self) -> tuple[str, ...]:
        """The zones that were named, by either key; none = that of the daemon's machine."""
        return self.zones or ((self.zone,) if self.zone else ())

    @property
    def all_machine_types(self) -> tuple[str, ...]:
        """The wanted machine type, then the others, each once."""
        return tuple(dict.fromkeys((self.instance_type.machine_type, *self.machine_types)))

    @property
    def market(self) -> str:
        """`spot` for what may be preempted, whichever key says so."""
        base = (self.base_config.model_extra or {}).get("scheduling") if self.base_config else None
        base = base if isinstance(base, Mapping) else {}
        spot = self.spot or self.instance_type.preemptible
        return "spot" if spot or base.get("provisioningModel") == "SPOT" or base.get("preemptible") else "on-demand"


def region_of(zone: str) -> str:
    """`us-central1-a` is in `us-central1`."""
    return zone.rpartition("-")[0]
