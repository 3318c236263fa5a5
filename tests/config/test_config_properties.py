"""Any legal configuration survives being shown and read again; any illegal one is told with the name of its key."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from config.test_determined_vectors import PLUGINS
from slotsmith.cli.config import _write_yaml
from slotsmith.config import ConfigError, private_view, public_view, read_config
from slotsmith.config.determined.clouds import KEYS

QUICK, MANY = 25, 10_000

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    ["${HOME}", "$${x}", "$", "#: -"]
)
WORD = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
GO_DURATION = st.from_regex(r"([1-9][0-9]{0,2}(ms|s|m|h)){1,3}", fullmatch=True)
DURATION = st.integers(1, 10**7).map(lambda ms: f"{ms}ms") | st.sampled_from(["1h30m", "2d", "90s", "1.5h"])
LIMITS = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(
    lambda both: {"min_instances": both[0], "max_instances": max(1, sum(both))}
)
PATTERN = r"[a-z][a-z0-9]{0,5}-[a-z0-9]{1,6}"
MACHINES = st.from_regex(PATTERN, fullmatch=True)
GPUS = st.sampled_from([0, 1, 2, 4, 8, 16])

COMMON: dict[str, st.SearchStrategy[Any]] = {
    "network_interface": st.fixed_dictionaries(
        {}, optional={"network": TEXT, "subnetwork": TEXT, "external_ip": st.booleans()}
    ),
    "network_tags": st.lists(WORD, max_size=3),
    "labels": st.dictionaries(WORD, WORD, max_size=3),
    "name_prefix": WORD,
    "boot_disk_size": st.integers(100, 4000),
    "boot_disk_source_image": TEXT,
    "boot_disk_type": TEXT,
    "cpu_slots_allowed": st.booleans(),
    "use_cloud_logging": st.booleans(),
    "service_account": st.fixed_dictionaries({}, optional={"email": TEXT, "scopes": st.lists(TEXT, max_size=2)}),
    "base_config": st.fixed_dictionaries(
        {},
        optional={
            "minCpuPlatform": TEXT,
            "tags": st.fixed_dictionaries({"items": st.lists(WORD, max_size=2)}),
            "metadata": st.fixed_dictionaries(
                {"items": st.lists(st.fixed_dictionaries({"key": WORD, "value": TEXT}), max_size=2)}
            ),
        },
    ),
}
NATIVE = st.fixed_dictionaries(
    {
        "type": st.just("gcp"),
        "instance_type": st.fixed_dictionaries({"machine_type": MACHINES, "gpu_num": GPUS, "gpu_type": WORD}),
    },
    optional={
        **COMMON,
        "zones": st.lists(MACHINES, max_size=3, unique=True),
        "machine_types": st.lists(MACHINES, max_size=3),
        "regional": st.booleans(),
        "spot": st.booleans(),
        "slots": st.integers(0, 99),
        "metadata": st.dictionaries(WORD, TEXT, max_size=2),
        "operation_timeout_period": DURATION,
        "agent": st.fixed_dictionaries(
            {"command": st.just("run {instance_id}")},
            optional={"startup_script": TEXT, "config_file": TEXT, "failed_boot_grace": DURATION},
        ),
    },
)
DETERMINED = st.fixed_dictionaries(
    {"type": st.just("gcp")},
    optional={
        **COMMON,
        "zone": MACHINES,
        "instance_type": st.fixed_dictionaries(
            {}, optional={"machine_type": MACHINES, "gpu_num": GPUS, "preemptible": st.booleans()}
        ),
        "startup_script": TEXT,
        "container_startup_script": TEXT,
        "agent_config_file_contents": st.dictionaries(TEXT, TEXT, max_size=2),
        "agent_reconnect_attempts": st.integers(-5, 50),
        "master_url": st.sampled_from(["", "http://h", "https://h:1", "http://[::1]:9", "http://u:p@h?x=1"]),
        "max_idle_agent_period": GO_DURATION,
        "launch_error_timeout": GO_DURATION,
        "launch_error_retries": st.integers(-5, 5),
    },
)
PERIODS = st.fixed_dictionaries({}, optional={"max_idle_agent_period": DURATION, "launch_error_timeout": DURATION})
WRONG = st.sampled_from([[], {}, 1.5, -7, "", "x y", [[3]], {"a": 1}, True])


def native(provider: dict[str, Any], limits: dict[str, int], periods: dict[str, str]) -> dict[str, Any]:
    if provider["type"] == "gcp":
        regions = {zone.rpartition("-")[0] for zone in provider.get("zones", ())}
        provider = {**provider, "regional": len(regions) < 2 and provider.get("regional", False)}
        if len(provider.get("zones", ())) > 1 or provider.get("machine_types"):
            provider["prices"] = "prices.csv"
    pool = {"name": "p", "scheduler": {"type": "push"}, "provider": provider, **limits, **periods}
    return {"cluster": "team", "pools": [pool]}


def determined(provider: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    return {"resource_pools": [{"pool_name": "p", "provider": {**provider, **limits}}]}


def written(view: dict[str, Any]) -> str:
    stream = StringIO()
    _write_yaml(view, stream)
    return stream.getvalue()


def survives(file: dict[str, Any]) -> None:
    text = json.dumps(file)
    config = read_config(text if "resource_pools" in file else text.replace("${", "$${"), "f", PLUGINS, {})
    for view in (public_view(config), private_view(config)):
        again = read_config(written(view), "shown", PLUGINS, {})
        assert public_view(again) == public_view(config)
    assert again.pools == config.pools, "with its secrets"
    assert YAML(typ="safe", pure=True).load(written(public_view(config)))


def is_told(provider: dict[str, Any], key: str, value: Any) -> None:
    """A changed key is legal, or told by its name; never anything else."""
    try:
        survives(determined({**provider, key: value}, {}))
    except ConfigError as error:
        for line in str(error).splitlines():
            assert line.startswith("f:1: resource_pools[0]")
            # A minimum above the maximum is told of either.
            assert key in line or {key, "instances"} & {"min_instances"}, line


LEGAL_NATIVE = (NATIVE, LIMITS, PERIODS)
LEGAL_DETERMINED = (DETERMINED, LIMITS)
ILLEGAL = (DETERMINED, st.sampled_from([*KEYS["gcp"].model_fields, "nonsense"]), WRONG)


@settings(max_examples=QUICK, deadline=None)
@given(*LEGAL_NATIVE)
def test_a_legal_native_file_survives(
    provider: dict[str, Any], limits: dict[str, int], periods: dict[str, str]
) -> None:
    survives(native(provider, limits, periods))


@settings(max_examples=QUICK, deadline=None)
@given(*LEGAL_DETERMINED)
def test_a_legal_determined_file_survives(provider: dict[str, Any], limits: dict[str, int]) -> None:
    survives(determined(provider, limits))


@settings(max_examples=QUICK, deadline=None)
@given(*ILLEGAL)
def test_what_is_illegal_is_told_by_its_key(provider: dict[str, Any], key: str, value: Any) -> None:
    is_told(provider, key, value)


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None)
@given(*LEGAL_NATIVE)
def test_ten_thousand_legal_native_files_survive(
    provider: dict[str, Any], limits: dict[str, int], periods: dict[str, str]
) -> None:
    survives(native(provider, limits, periods))


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None)
@given(*LEGAL_DETERMINED)
def test_ten_thousand_legal_determined_files_survive(provider: dict[str, Any], limits: dict[str, int]) -> None:
    survives(determined(provider, limits))


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None)
@given(*ILLEGAL)
def test_ten_thousand_changes_are_told_by_their_key(provider: dict[str, Any], key: str, value: Any) -> None:
    is_told(provider, key, value)
