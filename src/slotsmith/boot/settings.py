"""The `agent:` block of a provider's settings: what runs on an instance, and how it finds its scheduler."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from slotsmith.boot.address import AddressError, parse_address
from slotsmith.boot.words import PLACEHOLDERS, WordError, split_words
from slotsmith.settings import Duration

_NO_SECRET = SecretStr("")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SOURCE = re.compile(r"(ssm|secretsmanager|gcp-secret):\S+|(s3|gs)://\S+")


def _check_no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("it has a NUL character in it")
    return value


def _check_source(value: str) -> str:
    if value and not _SOURCE.fullmatch(value):
        raise ValueError("expected ssm:NAME, secretsmanager:ID, gcp-secret:NAME, s3://BUCKET/KEY or gs://BUCKET/KEY")
    return value


Plain = Annotated[str, AfterValidator(_check_no_nul)]
Source = Annotated[str, AfterValidator(_check_source)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContainerSettings(_Block):
    """The container that the agent runs in. `options` are further words for `docker run`."""

    image: Annotated[Plain, Field(min_length=1)]
    runtime: Plain = "runc"
    network: Plain = "default"
    privileged: bool = False
    options: tuple[Plain, ...] = ()


class AgentSettings(_Block):
    """What runs on an instance.

    `preset: dask` starts a Dask worker, `determined` a Determined agent in its container, `command` any command, in
    which `{instance_id}`, `{slots}`, `{cpus}`, `{mem_gib}`, `{pool}`, `{cluster}`, `{scheduler}`, `{scheduler_host}`
    and `{scheduler_port}` are filled in on the instance. The keys that end with `_from` name a place from which the
    instance fetches the text when it boots.
    """

    preset: Literal["dask", "determined", "command"] = "command"
    scheduler: Plain = ""
    command: Plain = ""
    container: ContainerSettings | None = None
    startup_script: SecretStr = _NO_SECRET
    startup_script_from: Source = ""
    container_startup_script: SecretStr = _NO_SECRET
    container_startup_script_from: Source = ""
    config_file: SecretStr = _NO_SECRET
    config_file_from: Source = ""
    tls_certificate: Plain = ""
    tls_certificate_name: Plain = ""
    environment: Mapping[str, SecretStr] = {}
    slot_type: Literal["auto", "cuda", "cpu", "none"] = "auto"
    log_options: tuple[Plain, ...] = ()
    reconnect_attempts: Annotated[int, Field(ge=0)] = 5
    reconnect_backoff: Annotated[int, Field(ge=0)] = 5
    failed_boot_grace: Duration = 300.0
    lost_scheduler_period: Duration = 900.0

    @field_validator("scheduler")
    @classmethod
    def _check_scheduler(cls, value: str) -> str:
        try:
            parse_address(value)
        except AddressError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("command")
    @classmethod
    def _check_command(cls, value: str) -> str:
        try:
            split_words(value)
        except WordError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        wrong = [name for name in value if not _ENV_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not the name of an environment variable")
        for secret in value.values():
            _check_no_nul(secret.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.preset == "command" and not shlex.split(self.command):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ValueError(f"preset command needs a command; in it {known} are filled in")
        if self.preset == "determined" and self.container is None:
            raise ValueError("preset determined needs container: {image: ...}, the image of the Determined agent")
        if self.preset == "dask" and not self.scheduler:
            raise ValueError("preset dask needs the scheduler's address")
        if self.preset != "command" and self.command:
            raise ValueError(f"preset {self.preset} has a command of its own; use preset command for another")
        for name in ("startup_script", "container_startup_script", "config_file"):
            if getattr(self, name).get_secret_value() and getattr(self, f"{name}_from"):
                raise ValueError(f"{name} and {name}_from are both given, expected one of them")
        return self

    @property
    def has_inline_secrets(self) -> bool:
        """Whether the script made from this must not be kept where others may read it, such as a launch template."""
        texts: list[Any] = [self.startup_script, self.container_startup_script, self.config_file]
        return any(text.get_secret_value() for text in [*texts, *self.environment.values()])
