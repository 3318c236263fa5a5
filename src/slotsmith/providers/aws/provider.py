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
from slotsmith.providers.aws import ending, metadata, region
from slotsmith.providers.aws.catalogue import Catalogue, look_up, prices
from slotsmith.providers.aws.client import Connection
from slotsmith.providers.aws.launching import Launching
from slotsmith.providers.aws.memory import Place
from slotsmith.providers.aws.places import Choice, best_first, capacities, choices
from slotsmith.providers.aws.requests import Launcher, encode_user_data
from slotsmith.providers.aws.rows import Row
from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.aws.spot_requests import PENDING
from slotsmith.providers.aws.tags import BOOT, INTENT, OFFERING
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError

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
        self._pricing: asyncio.Task[None] | None = None
        self._choices: list[Choice] = []
        self._capacities: Mapping[str, Resources] = {}

    async def setup(self) -> None:
        """Look up what the settings leave to AWS. Raises ProviderError."""
        joined = self._region or region.join(
            await connection(self._settings, self._look), self._context.cluster, self._clock
        )
        self._region = joined
        joined.on_change.add(self._context.wake)
        catalogue = await look_up(joined.client, self._settings, self._clock.now())
        launcher = Launcher(
            self._settings,
            self._context.cluster,
            self._context.pool,
            catalogue.root_device,
            catalogue.subnets,
            encode_user_data(await self._script(catalogue)),
        )
        self._catalogue = catalogue
        self._choices = choices(self._settings, catalogue)
        if not self._choices:
            raise ProviderError(ErrorKind.INVALID, "none of the instance types is sold in any of the markets")
        self._capacities = capacities(self._settings, catalogue)
        self._launching = Launching(joined, launcher, self._clock, self._log)
        await self._launching.tidy()
        joined.has_requests |= self._settings.spot_mode == "request"
        joined.watch(self._settings.queue_url, spot="spot" in self._settings.effective_markets)

    def offerings(self) -> Sequence[Offering]:
        """Best first; those that had no capacity lately come last, whatever the settings say."""
        return tuple(choice.offering for choice in best_first(self._choices, self._here.memory, self._clock.now()))

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
        if catalogue is None or self._clock.now() < catalogue.priced_at + _PRICES_LAST:
            return
        if self._pricing is None or self._pricing.done():
            self._pricing = asyncio.create_task(self._price_anew(catalogue), name="prices of EC2")

    async def _price_anew(self, catalogue: Catalogue) -> None:
        try:
            on_demand, spot = await prices(self._here.client, self._settings, list(catalogue.types), self._clock.now())
        except ProviderError as error:
            self._log.warning("prices cannot be read, the last ones stay", error=str(error))
            on_demand, spot = {}, {}
        # What cannot be had anew keeps its last price.
        fresh = replace(
            catalogue,
            on_demand={**catalogue.on_demand, **on_demand},
            spot={**catalogue.spot, **spot},
            priced_at=self._clock.now(),
        )
        self._catalogue, self._choices = fresh, choices(self._settings, fresh)

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
        if notice is not None and notice.ends and state in (InstanceState.STARTING, InstanceState.RUNNING):
            # On its way out: it serves nobody any more, and its replacement need not wait for its end.
            state = InstanceState.STOPPING
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
