"""The reference's own cases of configuration, and what is different here on purpose."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import EntryPoint
from io import StringIO
from typing import Any, Literal

import pytest
from pydantic import ConfigDict
from ruamel.yaml import YAML

from core.vector_files import VECTORS, vector_cases
from slotsmith.boot import AddressError
from slotsmith.config import Config, ConfigError, read_config
from slotsmith.config.determined.clouds import KEYS
from slotsmith.config.plugins import Plugins
from slotsmith.model.durations import parse_duration
from slotsmith.providers.base import ProviderPlugin, ProviderSettings
from slotsmith.providers.gcp import GcpSettings
from slotsmith.providers.gcp.address import resolve
from slotsmith.providers.gcp.names import check_prefix, instance_names, is_name
from slotsmith.providers.gcp.properties import instance_properties

GOLDEN = vector_cases("golden_config")
PROVCONFIG = vector_cases("provconfig")

VALIDITY = {
    # What the reference accepts and we refuse, or the other way round.
    "machine e2-standard-4": ("accepted", "W75: machine types are asked of the cloud, not of a list that ages"),
    "type g3.16xlarge": ("accepted", "W74: instance types are asked of the cloud, not of a table"),
    "type g5g.xlarge": ("accepted", "W74: instance types are asked of the cloud, not of a table"),
    "spot price '.'": ("refused", "it is no price"),
    "spot price '٣'": ("refused", "it is no price that EC2 reads"),
    "gce instance type: invalid machine type": ("accepted", "W75: asked of the cloud"),
    "gce instance type: invalid gpu type": ("accepted", "W75: asked of the cloud"),
    "with hpc": ("refused", "W40: there is nothing to launch, and the reference crashes on its first use"),
}
ADDRESSES = {
    "master_url ipv6 no port": ("http://[::1]:8080", "W73: an IPv6 address keeps its brackets"),
    "master_url alias public-ipv4": (None, "W73: an alias means nothing off its cloud"),
    "master_url alias public-hostname": (None, "W73: an alias means nothing off its cloud"),
    "master_url alias internal-ip": (None, "W73: an alias means nothing off its cloud"),
    "master_url alias external-ip": (None, "W73: an alias means nothing off its cloud"),
}
"""By name of the case, for those environments in which the answers differ; None = an error."""
UNREAD = {"parse_error"}

PROPERTIES = {
    "minCpuPlatform": "W69: left to GCE and to base_config",
    "scheduling": "W69: what base_config says stays",
    "labels": "ours are added, by which instances are found again (W49, W70)",
    "serviceAccounts": "a machine has one account, so the pool's takes the place of that of base_config",
}


class AwsStub(ProviderSettings):
    """Takes what the aws block is translated into; the provider has a test of its own for each key."""

    model_config = ConfigDict(extra="allow")
    type: Literal["aws"]


aws_plugin = ProviderPlugin(AwsStub, lambda *_: None)  # type: ignore[arg-type, return-value]


def plugins() -> tuple[Plugins, Plugins]:
    here = [
        EntryPoint("aws", f"{__name__}:aws_plugin", "slotsmith.providers"),
        EntryPoint("gcp", "slotsmith.providers.gcp:plugin", "slotsmith.providers"),
    ]
    return Plugins("provider", here), Plugins("scheduler")


PLUGINS = plugins()


def read(provider: Any) -> Config:
    """A Determined file with one pool."""
    file = {"resource_pools": [{"pool_name": "gpu", "provider": provider}]}
    return read_config(json.dumps(file), "master.yaml", PLUGINS, {})


def error_of(provider: Any) -> str | None:
    try:
        read(provider)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['name']}-{case['env']}")
def test_golden_validity(case: dict[str, Any]) -> None:
    expect = case["expect"]
    valid = not expect.get("parse_error") and not expect.get("validate_error")
    error = error_of(case["input"])
    if case["name"] in VALIDITY:
        assert (error is None) is not valid, f"no difference any more: {VALIDITY[case['name']]}"
        assert VALIDITY[case["name"]][0] == ("refused" if error else "accepted")
    else:
        assert (error is None) is valid, error


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['name']}-{case['env']}")
def test_golden_master_address(case: dict[str, Any]) -> None:
    """Compared where the reference's own validation lets the URL pass."""
    expect = case["expect"]
    if expect.get("parse_error") or "master url" in (expect.get("validate_error") or ""):
        return
    env = case["env"].partition("-")[0]
    url = case["input"].get("master_url", "")
    address = address_of(url, None if env == "none" else env)
    expected = expect["master_url_after"]
    if not url and env == "none":
        assert (address, expected) == (None, "http://:8080"), "W73: an empty address off cloud is an error"
    elif address != expected:
        assert address == ADDRESSES[case["name"]][0]


METADATA = {
    "instance/network-interfaces/0/ip": "gce-internal",
    "instance/network-interfaces/0/access-configs/0/external-ip": "gce-external",
    **{name: f"ec2-{name}" for name in ("local-ipv4", "public-ipv4", "local-hostname", "public-hostname")},
}


def address_of(url: str, cloud: str | None) -> str | None:
    try:
        return resolve(url.partition("?")[0].replace("user:pw@", ""), cloud, METADATA.get).url
    except AddressError:
        return None


def test_the_default_port_of_https_is_the_documented_one() -> None:
    assert address_of("https://h", None) == "https://h:8443"
    assert address_of("https://user:pw@h/?x=1", None) == "https://h:8443"


GCE = [case for case in GOLDEN if "instance_properties" in case["expect"] and case["name"] not in ("machine ",)]


@pytest.mark.parametrize("case", GCE, ids=lambda case: f"{case['name']}-{case['env']}")
def test_golden_gce(case: dict[str, Any]) -> None:
    expect = case["expect"]
    if expect.get("validate_error") and case["name"] not in VALIDITY:
        return
    settings = read(case["input"]).pools[0].provider
    assert isinstance(settings, GcpSettings)
    assert settings.project == case["input"].get("project", "")
    assert settings.all_zones == (case["input"]["zone"],)
    assert settings.use_cloud_logging is ("gcplogs" in expect["docker_log_options"])
    for _ in range(2):  # W68: what one launch makes of base_config, the next one does not find in it
        made = instance_properties(
            settings, machine_type=settings.instance_type.machine_type, owner={}, token="t", metadata={}
        )
        compare_properties(made, expect["instance_properties"], case["env"])


def compare_properties(made: dict[str, Any], expected: dict[str, Any], env: str) -> None:
    ours, theirs = dict(made), dict(expected)
    labels = dict(theirs.pop("labels"))
    if env == "gce-long":
        labels.pop("managed-by")  # the reference cuts its own name there (HISTORY 6); ours does not go into it
    assert labels.items() <= ours.pop("labels").items()
    assert ours.pop("scheduling")["onHostMaintenance"] in ("TERMINATE", "MIGRATE")
    theirs.pop("scheduling")
    assert ours.pop("serviceAccounts", [])[-1:] == theirs.pop("serviceAccounts", [])[-1:]
    # An empty disk is what Go makes of `boot: false`.
    assert [disk for disk in theirs.pop("disks", []) if disk] == [
        d for d in ours.pop("disks", []) if d != {"boot": False}
    ]
    assert ours == theirs


def normal(value: Any) -> Any:
    return None if value in ("", None, [], {}, ()) else value


@pytest.mark.parametrize("case", PROVCONFIG, ids=lambda case: case["name"])
def test_provconfig(case: dict[str, Any]) -> None:
    given = case["input"] if "input" in case else YAML(typ="safe", pure=True).load(StringIO(case["input_text"]))
    valid = not case.get("errors_contain")
    provider = as_provider(case["kind"], given)
    if case["name"] == "startup script":
        provider = {"type": "gcp", "zone": "us-east1-b", **given}  # it has no type, and is not validated there
    error = error_of(provider)
    if case["name"] in VALIDITY:
        assert (error is None) is not valid, f"no difference any more: {VALIDITY[case['name']]}"
        if error is not None:
            return
    elif not valid:
        assert error is not None
        return
    assert error is None, error
    compare_keys(provider, case)


def as_provider(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    if kind in ("aws", "gcp"):
        return {"type": kind, **given}
    part = {"gce_service_account": "service_account", "gce_instance_type": "instance_type"}.get(kind)
    return given if part is None else {"type": "gcp", part: given}


def compare_keys(provider: dict[str, Any], case: dict[str, Any]) -> None:
    """Every key of the reference's parsed config is among ours, with the same value."""
    keys = KEYS[provider["type"]].model_validate(provider).model_dump()
    expect = dict(case.get("expect", {}))
    part = {"gce_service_account": "service_account", "gce_instance_type": "instance_type"}.get(case["kind"])
    ours = keys[part] if part else keys
    expect |= expect.pop(provider["type"], {})
    if case.get("resolve_master_address"):
        assert address_of(ours["master_url"], None) == expect.pop("master_url")
    for key, value in expect.items():
        if value == "determinedai/determined-agent:{version}":
            assert ours[key].startswith("determinedai/determined-agent:")
        elif key.endswith(("_period", "_timeout")) and value is not None:
            assert ours[key] == parse_duration(value)
        elif key.endswith("script"):
            assert ours[key].get_secret_value() == value
        else:
            assert same(ours[key], value), key


def same(ours: Any, theirs: Any) -> bool:
    """Empty is the same as none, and what is left out of a mapping is empty."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(same(ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys())
    if isinstance(theirs, list) and isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if type(theirs) is int and isinstance(ours, str):
        return ours == str(theirs)  # 64-bit numbers are text in Google's JSON
    return normal(ours) == normal(theirs)


def test_gcp_names() -> None:
    """W71: the reference cuts a name that is too long, and with it what makes it unique; here the prefix is refused."""
    for case in vector_cases("gcp_names"):
        with pytest.raises(ValueError, match="at most 36"):
            check_prefix(case["name_prefix"])
    longest = "a" * 36
    assert check_prefix(longest) == longest
    names = instance_names(longest, "0123456789abcdef0123", 1000)
    assert len(set(names)) == 1000
    assert all(map(is_name, names))
    assert max(map(len, names)) <= 63


def test_all_cases_are_there() -> None:
    counts = {
        name: json.loads((VECTORS / f"{name}.json").read_text())["count"] for name in ("golden_config", "provconfig")
    }
    assert (
        counts
        == {"golden_config": len(GOLDEN), "provconfig": len(PROVCONFIG)}
        == {"golden_config": 81, "provconfig": 18}
    )
    names = Counter(case["name"] for case in (*GOLDEN, *PROVCONFIG))
    assert VALIDITY.keys() <= names.keys()
    assert ADDRESSES.keys() <= names.keys()
