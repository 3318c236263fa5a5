"""Tries what a pool on GCE will need, without launching anything: one finding for each question."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderContext, ProviderError
from slotsmith.providers.gcp.api import Api
from slotsmith.providers.gcp.facts import look_up_one
from slotsmith.providers.gcp.listing import list_cluster
from slotsmith.providers.gcp.names import label_value
from slotsmith.providers.gcp.provider import GcpProvider
from slotsmith.providers.gcp.settings import GcpSettings, region_of

State = Literal["ok", "short", "bad"]

_IMAGE: Final = re.compile(r"(?:.*/)?projects/([^/]+)/global/(images/(?:family/)?[^/]+)")
_NETWORK: Final = re.compile(r"(?:.*projects/([^/]+)/)?((?:global/networks|regions/[^/]+/subnetworks)/[^/]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer: `short` = it works, but not for as many instances as the pool may have."""

    state: State
    what: str
    text: str


async def check_pool(settings: GcpSettings, context: ProviderContext, most: int) -> AsyncIterator[Finding]:
    """Everything that can be asked, in an order in which the first thing that is wrong explains the rest.

    `most` is the pool's maximum of instances.
    """
    provider = GcpProvider(settings, context)
    try:
        place = await _tried("project", provider.find_place(), "")
        yield Finding(place.state, place.what, place.text or provider.api.project)
        if place.state == "ok":
            async for finding in _check(settings, provider, label_value(context.cluster), most):
                yield finding
    finally:
        await provider.close()


async def _check(settings: GcpSettings, provider: GcpProvider, cluster: str, most: int) -> AsyncIterator[Finding]:
    api, zones = provider.api, provider.zones
    reached = await _tried("rights to read", api.get(""), f"project {api.project} can be read")
    yield reached
    if reached.state == "bad":
        return
    for zone in zones:
        async for finding in _check_zone(api, settings, zone):
            yield finding
    async for finding in _check_parts(api, settings):
        yield finding
    yield await _tried("rights to list", list_cluster(api, cluster), "instances can be listed")
    yield await _tried("boot", provider.setup(), "the scheduler's address and the boot script are good")
    for region in dict.fromkeys(map(region_of, zones)):
        async for finding in _check_quotas(api, settings, region, provider, most):
            yield finding


async def _check_zone(api: Api, settings: GcpSettings, zone: str) -> AsyncIterator[Finding]:
    try:
        state = str((await api.get(f"zones/{zone}")).get("status"))
    except ProviderError as error:
        yield Finding("bad", f"zone {zone}", str(error))
        return
    yield Finding("ok" if state == "UP" else "bad", f"zone {zone}", state.lower())
    for kind in settings.all_machine_types:
        try:
            facts = await look_up_one(api, settings, kind, zone)
        except ProviderError as error:
            yield Finding("bad", f"{kind} in {zone}", str(error))
            continue
        yield Finding("ok", f"{kind} in {zone}", str(facts.resources))


async def _check_parts(api: Api, settings: GcpSettings) -> AsyncIterator[Finding]:
    """The image and the network, as far as their names say where they are."""
    if match := _IMAGE.fullmatch(settings.boot_disk_source_image):
        image = api.of_project(match[1]).get(f"global/{match[2]}")
        yield await _tried("image", image, settings.boot_disk_source_image)
    elif not settings.boot_disk_source_image and not (
        settings.base_config and settings.base_config.plain().get("disks")
    ):
        yield Finding("bad", "image", "no boot disk: set boot_disk_source_image, or disks in base_config")
    for name in (settings.network_interface.network, settings.network_interface.subnetwork):
        if match := _NETWORK.fullmatch(name):
            owner = api.of_project(match[1]) if match[1] else api
            yield await _tried("network", owner.get(match[2]), name)


async def _check_quotas(
    api: Api, settings: GcpSettings, region: str, provider: GcpProvider, most: int
) -> AsyncIterator[Finding]:
    try:
        body = await api.get(f"regions/{region}")
    except ProviderError as error:
        yield Finding("bad", f"quotas of {region}", str(error))
        return
    quotas = {str(each.get("metric")): each for each in body.get("quotas", ())}
    offerings = provider.offerings()
    needed = _needs(settings, offerings[0].capacity) if offerings else {}
    for name, each in needed.items():
        spare = quotas.get(f"PREEMPTIBLE_{name}", {})
        # Where no quota was granted for what is preemptible, it counts against that for all.
        own = settings.market == "spot" and float(spare.get("limit", 0)) > 0
        metric = f"PREEMPTIBLE_{name}" if own else name
        if metric not in quotas or each <= 0:
            continue
        left = float(quotas[metric].get("limit", 0)) - float(quotas[metric].get("usage", 0))
        room = max(0, int(left // each))
        text = f"{left:g} left, enough for {room} of {most} instances"
        advice = "; ask Google for more, or lower max_instances" if room < most else ""
        yield Finding("ok" if room >= most else "short", f"quota {metric} in {region}", text + advice)


def _needs(settings: GcpSettings, capacity: Resources) -> Mapping[str, float]:
    """What one instance takes of each quota whose name can be told."""
    needs = {"CPUS": capacity.cpus}
    kind = settings.instance_type
    if kind.gpu_type and kind.gpu_num:
        name = kind.gpu_type.removeprefix("nvidia-").removeprefix("tesla-").upper().replace("-", "_")
        needs[f"NVIDIA_{name}_GPUS"] = kind.gpu_num
    return needs


async def _tried(what: str, call: Awaitable[Any], text: str) -> Finding:
    try:
        await call
    except ProviderError as error:
        return Finding("bad", what, str(error))
    return Finding("ok", what, text)


def worst(findings: Sequence[Finding]) -> State:
    """The worst state among them."""
    states = {finding.state for finding in findings}
    return "bad" if "bad" in states else "short" if "short" in states else "ok"
