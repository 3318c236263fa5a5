"""The `provider:` block of a pool on EC2: the keys of Determined's `type: aws`, and slotsmith's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from slotsmith.boot import AgentSettings
from slotsmith.providers.base import ProviderSettings
from slotsmith.settings import PositiveDuration

Market = Literal["on-demand", "spot"]

_PRICE = re.compile(r"[0-9]+(\.[0-9]+)?")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_TAG = re.compile(r"[\w .:/=+@-]*")
_OWN_TAGS = ("slotsmith-", "aws:")
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


def _check_tag(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise ValueError("expected letters, digits, blanks and _ . : / = + - @ (what EC2 allows in a tag)")
    return value


TagText = Annotated[str, AfterValidator(_check_tag), Field(max_length=256)]
TagKey = Annotated[str, AfterValidator(_check_tag), Field(min_length=1, max_length=128)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkInterface(_Block):
    """Whether instances have a public address, and where they are connected."""

    public_ip: bool = True
    subnet_id: str = ""
    security_group_id: str = ""


class CustomTag(_Block):
    """A tag for everything that is launched."""

    key: TagKey
    value: TagText = ""

    @field_validator("key")
    @classmethod
    def _not_ours(cls, value: str) -> str:
        if value.lower().startswith(_OWN_TAGS):
            raise ValueError("expected a key that does not begin with slotsmith- or aws:")
        return value


class TypeFilter(_Block):
    """Instance types by what they have. What is left out does not matter; amounts are of the whole instance."""

    min_gpus: _Count = 0
    max_gpus: _Count | None = None
    gpu_names: tuple[str, ...] = ()
    min_cpus: _Count = 0
    max_cpus: _Count | None = None
    min_cpus_per_gpu: _Amount = 0.0
    min_mem_gib: _Amount = 0.0
    max_mem_gib: _Amount | None = None
    families: tuple[str, ...] = ()
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    bare_metal: bool = False


class AwsSettings(ProviderSettings):
    """A pool on EC2. Either `instance_type` (one) or `instance_types` (several, or a filter) says what is launched."""

    type: Literal["aws"]
    region: str | None = None
    root_volume_size: Annotated[int, Field(ge=8, le=16384)] = 200
    # The others need more than a type, or are none to boot from.
    volume_type: Literal["gp3", "gp2", "standard"] = "gp3"
    image_id: Annotated[str, Field(pattern=r"^(ami-[0-9a-f]+)?$")] = ""
    launch_template_id: Annotated[str, Field(pattern=r"^(lt-[0-9a-f]+)?$")] = ""
    tag_key: TagKey = "managed-by"
    tag_value: TagText = "slotsmith"
    instance_name: TagText = "slotsmith-agent"
    ssh_key_name: str = ""
    network_interface: NetworkInterface = NetworkInterface()
    iam_instance_profile_arn: str = ""
    instance_type: str = ""
    instance_types: tuple[str, ...] | TypeFilter = ()
    instance_slots: _Count | None = None
    cpu_slots_allowed: bool = False
    zones: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    markets: Annotated[tuple[Market, ...], Field(min_length=1)] | None = None
    spread: Literal["each", "zones", "types"] = "each"
    spot: bool = False
    spot_max_price: str = ""
    spot_mode: Literal["fleet", "request"] = "fleet"
    custom_tags: tuple[CustomTag, ...] = ()
    log_group: str = ""
    log_stream: str = ""
    queue_url: str = ""
    on_rebalance: Literal["drain", "show"] = "drain"
    catalog: Path | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    use_fips: bool = False
    poll_period: PositiveDuration = 60.0
    agent: AgentSettings

    @field_validator("region")
    @classmethod
    def _check_region(cls, value: str | None) -> str | None:
        if value is not None and not _REGION.fullmatch(value):
            raise ValueError("expected the name of a region like eu-west-1")
        return value

    @field_validator("spot_max_price")
    @classmethod
    def _check_price(cls, value: str) -> str:
        if value and not _PRICE.fullmatch(value):
            raise ValueError("expected a price in dollars per hour like 0.35")
        return value

    @field_validator("custom_tags", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return () if value is None else value

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        problem = next(_problems(self), None)
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def types(self) -> tuple[str, ...] | TypeFilter:
        """What may be launched: names, or a filter."""
        return (self.instance_type,) if self.instance_type else self.instance_types

    @property
    def effective_markets(self) -> tuple[Market, ...]:
        """The markets, best first."""
        if self.markets is not None:
            return tuple(dict.fromkeys(self.markets))
        return ("spot",) if self.spot else ("on-demand",)

    @property
    def effective_subnets(self) -> tuple[str, ...]:
        """The subnets, best first; empty = the default one of each zone."""
        return self.subnets or ((self.network_interface.subnet_id,) if self.network_interface.subnet_id else ())


def _problems(settings: AwsSettings) -> Any:
    """What contradicts itself, one text each."""
    if not settings.image_id and not settings.launch_template_id:
        yield "image_id is missing: the image that instances boot from"
    if bool(settings.instance_type) == bool(settings.instance_types):
        yield "expected one of instance_type and instance_types"
    if settings.subnets and settings.network_interface.subnet_id:
        yield "subnets and network_interface.subnet_id are both given, expected one of them"
    if settings.subnets and settings.zones:
        yield "zones and subnets are both given; a subnet is in one zone, so subnets say it all"
    if settings.markets is not None and settings.spot:
        yield "markets and spot are both given, expected one of them"
    if settings.log_stream and not settings.log_group:
        yield "log_stream needs a log_group"
    if settings.log_group and settings.agent.container is None:
        yield "log_group is for the logs of a container, and agent.container is not set"
    yield from _fleet_problems(settings)


def _fleet_problems(settings: AwsSettings) -> Any:
    if settings.spread != "each" and settings.launch_template_id:
        yield "launch_template_id goes with spread: each; for a fleet slotsmith makes a template of its own"
    if settings.spot_mode == "request" and (settings.spread != "each" or settings.launch_template_id):
        yield "spot_mode: request goes with spread: each, and without launch_template_id"
    if settings.spread != "each" and settings.agent.has_inline_secrets:
        yield (
            f"spread: {settings.spread} puts the boot script into a launch template, which others may read; give "
            "startup_script_from, container_startup_script_from or config_file_from instead of the texts, and no "
            "environment"
        )
