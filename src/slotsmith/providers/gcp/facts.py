"""What machine types offer, as Google says it, and what they cost, as a file says it."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderError
from slotsmith.providers.gcp.api import Api
from slotsmith.providers.gcp.settings import GcpSettings, region_of

Prices = Mapping[tuple[str, str, str], float]
"""Dollars per hour by machine type, zone or region ("" = any), and market."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine type in one zone."""

    machine_type: str
    zone: str
    resources: Resources
    gpus: int


async def look_up(api: Api, settings: GcpSettings, zones: Sequence[str]) -> list[Facts]:
    """The machine types that are to be had, zone by zone in the order of preference.

    Raises:
        ProviderError: none of them is (invalid), or Google cannot be asked.
    """
    wanted = [(kind, zone) for kind in settings.all_machine_types for zone in zones]
    answers = await asyncio.gather(
        *(look_up_one(api, settings, kind, zone) for kind, zone in wanted), return_exceptions=True
    )
    missing: list[str] = []
    found: list[Facts] = []
    for answer in answers:
        if isinstance(answer, Facts):
            found.append(answer)
        elif isinstance(answer, ProviderError) and answer.kind in (ErrorKind.GONE, ErrorKind.INVALID):
            missing.append(str(answer))
        elif isinstance(answer, BaseException):
            raise answer
    if not found:
        raise ProviderError(ErrorKind.INVALID, "; ".join(dict.fromkeys(missing)))
    return found


async def look_up_one(api: Api, settings: GcpSettings, kind: str, zone: str) -> Facts:
    """One machine type in one zone.

    Raises:
        ProviderError: it is not there (gone), its GPUs do not fit (invalid), or Google cannot be asked.
    """
    machine = await api.get(f"zones/{zone}/machineTypes/{kind}")
    extra = settings.instance_type
    gpus = sum(int(each.get("guestAcceleratorCount", 0)) for each in machine.get("accelerators", ()))
    if extra.gpu_type and extra.gpu_num:
        accelerator = await api.get(f"zones/{zone}/acceleratorTypes/{extra.gpu_type}")
        most = int(accelerator.get("maximumCardsPerInstance", extra.gpu_num))
        if extra.gpu_num > most:
            text = f"a machine in {zone} has at most {most} of {extra.gpu_type}, not {extra.gpu_num}"
            raise ProviderError(ErrorKind.INVALID, text)
        gpus += extra.gpu_num
    return Facts(kind, zone, _resources(settings, machine, gpus), gpus)


def _resources(settings: GcpSettings, machine: Mapping[str, Any], gpus: int) -> Resources:
    slots = settings.slots if settings.slots is not None else gpus
    if settings.slots is None and not slots and settings.cpu_slots_allowed:
        # The reference counts a machine without GPUs as one slot.
        slots = 1
    return Resources(slots, float(machine.get("guestCpus", 0)), int(machine.get("memoryMb", 0)) / 1024)


def make_offerings(facts: Sequence[Facts], settings: GcpSettings, prices: Prices) -> list[Offering]:
    """What can be launched, in the order of preference; with `regional`, one for each machine type.

    Without prices there is nothing to choose by, so the first is the only one; GCE may take others in its place.
    """
    offerings: dict[str, Offering] = {}
    for each in facts:
        place = region_of(each.zone) if settings.regional else each.zone
        candidates = ((each.machine_type, where, settings.market) for where in (place, region_of(place), ""))
        price = next((prices[key] for key in candidates if key in prices), None)
        offering = Offering(each.machine_type, each.resources, place, settings.market, price)
        offerings.setdefault(offering.name, offering)
    return list(offerings.values()) if prices else list(offerings.values())[:1]


def read_prices(path: Path | None) -> Prices:
    """The prices in a catalogue: CSV with `instance_type`, `price_per_hour`, and maybe `zone` and `market`.

    Raises:
        ProviderError: the file cannot be read, or a price in it (invalid).
    """
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return {_key(row): _price(path, number, row) for number, row in enumerate(csv.DictReader(stream), 2)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProviderError(ErrorKind.INVALID, f"the prices in {path} cannot be read: {error}") from error


def _key(row: Mapping[str, str | None]) -> tuple[str, str, str]:
    return row.get("instance_type") or "", row.get("zone") or "", row.get("market") or "on-demand"


def _price(path: Path, line: int, row: Mapping[str, str | None]) -> float:
    try:
        price = float(row.get("price_per_hour") or "")
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        text = f"{path}:{line}: price_per_hour: expected dollars per hour, got {row.get('price_per_hour')!r}"
        raise ProviderError(ErrorKind.INVALID, text)
    return price
