"""One pool of a Determined file as a native pool: which of its keys becomes which of ours.

Where Determined has a default that native files do not have, the default is written out.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from slotsmith.config.determined.base import BaseKeys
from slotsmith.config.determined.clouds import DEFAULT_SCOPE, AwsKeys, GcpKeys
from slotsmith.model.durations import format_duration

OWNER: Final = "determined-ai-determined"
"""The reference's name of its owner where it finds no better one."""
SCHEDULER: Final = {"type": "push"}
"""The file does not say how to reach the scheduler from outside: it is the master itself."""

_POOL_LABEL: Final = "determined-resource-pool"


def native_pool(name: Any, keys: AwsKeys | GcpKeys, max_aux: Any = None) -> dict[str, Any]:
    """The native values of a pool; secrets are in them as they are."""
    pool: dict[str, Any] = {
        "name": name,
        "scheduler": dict(SCHEDULER),
        "provider": _aws(keys) if isinstance(keys, AwsKeys) else _gcp(name, keys),
        "min_instances": keys.min_instances,
        "max_instances": keys.max_instances,
        "max_idle_agent_period": format_duration(keys.max_idle_agent_period),
        "max_agent_starting_period": format_duration(keys.max_agent_starting_period),
        # Not configured is "never in force" there, and negative values are as good as 0.
        "launch_error_timeout": format_duration(max(0.0, keys.launch_error_timeout or 0.0)),
        "launch_error_retries": max(0, keys.launch_error_retries),
    }
    if max_aux is not None:
        pool["max_zero_slot_tasks_per_agent"] = max_aux
    return pool


AGENT_PLACES: Final[dict[tuple[str, ...], str]] = {
    ("scheduler",): "master_url",
    ("container", "image"): "agent_docker_image",
    ("container", "runtime"): "agent_docker_runtime",
    ("container", "network"): "agent_docker_network",
    ("startup_script",): "startup_script",
    ("container_startup_script",): "container_startup_script",
    ("config_file",): "agent_config_file_contents",
    ("tls_certificate_name",): "master_cert_name",
    ("reconnect_attempts",): "agent_reconnect_attempts",
    ("reconnect_backoff",): "agent_reconnect_backoff",
}
"""Which key of the reference each key of an `agent:` block comes from; `agent_fluent_image` has no effect there."""


def _agent(keys: BaseKeys) -> dict[str, Any]:
    """The agent that an instance becomes."""
    agent: dict[str, Any] = {"preset": "determined", "scheduler": _address(keys.master_url)}
    for (*above, key), name in AGENT_PLACES.items():
        if name == "master_url":
            continue
        value = getattr(keys, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value in (None, ""):
            continue
        block = agent.setdefault(above[0], {}) if above else agent
        block[key] = max(0, value) if isinstance(value, int) else value
    return agent


def _address(url: str) -> str:
    """Scheme, host and port; the reference drops all the rest. Empty: the address of the daemon's own machine."""
    if not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _aws(keys: AwsKeys) -> dict[str, Any]:
    own = _own_keys(keys)
    own["tag_value"] = keys.tag_value or OWNER
    price = own.pop("spot_max_price", "")
    # Without spot the reference does not look at the price, and OnDemand is its word for none.
    if keys.spot and price not in ("", "OnDemand"):
        own["spot_max_price"] = f"0{price}" if price.startswith(".") else price
    if not keys.log_group:
        # A stream of no group logs nowhere.
        own.pop("log_stream", None)
    return {"type": "aws", **own, "agent": _agent(keys)}


def _gcp(name: Any, keys: GcpKeys) -> dict[str, Any]:
    own = _own_keys(keys)
    labels = dict(keys.labels) | {keys.label_key: keys.label_value or OWNER, _POOL_LABEL: str(name).lower()}
    own = {key: value for key, value in own.items() if key not in ("label_key", "label_value")} | {"labels": labels}
    if keys.service_account.email and not keys.service_account.scopes:
        own["service_account"]["scopes"] = [DEFAULT_SCOPE]
    own["operation_timeout_period"] = format_duration(max(1.0, keys.operation_timeout_period))
    return {"type": "gcp", **own, "agent": _agent(keys)}


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, in blocks too."""
    plain = {key: _filled(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in plain.items() if value not in (None, "", [], {})}


def _own_keys(keys: BaseKeys) -> dict[str, Any]:
    """The keys of the cloud's own block, without those that every block has and without empty ones."""
    names = [name for name in type(keys).model_fields if name not in BaseKeys.model_fields and name != "type"]
    dumped = keys.model_dump(mode="json", include=set(names))
    return _filled({name: dumped[name] for name in names if name != "base_config"}) | _base_config(dumped)


def _base_config(dumped: dict[str, Any]) -> dict[str, Any]:
    # The user's own, down to what is empty in it.
    return {"base_config": dumped["base_config"]} if dumped.get("base_config") else {}
