"""Instances on EC2."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from operator import itemgetter
from typing import Final

import structlog

from slotsmith.boot import BootSettings, TypeFacts, parse_address, script
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.aws import ending, metadata, region, spot_requests
from slotsmith.providers.aws.catalogue import Catalogue, Prices, look_up, prices
from slotsmith.providers.aws.client import Connection
from slotsmith.providers.aws.kept import Kept
from slotsmith.providers.aws.launching import Launching
from slotsmith.providers.aws.memory import Place
from slotsmith.providers.aws.notices import Weight
from slotsmith.providers.aws.places import Choice, capacities, choices, shortages
from slotsmith.providers.aws.requests import Launcher, encode_user_data
from slotsmith.providers.aws.rows import Row
from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.aws.spot_requests import PENDING
from slotsmith.providers.aws.tags import BOOT, INTENT, OFFERING
from slotsmith.providers.base import LaunchRequest, LaunchResult, Market, ProviderContext, ProviderError

_BY_LAUNCH: Final = itemgetter(Instance._fields.index("launched_at"), Instance._fields.index("id"))

# Spot prices move within hours.
_PRICES_LAST: Final = 3600.0

# About a millisecond's work.
_ROWS_AT_A_TIME: Final = 200

TOKEN_LIFETIME: Final = 86_400.0
"""Seconds for which EC2 remembers a client token (EC2 Developer Guide, "Ensuring idempotency": at least 24 hours)."""

_STATES: Final[Mapping[str, InstanceState]] = {
    PENDING: InstanceState.PENDING_REQUEST,
    "pending": InstanceState.STARTING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "shutting-down": InstanceState.TERMINATING,
}


class AwsProvider:
    """One pool's instances on EC2. `Provider` says what the methods promise."""

    consistency_window = region.CONSISTENCY_WINDOW
    token_lifetime = TOKEN_LIFETIME

    def __init__(self, settings: AwsSettings, context: ProviderContext, look: metadata.Look = metadata.look_up) -> None:
        self.poll_period = settings.poll_period
        self._settings = settings
        self._context = context
        self._clock = context.clock
        self._look = look
        self._log = structlog.get_logger("slotsmith").bind(pool=context.pool, provider="aws")
        self._region: region.Region | None = None
        self._launching: Launching | None = None
        self._catalogue: Catalogue | None = None
        self._kept = Kept()
        self._pricing: asyncio.Task[None] | None = None
        self._priced_at = float("-inf")
        self._choices: list[Choice] = []
        self._offerings: tuple[Offering, ...] = ()
        # What a person can wait for is only shown when the settings say so.
        self._heeded = Weight.REBALANCE if settings.on_rebalance == "drain" else Weight.EVENT
        self._capacities: Mapping[str, Resources] = {}

    async def setup(self) -> None:
        """Look up what the settings leave to AWS. Raises ProviderError."""
        joined = self._region or region.join(
            await connection(self._settings, self._look), self._context.cluster, self._clock
        )
        self._region = joined
        joined.on_change.add(self._context.wake)
        now = self._clock.now()
        kept = self._kept = await asyncio.to_thread(Kept, self._context.state_dir / "ec2-facts.json")
        try:
            catalogue = await look_up(joined.client, self._settings, now, kept)
        finally:
            # Also what was answered before something was not.
            await asyncio.to_thread(kept.save, now)
        launcher = Launcher(
            self._settings,
            self._context.cluster,
            self._context.pool,
            catalogue.root_device,
            catalogue.subnets,
            encode_user_data(await self._script(catalogue)),
        )
        self._take(catalogue)
        if not self._choices:
            raise ProviderError(ErrorKind.INVALID, "none of the instance types is sold in any of the markets")
        self._capacities = capacities(self._settings, catalogue)
        self._launching = Launching(joined, launcher, self._clock, self._log)
        await self._launching.tidy()
        if self._settings.spot_mode == "request" or await spot_requests.any_left(joined.client, self._context.cluster):
            joined.has_requests = True
        joined.watch(self._settings.queue_url, spot="spot" in self._settings.effective_markets)

    def offerings(self) -> Sequence[Offering]:
        """By price; the same object until prices move."""
        return self._offerings

    def market(self) -> Market:
        """Where no pool of the region has found room lately, and how old the prices are."""
        if self._region is None or self._catalogue is None:
            return Market()
        scarce = shortages(self._choices, self._region.memory, self._clock.now())
        return Market(scarce, self._catalogue.prices.read_at)

    async def list_instances(self) -> Sequence[Instance]:
        self._keep_prices_fresh()
        # Half a period: pools that look at different moments share listings, and none is older than that.
        rows = await self._here.rows(self._context.pool, self.poll_period / 2)
        instances: list[Instance] = []
        for begin in range(0, len(rows), _ROWS_AT_A_TIME):
            if begin:
                # Other pools have their turn in between.
                await self._clock.sleep(0)
            instances += map(self._instance, rows[begin : begin + _ROWS_AT_A_TIME])
        return sorted(instances, key=_BY_LAUNCH)

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        if not request.count:
            return LaunchResult(())
        choice = next((each for each in self._choices if each.offering.name == request.offering.name), None)
        if choice is None:
            raise ProviderError(ErrorKind.INVALID, f"{request.offering.name} is not on offer here")
        try:
            return await self._ready.launch(request, choice)
        finally:
            self._here.changed()

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        if not instance_ids:
            return {}
        try:
            failures = await ending.terminate(
                self._here.client, instance_ids, self._here.is_young, has_requests=self._here.has_requests
            )
            self._here.ended(each for each in instance_ids if each not in failures)
            return failures
        finally:
            self._here.changed()

    async def close(self) -> None:
        pricing, self._pricing = self._pricing, None
        if pricing is not None:
            pricing.cancel()
            await asyncio.wait([pricing])
        here, self._region = self._region, None
        if here is not None:
            here.on_change.discard(self._context.wake)
            await region.leave(here)

    def _keep_prices_fresh(self) -> None:
        """Ask for prices anew when they are old; launches do not wait for that."""
        catalogue = self._catalogue
        if catalogue is None or self._clock.now() < self._priced_at + _PRICES_LAST:
            return
        if self._pricing is None or self._pricing.done():
            self._pricing = asyncio.create_task(self._price_anew(catalogue), name="prices of EC2")

    async def _price_anew(self, catalogue: Catalogue) -> None:
        self._priced_at = now = self._clock.now()
        try:
            found = await prices(self._here.client, self._settings, list(catalogue.types), now, self._kept)
        except ProviderError as error:
            self._log.warning("prices cannot be read, the last ones stay", error=str(error))
            return
        await asyncio.to_thread(self._kept.save, now)
        # What cannot be had anew keeps its last price.
        last = catalogue.prices
        merged = Prices({**last.on_demand, **found.on_demand}, {**last.spot, **found.spot}, found.read_at)
        self._take(replace(catalogue, prices=merged))

    def _take(self, catalogue: Catalogue) -> None:
        """From now on this is what is known."""
        if self._catalogue is None:
            self._priced_at = self._clock.now()
        self._catalogue, self._choices = catalogue, choices(self._settings, catalogue)
        offerings = tuple(choice.offering for choice in self._choices)
        if offerings != self._offerings:
            self._offerings = offerings

    @property
    def _here(self) -> region.Region:
        if self._region is None:
            raise ProviderError(ErrorKind.TRANSIENT, "EC2 has not answered yet what the pool is made of")
        return self._region

    @property
    def _ready(self) -> Launching:
        if self._launching is None or self._region is None:
            raise ProviderError(ErrorKind.TRANSIENT, "EC2 has not answered yet what the pool is made of")
        return self._launching

    async def _script(self, catalogue: Catalogue) -> str:
        settings = self._settings
        address = None
        # The reference's own agent always has a master, whose address may be left to us.
        if settings.agent.scheduler or settings.agent.preset == "determined":
            default = "tcp" if settings.agent.preset == "dask" else "http"
            parsed = parse_address(settings.agent.scheduler, default)
            address = await asyncio.to_thread(metadata.resolve, parsed, self._look)
        facts = {
            info.name: TypeFacts(info.slots(settings), float(info.cpus), info.mem_gib, info.slot_type(settings))
            for info in catalogue.types.values()
        }
        return script(
            BootSettings(
                "ec2", self._context.cluster, self._context.pool, settings.agent, facts, address, self._log_options()
            )
        )

    def _log_options(self) -> tuple[str, ...]:
        """Words for `docker run` that send the agent's output to CloudWatch."""
        settings = self._settings
        if not settings.log_group:
            return ()
        stream = (f"--log-opt=awslogs-stream={settings.log_stream}",) if settings.log_stream else ()
        return ("--log-driver=awslogs", f"--log-opt=awslogs-group={settings.log_group}", *stream)

    def _instance(self, row: Row) -> Instance:
        state = _STATES.get(row.state, InstanceState.UNKNOWN)
        place = Place(row.instance_type, row.zone, "spot" if row.spot else "on-demand")
        notice = self._here.notice(row.agent or row.id)
        reclaimed = (
            notice is not None
            and notice.weight >= self._heeded
            and state in (InstanceState.STARTING, InstanceState.RUNNING)
        )
        # An offering's name is a tag, for it may leave open the zone or the type that EC2 has chosen.
        offering = row.tags.get(OFFERING) or f"{place.instance_type}/{place.zone}/{place.market}"
        return Instance(
            id=row.id,
            state=state,
            launched_at=row.launched_at - self._here.client.skew,
            agent_name=row.agent or row.id,
            token=row.tags.get(INTENT, ""),
            offering=offering,
            capacity=self._capacities.get(row.instance_type),
            detail=row.reason or (notice.text if notice else row.tags.get(BOOT, "")),
            reclaimed=reclaimed,
        )


async def connection(settings: AwsSettings, look: metadata.Look = metadata.look_up) -> Connection:
    """Whose account, and where.

    Raises:
        ProviderError: boto3 is not installed, there is no such profile, or nothing says which region (INVALID).
    """
    if find_spec("botocore") is None:
        raise ProviderError(ErrorKind.INVALID, "the provider aws needs boto3: pip install 'slotsmith[aws]'")
    name = settings.region or await asyncio.to_thread(_default_region, settings, look)
    if not name:
        raise ProviderError(ErrorKind.INVALID, "region: not given, and neither this machine nor AWS_REGION has one")
    return Connection(name, settings.profile, settings.endpoint_url, settings.use_fips)


def _default_region(settings: AwsSettings, look: metadata.Look) -> str | None:
    """In a thread. That of the configuration that boto3 reads, or else that of this instance."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        configured = Session(profile=settings.profile).get_config_variable("region")
    except BotoCoreError as error:
        raise ProviderError(ErrorKind.INVALID, f"profile: {error}") from error
    return configured or os.environ.get("AWS_REGION") or look("placement/region")
