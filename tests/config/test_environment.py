"""What the environment adds to a file."""

from __future__ import annotations

from textwrap import dedent

import pytest

from config.sample_plugins import CloudSettings, QueueSettings, sample_plugins
from slotsmith.config import Config, ConfigError, read_config

FILE = """\
cluster: team
pools:
  - name: gpu-1
    scheduler: {type: queue, address: "${ADDRESS:-local}"}
    provider: {type: cloud, region: north, api_key: "${KEY}"}
    min_instances: ${LEAST:-0}
    max_instances: ${MOST}
"""
SET = {"KEY": "hunter2", "MOST": "7"}


def read(text: str = FILE, **environ: str) -> Config:
    return read_config(dedent(text), "f.yaml", sample_plugins(), environ)


def lines(text: str = FILE, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)
    return str(raised.value).splitlines()


def test_variables_are_filled_in_as_if_they_stood_there() -> None:
    pool = read(**SET).pools[0]
    assert (pool.min_instances, pool.max_instances) == (0, 7)
    assert pool.scheduler == QueueSettings(type="queue", address="local")
    assert isinstance(pool.provider, CloudSettings)
    assert pool.provider.api_key.get_secret_value() == "hunter2"


def test_a_variable_in_quotes_is_text() -> None:
    assert read(FILE.replace("${MOST}", "5").replace("${ADDRESS:-local}", "${N}"), N="7", KEY="k").pools[
        0
    ].scheduler == (QueueSettings(type="queue", address="7"))
    assert "expected a whole number, got '7'" in lines(FILE.replace("${MOST}", '"${MOST}"'), **SET)[0]


def test_two_dollars_are_a_literal_one() -> None:
    text = FILE.replace("${ADDRESS:-local}", "a $${HOME} $HOME {x}")
    assert read(text, HOME="/root", **SET).pools[0].scheduler == QueueSettings(
        type="queue", address="a ${HOME} $HOME {x}"
    )


def test_a_variable_that_is_not_set_is_told_with_its_line() -> None:
    assert "f.yaml:5: the environment variable 'KEY' is not set; a literal '${' is written '$${'" in lines(MOST="5")
    assert (
        "f.yaml:4: '${' must be followed by the name of an environment variable"
        in (lines(FILE.replace("ADDRESS:-local", "1"), **SET)[0])
    )


def test_a_variable_with_two_underscores_takes_the_place_of_a_key() -> None:
    config = read(
        **SET,
        SLOTSMITH__CLUSTER="other",
        SLOTSMITH__POOLS__GPU_1__MAX_INSTANCES="9",
        SLOTSMITH__POOLS__0__PROVIDER__REGION="south",
        SLOTSMITH__LOG__LEVEL="debug",
        SLOTSMITH_CONFIG="not one of them",
    )
    assert (config.cluster, config.log.level, config.pools[0].max_instances) == ("other", "debug", 9)
    assert isinstance(config.pools[0].provider, CloudSettings)
    assert config.pools[0].provider.region == "south"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POOLS__GPU_1__MAX_INSTANCES", "many", "pools[0].max_instances: expected a whole number, got 'many'"),
        ("POOLS__GPU_1__MAX_INSTNACES", "1", "pools[0].max_instnaces: unknown key 'max_instnaces', did you mean"),
        ("POOLS__CPU__MAX_INSTANCES", "1", "there is no entry 'CPU' in the file"),
        ("POOLS__GPU_1__MAX_INSTANCES__X", "1", "pools[0].max_instances: expected a whole number, got a mapping"),
        ("POOLS", "{", "its value is malformed YAML"),
        ("", "1", "expected the names of keys, joined by '__'"),
        ("CLUSTER__", "1", "expected the names of keys, joined by '__'"),
    ],
)
def test_what_is_wrong_with_one_names_it(name: str, value: str, said: str) -> None:
    variable = f"SLOTSMITH__{name}"
    told = lines(**SET, **{variable: value})
    assert any(line.startswith(f"environment variable {variable}: {said}") for line in told), told
