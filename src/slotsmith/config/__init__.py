"""One YAML file in, validated settings out; and the assembly that makes running objects of them."""

from slotsmith.config.errors import ConfigError, Problem
from slotsmith.config.load import load_config, read_config
from slotsmith.config.models import Config, LogSettings, PoolSettings, ServiceSettings, StoreSettings
from slotsmith.config.schema import json_schema
from slotsmith.config.show import private_view, public_view

__all__ = [
    "Config",
    "ConfigError",
    "LogSettings",
    "PoolSettings",
    "Problem",
    "ServiceSettings",
    "StoreSettings",
    "json_schema",
    "load_config",
    "private_view",
    "public_view",
    "read_config",
]
