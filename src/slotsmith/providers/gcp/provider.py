"""Instances that are virtual machines of Google Compute Engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from slotsmith.boot import AddressError, BootSettings, TypeFacts, parse_address, script
from slotsmith.boot.address import Address
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, Market, ProviderContext, ProviderError
from slotsmith.providers.gcp.address import resolve
from slotsmith.providers.gcp.api import Api
from slotsmith.providers.gcp.ending import Endings
from slotsmith.providers.gcp.facts import Facts, Prices, look_up, make_offerings, read_prices
from slotsmith.providers.gcp.launching import Launcher, Pool
from slotsmith.providers.gcp.listing import Found, Reading, is_spot, list_cluster, shared_listing, zone_of
from slotsmith.providers.gcp.metadata import Metadata
from slotsmith.providers.gcp.names import default_prefix, label_value
from slotsmith.providers.gcp.properties import ownership
from slotsmith.providers.gcp.settings import GcpSettings, region_of

_LONGEST_SCRIPT = 256 * 1024
"""Bytes of one metadata value, by Google's documentation."""
_PRICES_PERIOD = 60.0
"""Seconds between two looks whether the file of prices was written anew."""
_PREEMPTED = 'operationType = "compute.instances.preempted"'
_GOING = (InstanceState.STOPPING, InstanceState.STOPPED)


class GcpProvider:
    """One pool's instances in one project. `Provider` says what the methods promise.

    Everything that must survive is at Google: tokens are labels and request ids, operations are found again by them.
    """

    consistency_window = 60.0
    """A listing shows a machine when its operation is done; this allows for one that comes from another replica."""
    token_lifetime = 3600.0
    """Google does not say for how long it remembers a request id; an hour is what its other APIs promise. Beyond it
    the names, which follow from the token, keep a second machine of a token from being made."""

    def __init__(self, settings: GcpSettings, context: ProviderContext) -> None:
        self.poll_period = settings.poll_period
        self._settings = settings
        self._context = context
        self._clock = context.clock
        self._log = structlog.get_logger("slotsmith").bind(pool=context.pool, provider="gcp")
        self.api = Api(settings.api_endpoint, settings.project)
        self._metadata = Metadata()
        self._facts: Sequence[Facts] = ()
        self._offerings: Sequence[Offering] = ()
        self._priced_at: float | None = None
        self._prices_seen_at = float("-inf")
        self.zones: Sequence[str] = settings.all_zones
        self._around: Sequence[str] = self.zones
        self._where: dict[str, str] = {}
        self._first_seen: dict[str, float] = {}
        self._preempted: dict[str, bool] = {}
        self._ready: _Ready | None = None

    async def setup(self) -> None:
        """Find out project, zones, machine types and the scheduler's address.

        Raises:
            ProviderError: some of it is missing or wrong (invalid, denied), or cannot be asked (transient).
        """
        self._prices_seen_at = self._clock.now()
        prices, self._priced_at = await asyncio.to_thread(_prices_of, self._settings.prices)
        await self.find_place()
        facts = self._facts = await look_up(self.api, self._settings, self.zones)
        self.zones = tuple(zone for zone in self.zones if any(each.zone == zone for each in facts))
        self._around = await self._zones_around()
        self._offerings = make_offerings(facts, self._settings, prices)
        owner = ownership(self._context.cluster, self._context.pool)
        pool = Pool(
            self._context.cluster,
            self._context.pool,
            self._settings.name_prefix or default_prefix(self._context.pool),
            owner,
            self.zones,
            self._around,
            await self._boot_metadata(facts),
        )
        capacities = {each.machine_type: each.resources for each in facts}
        self._ready = _Ready(
            Launcher(self.api, self._settings, pool, self._clock, self._log),
            Endings(self.api, self._around),
            Reading(label_value(self._context.pool), capacities, self._settings.regional),
        )

    def offerings(self) -> Sequence[Offering]:
        """In the order of preference: machine types as they are named, each in all zones."""
        return self._offerings

    def market(self) -> Market:
        """How old the prices are; where there is no room, Google says at each launch."""
        return Market(priced_at=self._priced_at)

    async def list_instances(self) -> Sequence[Instance]:
        ready = await self._prepared()
        await self._look_at_prices()
        cluster = label_value(self._context.cluster)
        shared = shared_listing(self._settings.api_endpoint, self.api.project, cluster)
        found = await shared.get(lambda: list_cluster(self.api, cluster))
        if missing := sorted({*self._around, *self._where.values()}.intersection(found.unreachable)):
            # Without them, what runs there would look gone.
            raise ProviderError(ErrorKind.TRANSIENT, f"Google cannot look into {', '.join(missing)} just now")
        mine = {str(each["name"]): each for each in found.instances if ready.reading.mine(each)}
        now = self._clock.now()
        self._where = {name: zone_of(each) for name, each in mine.items()}
        self._first_seen = {name: self._first_seen.get(name, now) for name in mine}
        ready.endings.forget_all_but(mine)
        await self._tell_preempted(mine, ready.reading)
        read = ready.reading.instance
        instances = (
            read(each, self._first_seen[name], self._preempted.get(name, False)) for name, each in mine.items()
        )
        return sorted(instances, key=lambda instance: (instance.launched_at, instance.id))

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        ready = await self._prepared()
        offering = next((each for each in self._offerings if each.name == request.offering.name), None)
        if offering is None:
            raise ProviderError(ErrorKind.INVALID, f"{request.offering.name} is not on offer here")
        return await ready.launcher.launch(request, self._as_good(offering))

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        if not instance_ids:
            return {}
        ready = await self._prepared()
        return await ready.endings.begin(instance_ids, self._where)

    async def close(self) -> None:
        await self.api.close()

    async def _prepared(self) -> _Ready:
        """After a start without a set-up that worked, the first call makes up for it."""
        if self._ready is None:
            await self.setup()
        assert self._ready is not None
        return self._ready

    async def find_place(self) -> None:
        """Find out the project and the zones. Raises ProviderError: nobody says (invalid)."""
        if not self.api.project:
            project = await self.api.default_project() or await self._metadata.get("project/project-id")
            if not project:
                raise ProviderError(
                    ErrorKind.INVALID, "no project: name one, since neither credentials nor this machine do"
                )
            self.api.project = project
        if not self.zones:
            zone = await self._metadata.get("instance/zone")
            if not zone:
                raise ProviderError(ErrorKind.INVALID, "no zone: name one, since this is no machine of Google's")
            self.zones = (zone.rpartition("/")[2],)

    async def _look_at_prices(self) -> None:
        """A file of prices that was written anew counts from the next pass on; one that makes no sense does not."""
        path, now = self._settings.prices, self._clock.now()
        if path is None or now < self._prices_seen_at + _PRICES_PERIOD:
            return
        self._prices_seen_at = now
        try:
            prices, priced_at = await asyncio.to_thread(_prices_of, path)
        except ProviderError as error:
            self._log.warning("prices cannot be read, the last ones stay", error=str(error))
            return
        if priced_at != self._priced_at:
            self._priced_at = priced_at
            self._offerings = make_offerings(self._facts, self._settings, prices)

    async def _zones_around(self) -> Sequence[str]:
        """Where instances of this pool are looked for: its zones, and with `regional` all of their region."""
        if not self._settings.regional:
            return self.zones
        region = await self.api.get(f"regions/{region_of(self.zones[0])}")
        return sorted({*self.zones, *(str(zone).rpartition("/")[2] for zone in region.get("zones", ()))})

    async def _boot_metadata(self, facts: Sequence[Facts]) -> Mapping[str, str]:
        agent = self._settings.agent
        if agent is None:
            return {}
        types = {each.machine_type: self._type_facts(each) for each in facts}
        text = script(
            BootSettings(
                "gce",
                self._context.cluster,
                self._context.pool,
                agent,
                types,
                await self._scheduler(agent.scheduler, needed=agent.preset != "command"),
                ("--log-driver=gcplogs",) if self._settings.use_cloud_logging else (),
            )
        )
        if len(text.encode()) > _LONGEST_SCRIPT:
            told = f"the boot script has {len(text.encode())} bytes, and GCE takes {_LONGEST_SCRIPT}"
            raise ProviderError(ErrorKind.INVALID, f"{told}; name a place to fetch the scripts from instead")
        return {"startup-script": text}

    def _type_facts(self, facts: Facts) -> TypeFacts:
        kind = "cuda" if facts.gpus else "cpu" if facts.resources.slots else "none"
        return TypeFacts(facts.resources.slots, facts.resources.cpus, facts.resources.mem_gib, kind)

    async def _scheduler(self, text: str, *, needed: bool) -> Address | None:
        """The scheduler's address with an alias for this machine filled in; None when the agent needs none."""
        if not text and not needed:
            return None
        try:
            host = parse_address(text).host
            entries = {}
            google = host in ("", "internal-ip", "external-ip") and await self._metadata.is_google()
            if google:
                for entry in ("ip", "access-configs/0/external-ip"):
                    path = f"instance/network-interfaces/0/{entry}"
                    entries[path] = await self._metadata.get(path)
            return resolve(text, "gce" if google else None, entries.get)
        except AddressError as error:
            raise ProviderError(ErrorKind.INVALID, f"agent.scheduler: {error}") from error

    def _as_good(self, offering: Offering) -> Sequence[str]:
        """Other machine types that hold as much, in the order of preference."""
        good = (each.machine_type for each in self._facts if offering.capacity.fits_in(each.resources))
        return [kind for kind in dict.fromkeys(good) if kind != offering.instance_type]

    async def _tell_preempted(self, mine: Mapping[str, Found], reading: Reading) -> None:
        """Ask why spot machines are going, once for each; an answer that fails is asked for again."""
        self._preempted = {name: told for name, told in self._preempted.items() if name in mine}
        asked = {
            name
            for name, found in mine.items()
            if name not in self._preempted and is_spot(found) and reading.instance(found, 0.0, False).state in _GOING
        }
        for zone in sorted({zone_of(mine[name]) for name in asked}):
            try:
                async for page in self.api.pages(f"zones/{zone}/operations", filter=_PREEMPTED):
                    gone = {str(each.get("targetLink", "")).rpartition("/")[2] for each in page.get("items", ())}
                    self._preempted.update(dict.fromkeys(asked & gone, True))
            except ProviderError as error:
                self._log.info("cannot look for preemptions", zone=zone, error=str(error))
                continue
            here = {name for name in asked if zone_of(mine[name]) == zone}
            self._preempted.update(dict.fromkeys(here - self._preempted.keys(), False))


def _prices_of(path: Path | None) -> tuple[Prices, float | None]:
    """In a thread. The prices, and when their file was written (epoch seconds)."""
    prices = read_prices(path)
    try:
        return prices, None if path is None else path.stat().st_mtime
    except OSError as error:
        raise ProviderError(ErrorKind.INVALID, f"the prices in {path} cannot be read: {error}") from error


class _Ready:
    """What a set-up makes."""

    __slots__ = ("endings", "launcher", "reading")

    def __init__(self, launcher: Launcher, endings: Endings, reading: Reading) -> None:
        self.launcher = launcher
        self.endings = endings
        self.reading = reading
