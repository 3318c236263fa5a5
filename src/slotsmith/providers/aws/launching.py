"""Launches: one call, and what its answer means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.errors import AwsError, of_code
from slotsmith.providers.aws.memory import Place
from slotsmith.providers.aws.places import Choice
from slotsmith.providers.aws.region import CONSISTENCY_WINDOW, Region
from slotsmith.providers.aws.requests import Launcher
from slotsmith.providers.aws.tags import CLUSTER, POOL
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError

_USED_BEFORE: Final = ("IdempotentParameterMismatch", "IdempotentInstanceTerminated")
"""The token was used, and what for cannot be said again: with other parameters, or for what is gone by now."""
_TEMPLATE_EXISTS: Final = "InvalidLaunchTemplateName.AlreadyExistsException"
_KEPT_TEMPLATES: Final = 3600.0
"""Seconds for which a template that is of no use any more is kept: an open intent may still be asked for with it."""

# What is told when several places refused: what a person can mend comes before what time mends.
_WORST_FIRST: Final = (
    ErrorKind.DENIED,
    ErrorKind.INVALID,
    ErrorKind.QUOTA,
    ErrorKind.CAPACITY,
    ErrorKind.GONE,
)


class Launching:
    """The launches of one pool."""

    def __init__(
        self, region: Region, launcher: Launcher, clock: Clock, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._region = region
        self._client = region.client
        self._launcher = launcher
        self._clock = clock
        self._log = log
        self._has_template = False
        self._used_before: dict[str, float] = {}

    async def launch(self, request: LaunchRequest, choice: Choice) -> LaunchResult:
        """See `Provider.launch`."""
        try:
            if choice.offering.market == "spot" and self._launcher.settings.spot_mode == "request":
                result = await self._request_spot(request, choice.places[0])
            elif len(choice.places) == 1:
                result = await self._run_instances(request, choice.places[0])
            else:
                result = await self._create_fleet(request, choice)
        except AwsError as error:
            if error.code not in _USED_BEFORE:
                raise
            result = await self._launched_before(request, error)
        self._region.launched(result.instance_ids)
        return result

    async def _run_instances(self, request: LaunchRequest, place: Place) -> LaunchResult:
        params = self._launcher.run_instances(request, place)
        try:
            answer = await self._client.call("RunInstances", instances=request.count, **params)
        except AwsError as error:
            self._failed(place, error)
            raise
        ids = tuple(each["InstanceId"] for each in answer["Instances"])
        if len(ids) == request.count:
            self._region.memory.worked(place)
            return LaunchResult(ids)
        text = f"EC2 launched {len(ids)} of {request.count} {place.instance_type} in {place.zone}, and had no more"
        shortfall = AwsError(ErrorKind.CAPACITY, text)
        self._failed(place, shortfall)
        return LaunchResult(ids, shortfall)

    async def _request_spot(self, request: LaunchRequest, place: Place) -> LaunchResult:
        params = self._launcher.request_spot(request, place)
        try:
            answer = await self._client.call("RequestSpotInstances", instances=request.count, **params)
        except AwsError as error:
            self._failed(place, error)
            raise
        return LaunchResult(tuple(each["SpotInstanceRequestId"] for each in answer["SpotInstanceRequests"]))

    async def _create_fleet(self, request: LaunchRequest, choice: Choice) -> LaunchResult:
        await self._make_template()
        params = self._launcher.create_fleet(request, choice)
        try:
            answer = await self._client.call("CreateFleet", instances=request.count, **params)
        except AwsError as error:
            if error.kind is ErrorKind.GONE:
                # Somebody deleted the template; nothing was launched, and the next try makes it again.
                self._has_template = False
                raise AwsError(ErrorKind.TRANSIENT, str(error), error.code) from error
            raise
        ids = tuple(each for group in answer.get("Instances", ()) for each in group["InstanceIds"])
        errors = self._fleet_errors(answer.get("Errors", ()), choice)
        for group in answer.get("Instances", ()):
            self._log.info("fleet launched", type=group.get("InstanceType"), count=len(group["InstanceIds"]))
        if len(ids) >= request.count:
            return LaunchResult(ids)
        reason = _summary(errors) or AwsError(
            ErrorKind.CAPACITY, f"EC2 launched {len(ids)} of {request.count} {choice.offering.name}, and had no more"
        )
        if not ids:
            raise reason
        return LaunchResult(ids, reason)

    def _fleet_errors(self, answers: Iterable[Mapping[str, Any]], choice: Choice) -> Sequence[AwsError]:
        """An error for each place that refused; the memory takes them all."""
        errors = []
        zone_of = {subnet: zone for zone, subnet in self._launcher.subnets.items() if subnet}
        for each in answers:
            error = of_code(each.get("ErrorCode", ""), each.get("ErrorMessage", ""), "CreateFleet")
            override = each.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
            zone = override.get("AvailabilityZone") or zone_of.get(override.get("SubnetId", ""), "")
            place = Place(override.get("InstanceType", ""), zone, choice.offering.market)
            self._failed(place, error)
            errors.append(error)
        return errors

    async def _launched_before(self, request: LaunchRequest, error: AwsError) -> LaunchResult:
        """The token was used before: by us, and perhaps before the settings were changed. What did it launch?

        Raises:
            AwsError: that cannot be seen (yet).
        """
        ids = tuple(await self._region.of_token(request.token))
        since = self._used_before.setdefault(request.token, self._clock.now())
        if not ids and self._clock.now() < since + CONSISTENCY_WINDOW:
            raise error
        del self._used_before[request.token]
        if not ids:
            # EC2 shows what is gone for about an hour, so it has been gone for longer.
            return LaunchResult((), AwsError(ErrorKind.CAPACITY, f"{error}; nothing is left of what it launched"))
        if len(ids) >= request.count:
            return LaunchResult(ids)
        text = f"{len(ids)} of {request.count} were launched before the settings were changed"
        return LaunchResult(ids, AwsError(ErrorKind.CAPACITY, text))

    def _failed(self, place: Place, error: AwsError) -> None:
        now = self._clock.now()
        was_free = self._region.memory.block(place, now) is None
        self._region.memory.failed(place, error.kind, str(error), now)
        block = self._region.memory.block(place, now)
        if was_free and block is not None:
            where = f"{place.instance_type}/{place.zone}/{place.market}"
            self._log.warning("tried last from now on", place=where, seconds=round(block.until - now), error=str(error))

    async def _make_template(self) -> None:
        if self._has_template:
            return
        try:
            await self._client.call("CreateLaunchTemplate", **self._launcher.create_template())
        except AwsError as error:
            # Its name is made from its content, so it is the same.
            if error.code != _TEMPLATE_EXISTS:
                raise
        self._has_template = True

    async def tidy(self) -> None:
        """Delete templates that this pool made for settings it no longer has. What fails is left for the next time."""
        if self._launcher.settings.spread == "each":
            return
        ours = [{"Name": f"tag:{CLUSTER}", "Values": [self._launcher.cluster]},
                {"Name": f"tag:{POOL}", "Values": [self._launcher.pool]}]  # fmt: skip
        old = self._clock.now() + self._client.skew - _KEPT_TEMPLATES
        try:
            async for page in self._client.pages(
                "DescribeLaunchTemplates", "LaunchTemplates", Filters=ours, MaxResults=200
            ):
                for each in page:
                    if each["LaunchTemplateName"] == self._launcher.template_name:
                        self._has_template = True
                    elif each["CreateTime"].timestamp() < old:
                        await self._client.call("DeleteLaunchTemplate", LaunchTemplateId=each["LaunchTemplateId"])
        except ProviderError as error:
            self._log.info("old launch templates cannot be deleted", error=str(error))


def _summary(errors: Sequence[AwsError]) -> AwsError | None:
    """One error for all places: of the kind that matters most, naming each text once."""
    if not errors:
        return None
    kind = next((kind for kind in _WORST_FIRST if any(error.kind is kind for error in errors)), ErrorKind.CAPACITY)
    # A definite answer as a whole: the fleet has been tried, and what it says of its places is final.
    texts = list(dict.fromkeys(str(error) for error in errors))
    more = f" (and {len(texts) - 3} more)" if len(texts) > 3 else ""
    return AwsError(kind, "; ".join(texts[:3]) + more)
