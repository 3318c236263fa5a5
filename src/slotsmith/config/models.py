"""The settings that a configuration file holds, with their defaults and limits. All periods are in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slotsmith.model.foresight import DEFAULT_TARGET, MOST_EXTRA_COST, Target
from slotsmith.model.policy import Consolidation, Policy, Window
from slotsmith.providers.base import ProviderSettings
from slotsmith.schedulers.base import SchedulerSettings
from slotsmith.settings import Duration, DurationOrAuto, Percent, PositiveDuration, not_below_minimum

LONGEST_NAME = 40
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")
_URL = re.compile(r"(sqlite(\+pysqlite)?|postgresql(\+psycopg)?)://.*")
# More is not a fleet but a slip of the hand, and the cloud's bill comes before anybody notices.
_MOST_INSTANCES = 1_000_000
_DEFAULT = Policy()
_CRON_FIELDS = 5
_LAST_PORT = 65_535


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"expected at most {LONGEST_NAME} letters, digits, '-' and '_'")
    return value


def _check_url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("expected the URL of a database: sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that becomes part of tags and paths."""

Count = Annotated[int, Field(ge=0, le=_MOST_INSTANCES)]
Dollars = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]


def _check_cron(value: str) -> str:
    from cronsim import CronSim, CronSimError

    wanted = "expected minute, hour, day of month, month and day of week, such as 0 8 * * MON-FRI"
    if len(value.split()) != _CRON_FIELDS:
        raise ValueError(wanted)
    try:
        found = next(CronSim(value, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise ValueError(f"{wanted} ({str(error).lower()})") from None
    if found is None:
        raise ValueError("expected a time that comes, this one never does")
    return value


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError("expected the name of a time zone such as Europe/Vienna or UTC") from None
    return value


def _check_listen(value: str) -> str:
    wanted = "expected an address and a port like 127.0.0.1:8080, 0.0.0.0:8443 or [::1]:8080"
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise ValueError(wanted)
    if host != "localhost":
        try:
            version = ip_address(host.removeprefix("[").removesuffix("]")).version
        except ValueError:
            raise ValueError(wanted) from None
        if (version == 6) is not host.startswith("["):
            raise ValueError(wanted)
    return value


def _check_address(value: str) -> str:
    try:
        found = urlsplit(value)
        port_is_right = found.port is None or found.port > 0
    except ValueError:
        port_is_right = False
    if not port_is_right or found.scheme not in ("http", "https") or not found.hostname or found.path.strip("/"):
        raise ValueError("expected the URL of this replica such as https://slotsmith-1.example.org:8443")
    return value.rstrip("/")


class _Settings(BaseModel):
    # Strict: "5" is not 5 and true is not 1.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoreSettings(_Settings):
    """Where the books are kept, and for how long what is over stays readable."""

    url: Annotated[str, AfterValidator(_check_url)] = "sqlite:///slotsmith.db"
    keep: PositiveDuration = 30 * 86400.0


class ServiceSettings(_Settings):
    """Where `slotsmith serve` listens, and what it takes. `tls_client_ca`: clients must have a certificate of it.

    `address`: the URL at which other replicas reach this one; `peers_ca`: who has signed their certificates.
    """

    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:8080"
    address: Annotated[str, AfterValidator(_check_address)] | None = None
    peers_ca: str | None = None
    require_tokens: bool = False
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    max_body_mib: Annotated[int, Field(ge=1, le=1024)] = 64
    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 200
    max_concurrency_per_client: Annotated[int, Field(ge=1, le=10_000)] = 50
    max_requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 200

    @model_validator(mode="after")
    def _tls_is_whole(self) -> ServiceSettings:
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise ValueError("expected both tls_certificate and tls_key, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    @property
    def listen_on(self) -> tuple[str, int]:
        """Host and port; port 0 = any that is free."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.listen_on[0] == "localhost" or ip_address(self.listen_on[0]).is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether it listens at all addresses of this machine, which tells nobody else at which."""
        return self.listen_on[0] != "localhost" and ip_address(self.listen_on[0]).is_unspecified


class LogSettings(_Settings):
    """How the daemon logs to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TargetSettings(_Settings):
    """How much spare is worth: `max_extra_cost` of what the pool costs without it, for as little waiting as that buys.

    With `wait_p95`: as little spare as it takes for 95 of 100 tasks to wait no longer.
    """

    max_extra_cost: Percent | None = None
    wait_p95: PositiveDuration | None = None

    def target(self) -> Target:
        """The same as the decisions take it."""
        default = DEFAULT_TARGET.max_extra_cost if self.wait_p95 is None else MOST_EXTRA_COST
        return Target(default if self.max_extra_cost is None else self.max_extra_cost, self.wait_p95)


def _check_endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or "@" in value or any(sign.isspace() for sign in value):
        raise ValueError("expected the URL of a collector for OTLP over HTTP, such as http://127.0.0.1:4318")
    return value


class TracesSettings(_Settings):
    """Where spans of passes and of calls of providers go, and which share of them."""

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = None
    headers: dict[str, SecretStr] = {}
    sample: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0


class HeadroomSettings(_Settings):
    """What is kept free for work that has not come yet."""

    type: Literal["fixed", "learned"] = "fixed"
    slots: Count | None = Field(default=None, description="how many slots are kept free")
    target: TargetSettings | None = Field(default=None, description="how much spare is worth")

    @model_validator(mode="after")
    def _belongs_together(self) -> HeadroomSettings:
        if self.type == "fixed" and (self.slots is None or self.target is not None):
            raise ValueError("expected slots, and no target, for a headroom of type fixed")
        if self.type == "learned" and self.slots is not None:
            raise ValueError("expected no slots for a headroom of type learned, which finds out how many")
        return self

    @property
    def foresight(self) -> Target | None:
        """What is asked of foresight; None = a fixed headroom."""
        if self.type == "fixed":
            return None
        return (self.target or TargetSettings()).target()


class WindowSettings(_Settings):
    """Other limits for a time, from each moment that `cron` names in `zone`."""

    cron: Annotated[str, AfterValidator(_check_cron)] = Field(description="when it begins, such as 0 8 * * MON-FRI")
    zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    lasts: PositiveDuration = Field(description="for how long, such as 10h")
    min_instances: Count | None = None
    max_instances: Count | None = None

    @model_validator(mode="after")
    def _says_something(self) -> WindowSettings:
        if self.min_instances is None and self.max_instances is None:
            raise ValueError("expected min_instances, max_instances or both")
        return self

    def window(self) -> Window:
        """The same as the pool's loop takes it."""
        return Window(self.cron, self.zone, self.lasts, self.min_instances, self.max_instances)


class MoveWindowSettings(_Settings):
    """A time at which instances may make way, from each moment that `cron` names in `zone`."""

    cron: Annotated[str, AfterValidator(_check_cron)] = Field(description="when it begins, such as 0 22 * * *")
    zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    lasts: PositiveDuration = Field(description="for how long, such as 6h")

    def window(self) -> Window:
        """The same as the pool's loop takes it."""
        return Window(self.cron, self.zone, self.lasts)


_NO_MOVE = Consolidation()


class ConsolidationSettings(_Settings):
    """When instances make way for something cheaper, and how many at a time."""

    max_at_once: Annotated[int, Field(ge=1, le=_MOST_INSTANCES)] = _NO_MOVE.max_at_once
    max_percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 100.0
    horizon: PositiveDuration = _NO_MOVE.horizon
    move_cost: Dollars = _NO_MOVE.move_cost
    dry_run: bool = _NO_MOVE.dry_run
    # Not strict, because a list becomes a tuple; its entries are strict by themselves.
    windows: tuple[MoveWindowSettings, ...] = Field(default=(), strict=False)

    def rules(self) -> Consolidation:
        """The same as the decisions take it."""
        share = self.max_percent / 100.0
        return Consolidation(self.max_at_once, share, self.horizon, self.move_cost, self.dry_run)


class PoolSettings(_Settings):
    """One resource pool: its limits, the scheduler it serves and the provider it launches from."""

    name: Name = Field(description="what the pool is called")
    scheduler: SerializeAsAny[SchedulerSettings] = Field(description="where its demand comes from")
    provider: SerializeAsAny[ProviderSettings] = Field(description="what launches its instances")
    min_instances: Count = _DEFAULT.min_instances
    # A minimum above the default maximum is as wrong as one above a maximum that was written down.
    max_instances: Count = Field(default=_DEFAULT.max_instances, validate_default=True)
    max_idle_agent_period: DurationOrAuto = _DEFAULT.max_idle_agent_period
    max_agent_starting_period: PositiveDuration = _DEFAULT.max_agent_starting_period
    max_agent_disconnect_period: PositiveDuration = _DEFAULT.max_agent_disconnect_period
    launch_error_timeout: Duration = _DEFAULT.launch_error_timeout
    launch_error_retries: Count = _DEFAULT.launch_error_retries
    max_zero_slot_tasks_per_agent: Count = _DEFAULT.max_zero_slot_tasks_per_agent
    max_slots: Count | None = None
    max_dollars_per_hour: Dollars | None = None
    max_dollars_per_month: Dollars | None = None
    headroom: HeadroomSettings | None = None
    consolidation: ConsolidationSettings | None = None
    group_priorities: dict[str, Priority] = {}
    # Not strict, because a list becomes a tuple; its entries are strict by themselves.
    schedule: tuple[WindowSettings, ...] = Field(default=(), strict=False)

    _not_below_minimum = field_validator("max_instances")(not_below_minimum)

    @field_validator("schedule")
    @classmethod
    def _windows_fit(cls, value: tuple[WindowSettings, ...], info: ValidationInfo) -> tuple[WindowSettings, ...]:
        for number, each in enumerate(value):
            least = info.data.get("min_instances", 0) if each.min_instances is None else each.min_instances
            most = info.data.get("max_instances", least) if each.max_instances is None else each.max_instances
            if most < least:
                raise ValueError(f"entry {number + 1} has a maximum of {most} below its minimum of {least}")
        return value

    def policy(self) -> Policy:
        """The limits and periods as the decisions take them, at times that no window of the schedule is for."""
        named = {"group_priorities", "consolidation", "max_idle_agent_period"}
        plain = {field.name for field in fields(Policy)} & PoolSettings.model_fields.keys() - named
        period, foresight = self.max_idle_agent_period, self.headroom.foresight if self.headroom else None
        if period == "auto":
            foresight = replace(foresight or Target(spare=False), idle_period=True)
        return Policy(
            **{name: getattr(self, name) for name in plain},
            max_idle_agent_period=_DEFAULT.max_idle_agent_period if period == "auto" else period,
            headroom_slots=(self.headroom.slots or 0) if self.headroom else 0,
            foresight=foresight,
            group_priorities=tuple(sorted(self.group_priorities.items())),
            consolidation=self.consolidation.rules() if self.consolidation else None,
        )

    def windows(self) -> tuple[Window, ...]:
        """The schedule as the pool's loop takes it."""
        return tuple(each.window() for each in self.schedule)

    def move_windows(self) -> tuple[Window, ...]:
        """When instances may make way for something cheaper; none = at any time."""
        return tuple(each.window() for each in self.consolidation.windows) if self.consolidation else ()


class Config(_Settings):
    """A whole file. `cluster` is None only where no provider needs it."""

    cluster: Name | None = None
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    service: ServiceSettings = ServiceSettings()
    traces: TracesSettings = TracesSettings()
    # Not strict, because a list becomes a tuple; the pools in it are strict by themselves.
    pools: tuple[PoolSettings, ...] = Field(min_length=1, strict=False, description="the resource pools")

    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the file wants told, one line each; empty for a native file."""
        return self._notes

    def with_notes(self, notes: Iterable[str]) -> Config:
        """The same settings, with these notes."""
        self._notes = tuple(notes)
        return self

    def pool(self, name: str) -> PoolSettings | None:
        """The pool of this name; None = there is none."""
        return next((pool for pool in self.pools if pool.name == name), None)
