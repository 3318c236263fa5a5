"""Whether a pool could work: what `slotsmith aws check` asks. Nothing is launched or changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from slotsmith.model.durations import format_duration
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.catalogue import Catalogue, look_up, root_device
from slotsmith.providers.aws.client import AwsClient
from slotsmith.providers.aws.errors import AwsError
from slotsmith.providers.aws.kept import Kept
from slotsmith.providers.aws.places import Choice, choices
from slotsmith.providers.aws.requests import Launcher
from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.base import LaunchRequest, ProviderError

QUOTAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "standard/on-demand": "L-1216C47A",
        "g/on-demand": "L-DB2E81BA",
        "p/on-demand": "L-417A185B",
        "standard/spot": "L-34B43A08",
        "g/spot": "L-3819A6DF",
        "p/spot": "L-7212CCBC",
    }
)
"""Codes of the vCPU quotas by family and market (Service Quotas, service `ec2`)."""

# Well formed, and nobody's: EC2 looks at rights first.
_NOBODY: Final = "i-0123456789abcdef0"
_TOKEN: Final = "slotsmith-check"  # noqa: S105 - a client token, no secret
_POLICY: Final = "see the policy in docs/aws.md"

_HINTS: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.DENIED: f"give these credentials the right, {_POLICY}",
        ErrorKind.THROTTLED: "try again in a minute",
        ErrorKind.TRANSIENT: "is the endpoint right, and can it be reached from here?",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it is well, what was seen, and what to do when it is not."""

    what: str
    ok: bool
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What is checked: the settings of one pool."""

    client: AwsClient
    settings: AwsSettings
    cluster: str
    pool: str
    max_instances: int
    now: float

    async def findings(self) -> AsyncIterator[Finding]:
        """One after the other, as they are known; those that need what is missing are left out."""
        identity = await _try("identity", self._identity)
        yield identity
        if not identity.ok:
            return
        yield Finding("region", True, self.client.connection.region)
        for what, look, wanted in (
            ("image", self._image, self.settings.image_id),
            ("key", self._key, self.settings.ssh_key_name),
            ("subnets", self._subnets, self.settings.effective_subnets),
        ):
            if wanted:
                yield await _try(what, look)
        try:
            catalogue = await look_up(self.client, self.settings, self.now, Kept())
        except ProviderError as error:
            yield _failed("types", error)
        else:
            yield self._types(catalogue)
            yield self._prices(catalogue)
            async for finding in self._rights(catalogue):
                yield finding
            async for finding in self._quotas(catalogue):
                yield finding
        if self.settings.queue_url:
            yield await _try("queue", self._queue)

    async def _identity(self) -> str:
        return str((await self.client.call("GetCallerIdentity", service="sts"))["Arn"])

    async def _image(self) -> str:
        device = await root_device(self.client, self.settings.image_id)
        return f"{self.settings.image_id}, root device {device}"

    async def _key(self) -> str:
        await self.client.call("DescribeKeyPairs", KeyNames=[self.settings.ssh_key_name])
        return self.settings.ssh_key_name

    async def _subnets(self) -> str:
        answer = await self.client.call("DescribeSubnets", SubnetIds=list(self.settings.effective_subnets))
        return ", ".join(
            f"{each['SubnetId']} in {each['AvailabilityZone']} ({each['AvailableIpAddressCount']} addresses free)"
            for each in answer["Subnets"]
        )

    async def _queue(self) -> str:
        answer = await self.client.call(
            "GetQueueAttributes",
            service="sqs",
            QueueUrl=self.settings.queue_url,
            AttributeNames=["ApproximateNumberOfMessages"],
        )
        waiting = answer.get("Attributes", {}).get("ApproximateNumberOfMessages", "0")
        return f"{self.settings.queue_url}, {waiting} messages waiting"

    def _types(self, catalogue: Catalogue) -> Finding:
        told = [
            f"{info.name} ({', '.join(filter(None, (info.accelerator, f'{info.slots(self.settings)} slots')))}) "
            f"in {', '.join(catalogue.zones[info.name])}"
            for info in catalogue.types.values()
        ]
        more = f" and {len(told) - 8} more" if len(told) > 8 else ""
        return Finding("types", True, "; ".join(told[:8]) + more)

    def _prices(self, catalogue: Catalogue) -> Finding:
        made = [choice.offering for choice in choices(self.settings, catalogue)]
        known = [each for each in made if each.price is not None]
        if not known:
            return Finding("prices", True, "none is known; offerings stand in the order of the settings")
        best = min(known, key=lambda each: each.price or 0.0)
        # To the minute: nobody asks for more.
        age = format_duration(max(0.0, (self.now - catalogue.prices.read_at) // 60 * 60))
        text = f"{len(known)} of {len(made)} known, from ${best.price:g} an hour ({best.name}); {age} old"
        return Finding("prices", True, text)

    async def _rights(self, catalogue: Catalogue) -> AsyncIterator[Finding]:
        launcher = Launcher(
            self.settings, self.cluster, self.pool, catalogue.root_device, catalogue.subnets, b"#!/bin/sh\n"
        )
        for choice in _one_of_each_market(choices(self.settings, catalogue)):
            request = LaunchRequest(_TOKEN, choice.offering, 1)
            if self.settings.spot_mode == "request" and choice.offering.market == "spot":
                params = launcher.request_spot(request, choice.places[0])
                yield await self._dry_run("RequestSpotInstances", f"request {choice.offering.name}", params)
            elif len(choice.places) == 1:
                params = launcher.run_instances(request, choice.places[0])
                yield await self._dry_run("RunInstances", f"launch {choice.offering.name}", params)
            else:
                yield await self._dry_run("CreateLaunchTemplate", "make a launch template", launcher.create_template())
                yield await self._dry_run(
                    "CreateFleet", f"launch {choice.offering.name}", launcher.create_fleet(request, choice)
                )
        yield await self._dry_run("DescribeInstances", "list instances", {"MaxResults": 5})
        yield await self._dry_run("TerminateInstances", "terminate instances", {"InstanceIds": [_NOBODY]})
        if "spot" in self.settings.effective_markets and not self.settings.queue_url:
            yield await self._dry_run("DescribeSpotInstanceRequests", "see interruptions", {"MaxResults": 5})

    async def _dry_run(self, operation: str, what: str, params: Mapping[str, Any]) -> Finding:
        try:
            await self.client.call(operation, **{**params, "DryRun": True})
        except AwsError as error:
            # EC2 says so when it would have been done; an unknown id is looked at only after the rights.
            if error.code == "DryRunOperation" or error.kind is ErrorKind.GONE:
                return Finding("right", True, f"{what} ({operation})")
            return _failed(f"right to {what}", error)
        return Finding("right", True, f"{what} ({operation})")

    async def _quotas(self, catalogue: Catalogue) -> AsyncIterator[Finding]:
        """For each family and market: are there vCPUs for all instances that the pool may have?"""
        needed: dict[str, int] = {}
        for choice in choices(self.settings, catalogue):
            for place in choice.places:
                cpus = catalogue.types[place.instance_type].cpus * self.max_instances
                needed[place.family] = max(needed.get(place.family, 0), cpus)
        for family, cpus in needed.items():
            yield await self._quota(family, cpus)

    async def _quota(self, family: str, cpus: int) -> Finding:
        code = QUOTAS.get(family)
        if code is None:
            return Finding("quota", True, f"{family}: not looked at; {self.max_instances} instances need {cpus} vCPUs")
        try:
            answer = await self.client.call(
                "GetServiceQuota", service="service-quotas", ServiceCode="ec2", QuotaCode=code
            )
        except ProviderError as error:
            return _failed("quota", error)
        limit = answer["Quota"]["Value"]
        text = f"{family}: {limit:g} vCPUs, and {self.max_instances} instances need up to {cpus}"
        hint = f"have quota {code} of service ec2 raised, or lower max_instances"
        return Finding("quota", limit >= cpus, text, "" if limit >= cpus else hint)


def _one_of_each_market(made: list[Choice]) -> list[Choice]:
    first: dict[str, Choice] = {}
    for choice in made:
        first.setdefault(choice.offering.market, choice)
    return list(first.values())


async def _try(what: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(what, True, await look())
    except ProviderError as error:
        return _failed(what, error)


def _failed(what: str, error: ProviderError) -> Finding:
    return Finding(what, False, str(error), _HINTS.get(error.kind, "correct the settings"))
