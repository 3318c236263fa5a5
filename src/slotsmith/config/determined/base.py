"""The keys that every `provider:` block of a Determined resource pool has, with the reference's defaults."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from slotsmith.config.determined.values import Block, GoDuration, JsonText
from slotsmith.settings import not_below_minimum

DEFAULT_IMAGE: Final = "determinedai/determined-agent:latest"
"""The reference uses the tag of its own version, which only the master knows."""

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _check_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected a URL like http://host:port: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected a URL that begins with http:// or https://")
    if parts.path:
        raise ValueError("expected a URL without a path, like http://host:port")
    if _BAD_ESCAPE.search(value) or port == 0:
        raise ValueError("expected a URL like http://host:port")
    return value


_Positive = Annotated[GoDuration, Field(gt=0)]


class BaseKeys(Block):
    """What the reference's provisioner takes for any cloud."""

    master_url: Annotated[str, AfterValidator(_check_url)] = ""
    master_cert_name: str = ""
    startup_script: SecretStr = SecretStr("")
    container_startup_script: SecretStr = SecretStr("")
    agent_docker_network: str = "default"
    agent_docker_runtime: str = "runc"
    agent_docker_image: Annotated[str, Field(min_length=1)] = DEFAULT_IMAGE
    agent_fluent_image: str = ""
    agent_reconnect_attempts: int = 5
    agent_reconnect_backoff: int = 5
    agent_config_file_contents: JsonText | None = None
    max_idle_agent_period: _Positive = 1200.0
    max_agent_starting_period: _Positive = 1200.0
    min_instances: Annotated[int, Field(ge=0)] = 0
    max_instances: Annotated[int, Field(gt=0, validate_default=True)] = 5
    launch_error_timeout: GoDuration | None = None
    launch_error_retries: int = 0

    _not_below_minimum = field_validator("max_instances")(not_below_minimum)
