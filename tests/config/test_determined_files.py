"""A Determined master.yaml as a whole: layouts, what is left alone, and what is said when something is wrong."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from config.test_determined_vectors import PLUGINS
from slotsmith.boot import AgentSettings
from slotsmith.config import Config, ConfigError, private_view, public_view, read_config
from slotsmith.config.determined.values import parse_go_duration
from slotsmith.providers.gcp import GcpSettings

MASTER = """\
    db: {host: postgres, password: hunter1}
    cluster_name: prod
    resource_manager: {type: agent}
    resource_pools:
      - pool_name: gpu
        description: the big ones
        max_aux_containers_per_agent: 7
        provider:
          type: gcp
          master_url: https://master.example.com
          master_cert_name: master
          zone: us-east1-b
          startup_script: echo ${HOME} hunter2
          container_startup_script: echo hunter3
          agent_docker_image: determinedai/determined-agent:0.26
          agent_docker_network: host
          agent_config_file_contents: {token: hunter4}
          base_config: {metadata: {items: [{key: k, value: hunter5}]}}
          max_idle_agent_period: 1h0.5m
          min_instances: 1
          launch_error_timeout: -5s
          launch_error_retries: -2
      - pool_name: aux
        provider: {type: gcp, zone: us-east1-b, instance_type: {machine_type: n1-standard-8, gpu_num: 0}}
      - pool_name: on-premises
"""
OLD = """\
    provisioner:
      provider: gcp
      zone: us-east1-b
      max_instances: 9
"""


def read(text: str) -> Config:
    return read_config(dedent(text), "master.yaml", PLUGINS, {})


def lines(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text)
    return str(raised.value).splitlines()


def test_a_file_with_two_pools() -> None:
    config = read(MASTER)
    gpu, aux = config.pools
    assert (config.cluster, gpu.name, aux.name) == ("prod", "gpu", "aux")
    assert (gpu.max_idle_agent_period, gpu.min_instances, gpu.max_instances) == (3630.0, 1, 5)
    assert (gpu.launch_error_timeout, gpu.launch_error_retries, gpu.max_zero_slot_tasks_per_agent) == (0.0, 0, 7)
    assert gpu.scheduler.type == "push"
    assert isinstance(gpu.provider, GcpSettings)
    agent = gpu.provider.agent
    assert isinstance(agent, AgentSettings)
    assert (agent.preset, agent.scheduler, agent.tls_certificate_name) == (
        "determined",
        "https://master.example.com",
        "master",
    )
    assert agent.container is not None
    assert (agent.container.image, agent.container.network) == ("determinedai/determined-agent:0.26", "host")
    assert agent.startup_script.get_secret_value() == "echo ${HOME} hunter2", "it means the instance's variable"
    assert agent.config_file.get_secret_value() == '{"token":"hunter4"}', "W61: on GCE, too"
    assert config.notes == (
        "pool 'on-premises' has no provider and is left alone",
        "what belongs to the rest of Determined is ignored: db, resource_manager, resource_pools[].description",
    )


def test_a_certificate_that_is_not_read_is_told() -> None:
    (note, _) = read(OLD + "    security: {tls: {cert: /etc/determined/master.crt, key: /etc/master.key}}\n").notes
    assert note.startswith("security.tls.cert is not read: agents that cannot verify")
    for harmless in ("security: {tls: {cert: ''}}", "security: {}", "security: {tls: x}"):
        assert all("security.tls" not in each for each in read(f"{OLD}    {harmless}\n").notes)


def test_the_layout_of_before_there_were_pools() -> None:
    (pool,) = read(OLD).pools
    assert (pool.name, pool.max_instances, pool.provider.type) == ("default", 9, "gcp")


def test_no_secret_is_told() -> None:
    """W76: scripts, agent configuration and metadata of base_config, in one type."""
    config = read(MASTER)
    assert "hunter" not in json.dumps(public_view(config))
    assert "hunter" not in repr(config)
    assert all(f"hunter{n}" in json.dumps(private_view(config)) for n in (2, 3, 4, 5))


def test_the_native_form_says_the_same() -> None:
    config = read(MASTER)
    again = read_config(json.dumps(private_view(config)).replace("${", "$${"), "slotsmith.yaml", PLUGINS, {})
    assert (again.cluster, again.pools) == (config.cluster, config.pools)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("zone: us-east1-b\n", "zone: 7\n", "12: resource_pools[0].provider.zone: pool 'gpu': expected text, got 7"),
        ("pool_name: aux", "name: aux", "23: resource_pools[1]: missing key 'pool_name'"),
        ("pool_name: aux", "pool_name: gpu", "23: resource_pools[1].pool_name: duplicate pool name 'gpu'"),
        ("pool_name: aux", "pool_name: a b", "23: resource_pools[1].pool_name: expected at most 40 letters"),
        ("type: gcp, zone", "type: hpc, zone", "24: resource_pools[1].provider.type: pool 'aux': 'hpc' is a partition"),
        ("type: gcp, zone", "type: gpc, zone", "unknown provider 'gpc', did you mean 'gcp'?"),
        ("type: gcp, zone", "zone", "24: resource_pools[1].provider: pool 'aux': missing key 'type', one of: aws, gcp"),
        ("type: gcp, zone", "region: x, type: gcp, zone", "pool 'aux': unknown key 'region'"),
        (
            "1h0.5m",
            "1d",
            "pool 'gpu': expected a duration like 90s, 20m or 1h30m (units ns, us, ms, s, m, h), got '1d'",
        ),
        (
            "gpu_num: 0",
            "gpu_num: 3",
            "provider.instance_type.gpu_num: pool 'aux': expected one of 0, 1, 2, 4, 8, 16, got 3",
        ),
        (
            "https://master.example.com",
            "h",
            "10: resource_pools[0].provider.master_url: pool 'gpu': expected a URL that begins",
        ),
        ("agent_docker_network: host", "tags: [x]", "unknown key 'tags'"),
        ("{metadata: {items", "{disk: [], metadata: {items", "unknown instance property 'disk', did you mean 'disks'?"),
        (
            "master_cert_name: master",
            "labels: {Team: x}",
            "resource_pools[0].provider.labels: expected a label of at most 63",
        ),
        (
            "master_cert_name: master",
            f"name_prefix: {'x' * 37}",
            "resource_pools[0].provider.name_prefix: expected at most 36",
        ),
        (
            "resource_pools:",
            "provisioner: {}\n    resource_pools:",
            "expected 'resource_pools' or the older 'provisioner', not",
        ),
    ],
)
def test_what_is_wrong_names_pool_and_key(old: str, new: str, said: str) -> None:
    told = lines(MASTER.replace(old, new, 1) if old in MASTER else MASTER)
    assert any(said in line for line in told), told
    assert "hunter" not in " ".join(told)


def test_all_failures_at_once() -> None:
    text = MASTER.replace("min_instances: 1", "min_instances: 9").replace("us-east1-b", "7").replace("1h0.5m", "0s")
    keys = [line.split(": ")[1] for line in lines(text)]
    of_gpu = [f"resource_pools[0].provider.{key}" for key in ("zone", "max_idle_agent_period", "max_instances")]
    assert sorted(keys) == sorted([*of_gpu, "resource_pools[1].provider.zone"])


@pytest.mark.parametrize(
    "value", [None, 3, "x", {}, [], [3], [None], [{"pool_name": "a"}], [{"pool_name": "a", "provider": 3}]]
)
@pytest.mark.parametrize("key", ["resource_pools", "provisioner"])
def test_any_shape_is_answered(key: str, value: object) -> None:
    assert all(line.startswith("master.yaml:") for line in lines(json.dumps({key: value})))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1.5h", 5400),
        ("1h15m30.918273645s", 4530.918273645),
        ("-1m", -60),
        ("+.5s", 0.5),
        ("1.s", 1),
        ("100ns", 1e-7),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("1m1h", 3660),
        ("2562047h", 2562047 * 3600),
    ],
)
def test_durations_of_go(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["", "1", "1d", "s", ".s", "1.2.3s", "1 s", " 1s", "--1s", "1h-1m", "2562048h", "1S", "٣s", "1" * 200 + "s"]
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_go_duration(text)


AWS = {
    "spot": (
        {"spot": True, "spot_max_price": ".5", "tag_value": "mine", "log_stream": "s"},
        {"spot": True, "spot_max_price": "0.5", "tag_value": "mine"},
    ),
    "placeholder": ({"spot": True, "spot_max_price": "OnDemand"}, {"spot": True}),
    "not spot": ({"spot_max_price": "x", "log_group": "g", "log_stream": "s"}, {"log_group": "g", "log_stream": "s"}),
    "tags": (
        {"custom_tags": [{"key": "a", "value": "b"}], "network_interface": {"subnet_id": "n"}},
        {"custom_tags": [{"key": "a", "value": "b"}], "network_interface": {"public_ip": True, "subnet_id": "n"}},
    ),
}


@pytest.mark.parametrize("name", AWS)
def test_the_keys_of_aws_become_those_of_the_native_provider(name: str) -> None:
    given, expected = AWS[name]
    block = {"type": "aws", "region": "us-west-2", "image_id": "ami-1", "ssh_key_name": "k", **given}
    config = read(json.dumps({"resource_pools": [{"pool_name": "p", "provider": block}]}))
    made = private_view(config)["pools"][0]["provider"]
    assert made.pop("agent")["preset"] == "determined"
    common = {
        "type": "aws",
        "region": "us-west-2",
        "image_id": "ami-1",
        "ssh_key_name": "k",
        "root_volume_size": 200,
        "tag_key": "managed_by",
        "tag_value": "determined-ai-determined",
        "instance_name": "determined-ai-agent",
        "instance_type": "g4dn.metal",
        "network_interface": {"public_ip": True},
        "spot": False,
        "cpu_slots_allowed": False,
    }
    assert made == {**common, **expected}
