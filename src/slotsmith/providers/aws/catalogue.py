"""What can be launched in a region: types and their facts, zones, images, prices; asked of AWS, never kept in code."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.client import AwsClient
from slotsmith.providers.aws.kept import Kept
from slotsmith.providers.aws.settings import AwsSettings, TypeFilter
from slotsmith.providers.base import ProviderError

_TYPES_A_CALL: Final = 100
_GIB: Final = 1024


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """An instance type: `cpus` are vCPUs, `gpu_name` is the accelerator's, e.g. `T4`."""

    name: str
    cpus: int
    mem_gib: float
    gpus: int = 0
    gpu_name: str = ""
    architectures: tuple[str, ...] = ("x86_64",)
    bare_metal: bool = False
    spot: bool = True
    current: bool = True

    @property
    def accelerator(self) -> str:
        """For people: `4 x T4`, or nothing."""
        return f"{self.gpus} x {self.gpu_name}" if self.gpus else ""

    def slots(self, settings: AwsSettings) -> int:
        """The slots of an instance: as given, or its GPUs, or one for an instance without any where that is allowed."""
        if settings.instance_slots is not None:
            return settings.instance_slots
        return self.gpus or int(settings.cpu_slots_allowed)

    def slot_type(self, settings: AwsSettings) -> str:
        """What a slot is, in the words of the boot script."""
        if self.gpus:
            return "cuda"
        return "cpu" if settings.cpu_slots_allowed else "none"


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per hour: `on_demand` by type, `spot` by type and zone ("" = any); what is not known is not in them.

    `read_at`: when the oldest of them was told (epoch seconds).
    """

    on_demand: Mapping[str, float]
    spot: Mapping[tuple[str, str], float]
    read_at: float


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`zones` has the zones in which each type is sold; `subnets` the subnet for each zone ("" = the default one)."""

    types: Mapping[str, TypeInfo]
    zones: Mapping[str, tuple[str, ...]]
    subnets: Mapping[str, str]
    root_device: str
    prices: Prices

    def price(self, instance_type: str, zone: str, market: str) -> float | None:
        """Dollars per hour; for no zone in particular, the least of all zones."""
        on_demand, spot = self.prices.on_demand, self.prices.spot
        if market == "on-demand":
            return on_demand.get(instance_type)
        zones = [zone] if zone else self.zones.get(instance_type, ())
        # A file may give one for all zones.
        anywhere = spot.get((instance_type, ""))
        found = (spot.get((instance_type, each), anywhere) for each in zones)
        return min((price for price in found if price is not None), default=None)


async def look_up(client: AwsClient, settings: AwsSettings, now: float, kept: Kept) -> Catalogue:
    """Ask AWS for all that the settings leave to it and that is not `kept` from the last time.

    Raises:
        ProviderError: it cannot be asked, or what the settings name is not there (INVALID).
    """
    subnets = await _subnets(client, settings)
    types = {info.name: info for info in await _types(client, settings.types, kept, now)}
    zones = await _zones(client, list(types), subnets, kept, now)
    left = {name: info for name, info in types.items() if zones.get(name)}
    if not left:
        where = ", ".join(subnets) or "any zone of the region"
        raise ProviderError(ErrorKind.INVALID, f"none of {', '.join(list(types)[:8])} is sold in {where}")
    device = await root_device(client, settings.image_id) if settings.image_id else ""
    found = await prices(client, settings, list(left), now, kept)
    _check_prices(settings, left, zones, found)
    by_zone = subnets or {zone: "" for name in left for zone in zones[name]}
    return Catalogue(left, zones, by_zone, device, found)


async def _types(client: AwsClient, wanted: Sequence[str] | TypeFilter, kept: Kept, now: float) -> Sequence[TypeInfo]:
    question = wanted.model_dump_json() if isinstance(wanted, TypeFilter) else ",".join(wanted)

    async def ask() -> list[dict[str, Any]]:
        return [asdict(info) for info in await _ask_for_types(client, wanted)]

    told, _ = await kept.get(f"types {client.connection.region} {question}", ask, now)
    return [TypeInfo(**{**each, "architectures": tuple(each["architectures"])}) for each in told]


async def _ask_for_types(client: AwsClient, wanted: Sequence[str] | TypeFilter) -> list[TypeInfo]:
    if isinstance(wanted, TypeFilter):
        filters = [
            {"Name": "bare-metal", "Values": [str(wanted.bare_metal).lower()]},
            {"Name": "processor-info.supported-architecture", "Values": [wanted.architecture]},
        ]
        found = [
            type_info(each)
            async for page in client.pages(
                "DescribeInstanceTypes", "InstanceTypes", Filters=filters, MaxResults=_TYPES_A_CALL
            )
            for each in page
        ]
        return sorted((info for info in found if fits(info, wanted)), key=lambda info: info.name)
    names = list(dict.fromkeys(wanted))
    found = []
    for begin in range(0, len(names), _TYPES_A_CALL):
        answer = await client.call("DescribeInstanceTypes", InstanceTypes=names[begin : begin + _TYPES_A_CALL])
        found += [type_info(each) for each in answer["InstanceTypes"]]
    return sorted(found, key=lambda info: names.index(info.name))


def type_info(answer: Mapping[str, Any]) -> TypeInfo:
    """From an answer of DescribeInstanceTypes."""
    gpus = answer.get("GpuInfo", {}).get("Gpus", ())
    return TypeInfo(
        name=answer["InstanceType"],
        cpus=answer["VCpuInfo"]["DefaultVCpus"],
        mem_gib=answer["MemoryInfo"]["SizeInMiB"] / _GIB,
        gpus=sum(gpu.get("Count", 0) for gpu in gpus),
        gpu_name=gpus[0].get("Name", "") if gpus else "",
        architectures=tuple(answer.get("ProcessorInfo", {}).get("SupportedArchitectures", ())),
        bare_metal=answer.get("BareMetal", False),
        spot="spot" in answer.get("SupportedUsageClasses", ()),
        current=answer.get("CurrentGeneration", True),
    )


def fits(info: TypeInfo, wanted: TypeFilter) -> bool:
    """Whether a type has what the filter asks for; older generations are left out."""
    ranges = (
        (info.gpus, wanted.min_gpus, wanted.max_gpus),
        (info.cpus, wanted.min_cpus, wanted.max_cpus),
        (info.mem_gib, wanted.min_mem_gib, wanted.max_mem_gib),
        (info.cpus, wanted.min_cpus_per_gpu * info.gpus, None),
    )
    return (
        info.current
        and info.bare_metal is wanted.bare_metal
        and wanted.architecture in info.architectures
        and all(low <= has and (high is None or has <= high) for has, low, high in ranges)
        and (not wanted.gpu_names or info.gpu_name in wanted.gpu_names)
        and (not wanted.families or info.name.partition(".")[0] in wanted.families)
    )


async def _subnets(client: AwsClient, settings: AwsSettings) -> dict[str, str]:
    """The subnet of each zone that may be used; empty = no zone in particular is asked for."""
    if not settings.effective_subnets:
        return dict.fromkeys(settings.zones, "")
    answer = await client.call("DescribeSubnets", SubnetIds=list(settings.effective_subnets))
    zone_of = {each["SubnetId"]: each["AvailabilityZone"] for each in answer["Subnets"]}
    subnets: dict[str, str] = {}
    for subnet in settings.effective_subnets:
        subnets.setdefault(zone_of[subnet], subnet)
    return subnets


async def _zones(
    client: AwsClient, types: Sequence[str], subnets: Mapping[str, str], kept: Kept, now: float
) -> dict[str, tuple[str, ...]]:
    question = f"zones {client.connection.region} {','.join(types)}"
    sold, _ = await kept.get(question, lambda: _ask_for_zones(client, types), now)
    order = list(subnets)
    return {
        name: tuple(zone for zone in order if zone in zones) if order else tuple(zones) for name, zones in sold.items()
    }


async def _ask_for_zones(client: AwsClient, types: Sequence[str]) -> dict[str, list[str]]:
    sold: dict[str, set[str]] = {}
    for begin in range(0, len(types), _TYPES_A_CALL):
        filters = [{"Name": "instance-type", "Values": list(types[begin : begin + _TYPES_A_CALL])}]
        async for page in client.pages(
            "DescribeInstanceTypeOfferings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=filters,
            MaxResults=1000,
        ):
            for each in page:
                sold.setdefault(each["InstanceType"], set()).add(each["Location"])
    return {name: sorted(zones) for name, zones in sold.items()}


async def root_device(client: AwsClient, image_id: str) -> str:
    """The name of an image's root device: a volume under any other name would be a second disk."""
    answer = await client.call("DescribeImages", ImageIds=[image_id])
    images = answer.get("Images", ())
    if not images:
        raise ProviderError(ErrorKind.INVALID, f"image_id: there is no image {image_id} in {client.connection.region}")
    return images[0].get("RootDeviceName") or "/dev/xvda"


async def prices(client: AwsClient, settings: AwsSettings, types: Sequence[str], now: float, kept: Kept) -> Prices:
    """Prices on demand and on the spot market; those that are not told are left out.

    Raises:
        ProviderError: one of the two cannot be asked for, and a pool with several offerings cannot do without.
    """
    if settings.catalog is not None:
        return await asyncio.to_thread(read_prices, settings.catalog)
    spot: dict[tuple[str, str], float] = {}
    on_demand: dict[str, float] = {}
    read_at = now
    try:
        if "spot" in settings.effective_markets:
            spot = await _spot_prices(client, types, now)
        if "on-demand" in settings.effective_markets:
            on_demand, read_at = await _on_demand_prices(client, types, kept, now)
    except ProviderError as error:
        # It is no reason not to launch, where there is nothing to choose.
        zones = len(settings.zones or settings.effective_subnets) if settings.spread == "each" else 1
        if len(types) > 1 or len(settings.effective_markets) > 1 or zones != 1:
            raise ProviderError(error.kind, f"{error}; {_NEEDED}") from error
    return Prices(on_demand, spot, read_at)


_NEEDED: Final = "with several offerings prices are needed: allow asking for them (docs/aws.md), or give a catalog file"


def _check_prices(
    settings: AwsSettings,
    types: Mapping[str, TypeInfo],
    zones: Mapping[str, tuple[str, ...]],
    found: Prices,
) -> None:
    """Raises ProviderError (INVALID): there would be several offerings, and the price of none is known."""
    places = len(settings.effective_markets)
    if settings.spread != "types":
        places *= len(types) if settings.spread == "zones" else sum(len(zones[name]) for name in types)
    if places > 1 and not found.on_demand and not found.spot:
        raise ProviderError(ErrorKind.INVALID, f"no price is known; {_NEEDED}")


async def _spot_prices(client: AwsClient, types: Sequence[str], now: float) -> dict[tuple[str, str], float]:
    latest: dict[tuple[str, str], tuple[float, float]] = {}
    for begin in range(0, len(types), _TYPES_A_CALL):
        async for page in client.pages(
            "DescribeSpotPriceHistory",
            "SpotPriceHistory",
            InstanceTypes=list(types[begin : begin + _TYPES_A_CALL]),
            ProductDescriptions=["Linux/UNIX"],
            # A history that begins now has the price that holds now, once for each type and zone.
            StartTime=int(now),
            MaxResults=1000,
        ):
            for each in page:
                key = (each["InstanceType"], each["AvailabilityZone"])
                found = (each["Timestamp"].timestamp(), float(each["SpotPrice"]))
                latest[key] = max(found, latest.get(key, found))
    return {key: price for key, (_, price) in latest.items()}


_PRICES_AT_A_TIME: Final = 16
# The Pricing API answers in few regions, for all of them.
_PRICING_REGION: Final = "us-east-1"


async def _on_demand_prices(
    client: AwsClient, types: Sequence[str], kept: Kept, now: float
) -> tuple[dict[str, float], float]:
    """By type, and when the oldest of them was read."""
    wanted = {
        "regionCode": client.connection.region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }

    async def of(name: str) -> float | None:
        filters = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in {**wanted, "instanceType": name}.items()
        ]
        answer = await client.call(
            "GetProducts", service="pricing", region=_PRICING_REGION, ServiceCode="AmazonEC2", Filters=filters
        )
        return least_price(answer.get("PriceList", ()))

    found = []
    # What has been answered is kept, so that after a throttled call those that follow have less to ask for.
    for begin in range(0, len(types), _PRICES_AT_A_TIME):
        some = types[begin : begin + _PRICES_AT_A_TIME]
        region = client.connection.region
        asked = (kept.get(f"price {region} {name}", partial(of, name), now) for name in some)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            found.append(answer)
    priced = {name: (price, at) for name, (price, at) in zip(types, found, strict=True) if price is not None}
    oldest = min((at for _, at in priced.values()), default=now)
    return {name: price for name, (price, _) in priced.items()}, oldest


def least_price(products: Iterable[str]) -> float | None:
    """The price per hour from products of the Pricing API, each a JSON text; None = there is none in them."""
    found = []
    for product in products:
        for term in json.loads(product).get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                if dimension.get("unit") == "Hrs":
                    found.append(float(dimension.get("pricePerUnit", {}).get("USD", 0)))
    return min((price for price in found if price > 0), default=None)


def read_prices(path: Path) -> Prices:
    """Prices from a catalogue as `slotsmith plan` reads it, as old as the file. Raises ProviderError (INVALID)."""
    on_demand: dict[str, float] = {}
    spot: dict[tuple[str, str], float] = {}
    line = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            written_at = os.fstat(file.fileno()).st_mtime
            for line, row in enumerate(csv.DictReader(file), 2):  # noqa: B007 - told when a line is wrong
                name, price = row["instance_type"], float(row["price_per_hour"])
                if not 0 < price < math.inf:
                    raise ValueError(f"the price is {row['price_per_hour']}")
                if (row.get("market") or "on-demand") == "spot":
                    spot[name, row.get("zone") or ""] = price
                else:
                    on_demand[name] = price
    except OSError as error:
        raise ProviderError(ErrorKind.INVALID, f"catalog {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderError(
            ErrorKind.INVALID, f"catalog {path}:{line}: expected columns instance_type, price_per_hour: {error}"
        ) from error
    return Prices(on_demand, spot, written_at)
