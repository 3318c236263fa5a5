"""Plugins that only tests have: a cloud that owns by cluster, with secrets and nested settings."""

from importlib.metadata import EntryPoint
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Secret, SecretStr, field_validator

from slotsmith.config.plugins import Plugins
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderContext, ProviderError, ProviderPlugin, ProviderSettings
from slotsmith.schedulers.base import SchedulerContext, SchedulerPlugin, SchedulerSettings


class Disk(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size_gib: int = 100
    kind: Literal["ssd", "hdd"] = "ssd"


class CloudSettings(ProviderSettings):
    region: str = Field(description="where instances are launched")
    api_key: SecretStr = SecretStr("")
    startup_script: SecretStr = SecretStr("")
    pins: tuple[Secret[int], ...] = ()
    disk: Disk = Disk()
    tags: dict[str, str] = Field(default_factory=dict)
    passwords: dict[str, SecretStr] = Field(default_factory=dict)
    image: int | str = "default"
    proxy: str | None = None

    @field_validator("region")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "mars":
            raise KeyError("mars")
        return value


class QueueSettings(SchedulerSettings):
    address: str = "amqp://localhost"


class Cloud:
    """As much of a provider as a check of its connection needs; it refuses."""

    async def setup(self) -> None:
        raise ProviderError(ErrorKind.DENIED, "the credentials have expired")

    async def close(self) -> None:
        raise RuntimeError("never opened")


def create(settings: Any, context: ProviderContext | SchedulerContext) -> Any:
    return Cloud()


cloud = ProviderPlugin(CloudSettings, create)
bench = ProviderPlugin(ProviderSettings, create, owns_by_cluster=False)
queue = SchedulerPlugin(QueueSettings, create)
not_a_plugin = "a text"


def points(kind: str, **values: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, f"slotsmith.{kind}s") for name, value in values.items()]


def sample_plugins() -> tuple[Plugins, Plugins]:
    providers = points(
        "provider",
        cloud="config.sample_plugins:cloud",
        bench="config.sample_plugins:bench",
        broken="config.no_such_module:plugin",
        odd="config.sample_plugins:not_a_plugin",
    )
    return Plugins("provider", providers), Plugins(
        "scheduler", points("scheduler", queue="config.sample_plugins:queue")
    )
