"""The settings that a configuration file holds, with their defaults and limits. All periods are in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from slotsmith.model.policy import Policy
from slotsmith.providers.base import ProviderSettings
from slotsmith.schedulers.base import SchedulerSettings
from slotsmith.settings import Duration, PositiveDuration

LONGEST_NAME = 40
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")
_URL = re.compile(r"sqlite(\+pysqlite)?://.*")
# More is not a fleet but a slip of the hand, and the cloud's bill comes before anybody notices.
_MOST_INSTANCES = 1_000_000
_DEFAULT = Policy()


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"expected at most {LONGEST_NAME} letters, digits, '-' and '_'")
    return value


def _check_url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("expected the URL of a SQLite database like sqlite:///slotsmith.db")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that becomes part of tags and paths."""

Count = Annotated[int, Field(ge=0, le=_MOST_INSTANCES)]


class _Settings(BaseModel):
    # Strict: "5" is not 5 and true is not 1.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoreSettings(_Settings):
    """Where the books are kept, and for how long what is over stays readable."""

    url: Annotated[str, AfterValidator(_check_url)] = "sqlite:///slotsmith.db"
    keep: PositiveDuration = 30 * 86400.0


class LogSettings(_Settings):
    """How the daemon logs to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class PoolSettings(_Settings):
    """One resource pool: its limits, the scheduler it serves and the provider it launches from."""

    name: Name = Field(description="what the pool is called")
    scheduler: SerializeAsAny[SchedulerSettings] = Field(description="where its demand comes from")
    provider: SerializeAsAny[ProviderSettings] = Field(description="what launches its instances")
    min_instances: Count = _DEFAULT.min_instances
    # A minimum above the default maximum is as wrong as one above a maximum that was written down.
    max_instances: Count = Field(default=_DEFAULT.max_instances, validate_default=True)
    max_idle_agent_period: PositiveDuration = _DEFAULT.max_idle_agent_period
    max_agent_starting_period: PositiveDuration = _DEFAULT.max_agent_starting_period
    max_agent_disconnect_period: PositiveDuration = _DEFAULT.max_agent_disconnect_period
    launch_error_timeout: Duration = _DEFAULT.launch_error_timeout
    launch_error_retries: Count = _DEFAULT.launch_error_retries
    max_zero_slot_tasks_per_agent: Count = _DEFAULT.max_zero_slot_tasks_per_agent

    @field_validator("max_instances")
    @classmethod
    def _not_below_minimum(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_instances", 0)
        if value < minimum:
            raise ValueError(f"expected at least min_instances ({minimum})")
        return value

    def policy(self) -> Policy:
        """The limits and periods as the decisions take them."""
        return Policy(**{field.name: getattr(self, field.name) for field in fields(Policy)})


class Config(_Settings):
    """A whole file. `cluster` is None only where no provider needs it."""

    cluster: Name | None = None
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
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
