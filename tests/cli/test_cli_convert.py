"""`config convert` and `config schema`."""

from __future__ import annotations

import json
import stat
from importlib import resources
from io import StringIO
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cli.command_line import CommandLine
from config.test_config_properties import NATIVE, PERIODS, native
from slotsmith.config import json_schema, load_config

MASTER = """\
port: 8080
resource_pools:
  - pool_name: gpu
    provider: {type: gcp, zone: us-east1-b, startup_script: "echo ${HOME} hunter2", max_idle_agent_period: 90m}
"""
NOTE = "slotsmith: master.yaml: what belongs to the rest of Determined is ignored: port"


def test_a_master_yaml_becomes_a_native_file(slotsmith: CommandLine) -> None:
    slotsmith.config(MASTER, "master.yaml")
    said = slotsmith("config", "convert", "master.yaml", "-o", "mine.yaml")
    assert (said.status, said.out, said.errors) == (0, "", [NOTE])
    file = slotsmith.directory / "mine.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "there are secrets in it"
    text = file.read_text()
    assert "startup_script: echo $${HOME} hunter2" in text
    assert "max_idle_agent_period: 1h30m" in text
    assert load_config(file).pools == load_config(slotsmith.directory / "master.yaml").pools
    assert slotsmith("config", "convert", "master.yaml").out == text
    again = slotsmith("config", "convert", "master.yaml", "-o", "mine.yaml")
    assert (again.status, again.errors[-1]) == (2, "slotsmith: mine.yaml cannot be written: File exists")


def test_it_is_checked_and_shown_like_any_other(slotsmith: CommandLine) -> None:
    slotsmith.config(MASTER, "master.yaml")
    said = slotsmith("config", "check", "-c", "master.yaml")
    assert (said.status, said.out) == (0, "master.yaml: ok, 1 pool: gpu (push on gcp)\n")
    shown = slotsmith("config", "show", "-c", "master.yaml")
    assert "hunter2" not in shown.out
    slotsmith.config(MASTER.replace("90m", "90"), "master.yaml")
    bad = slotsmith("config", "convert", "master.yaml")
    assert (bad.status, bad.out) == (2, "")
    assert bad.errors == [
        "slotsmith: master.yaml:4: resource_pools[0].provider.max_idle_agent_period: pool 'gpu': "
        "expected a duration as text, like 90s or 20m, got 90"
    ]


@pytest.fixture(scope="module")
def schema() -> Any:
    return json_schema()


def complaints(schema: Any, file: Any) -> list[str]:
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(file)]


def test_the_schema_is_one(slotsmith: CommandLine, schema: Any) -> None:
    said = slotsmith("config", "schema")
    assert (said.status, json.loads(said.out)) == (0, schema)
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_schema_that_comes_with_the_package_is_that_one(schema: Any) -> None:
    shipped = resources.files("slotsmith.config").joinpath("slotsmith.schema.json").read_text(encoding="utf-8")
    assert json.loads(shipped) == schema, "`make schema` writes it anew"


@settings(max_examples=25, deadline=None)
@given(provider=NATIVE, periods=PERIODS, most=st.integers(1, 9) | st.just("${MOST}"))
def test_the_schema_takes_what_is_legal(schema: Any, provider: Any, periods: Any, most: Any) -> None:
    assert complaints(schema, native(provider, {"max_instances": most}, periods)) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"max_instances": "7"}, "$.pools[0].max_instances"),
        ({"max_instnaces": 7}, "$.pools[0]"),
        ({"provider": {"type": "local"}}, "$.pools[0].provider"),
        ({"provider": {"type": "local", "command": "x", "zone": "y"}}, "$.pools[0].provider"),
        ({"provider": {"type": "nowhere"}}, "$.pools[0].provider"),
        ({"max_idle_agent_period": 20}, "$.pools[0].max_idle_agent_period"),
    ],
)
def test_the_schema_refuses_what_is_not(schema: Any, change: dict[str, Any], place: str) -> None:
    file = native({"type": "local", "command": "sleep 9"}, {"max_instances": 5}, {})
    assert complaints(schema, file) == []
    file["pools"][0] |= change
    assert complaints(schema, file) == [place]


def test_an_editor_finds_the_keys_of_each_type(schema: Any) -> None:
    blocks = {block["properties"]["type"]["const"]: block for block in schema["$defs"]["ProviderSettings"]["oneOf"]}
    assert {"gcp", "local", "simulated"} <= blocks.keys()
    assert "machine_types" in blocks["gcp"]["properties"]
    assert YAML(typ="safe", pure=True).load(StringIO(json.dumps(schema)))["title"] == "The configuration of slotsmith"
