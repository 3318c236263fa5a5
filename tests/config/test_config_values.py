"""What a file that is right comes to."""

import json
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

from config.sample_plugins import CloudSettings, QueueSettings, sample_plugins
from slotsmith.config import Config, load_config, public_view, read_config
from slotsmith.config.assembly import Later, state_dir
from slotsmith.config.errors import ConfigError
from slotsmith.model.foresight import DEFAULT_TARGET, MOST_EXTRA_COST, Target
from slotsmith.model.policy import Policy, Window

FULL = """
    cluster: team-a
    store: {url: "sqlite:///books/x.db", keep: 7d}
    log: {format: json, level: debug}
    pools:
      - name: gpu
        scheduler: {type: queue, address: "amqp://10.0.0.1"}
        provider:
          type: cloud
          region: north
          api_key: hunter2
          startup_script: |
            export TOKEN=hunter3
          pins: [1234]
          disk: {kind: hdd}
          tags: {team: a}
          proxy: http://me:hunter4@proxy:3128/x
        min_instances: 1
        max_instances: 8
        max_idle_agent_period: 90s
        max_agent_starting_period: 1h30m
        max_agent_disconnect_period: 500ms
        launch_error_timeout: 0s
        launch_error_retries: 0
        max_zero_slot_tasks_per_agent: 7
"""
SHORT = """
    pools:
      - name: p
        scheduler: {type: queue}
        provider: {type: bench}
"""


def config_of(text: str) -> Config:
    return read_config(dedent(text), "f.yaml", sample_plugins())


def test_every_key_is_read() -> None:
    config = config_of(FULL)
    pool = config.pools[0]
    assert (config.cluster, config.store.url, config.store.keep) == ("team-a", "sqlite:///books/x.db", 7 * 86400)
    assert (config.log.format, config.log.level) == ("json", "debug")
    assert pool.policy() == Policy(1, 8, 90.0, 5400.0, 0.5, 0.0, 0, 7)
    assert isinstance(pool.scheduler, QueueSettings)
    assert isinstance(pool.provider, CloudSettings)
    assert (pool.provider.disk.kind, pool.provider.disk.size_gib) == ("hdd", 100)
    assert pool.provider.api_key.get_secret_value() == "hunter2"


def test_the_defaults_are_those_of_the_policy() -> None:
    config = config_of(SHORT)
    assert config.pools[0].policy() == Policy()
    assert (config.cluster, config.store.url, config.store.keep) == (None, "sqlite:///slotsmith.db", 30 * 86400)
    assert (config.log.format, config.log.level) == ("console", "info")
    assert config.pool("p") is config.pools[0]
    assert config.pool("q") is None


def test_what_is_shown_has_all_defaults_and_no_secret() -> None:
    view = public_view(config_of(FULL))
    provider = view["pools"][0]["provider"]
    assert "hunter" not in str(view)
    assert "1234" not in str(view)
    assert provider["api_key"] == provider["startup_script"] == "********"
    assert provider["pins"] == ["********"]
    assert provider["proxy"] == "http://me:********@proxy:3128/x"
    assert provider["disk"] == {"size_gib": 100, "kind": "hdd"}
    assert view["pools"][0]["max_agent_starting_period"] == "1h30m"
    assert view["store"] == {"url": "sqlite:///books/x.db", "keep": "7d"}


def test_the_password_of_the_store_is_not_shown() -> None:
    text = SHORT + '    store: {url: "sqlite://slots:hunter2@db.example/slots"}\n'
    assert public_view(config_of(text))["store"]["url"] == "sqlite://slots:********@db.example/slots"


def test_a_view_without_secrets_is_a_file_again() -> None:
    from io import StringIO

    from ruamel.yaml import YAML

    config = config_of(SHORT)
    stream = StringIO()
    YAML(typ="safe", pure=True).dump(public_view(config), stream)
    assert config_of(stream.getvalue()) == config


def test_an_empty_secret_is_seen_to_be_empty() -> None:
    provider = public_view(config_of(FULL.replace("api_key: hunter2", 'api_key: ""')))["pools"][0]["provider"]
    assert provider["api_key"] == ""


def test_pools_may_share_settings_by_anchor_and_merge() -> None:
    config = config_of("""
        pools:
          - &first
            name: a
            scheduler: {type: queue}
            provider: {type: bench}
            max_instances: 3
          - <<: *first
            name: b
          - <<: [{max_instances: 9}, *first]
            name: c
    """)
    assert [(pool.name, pool.max_instances) for pool in config.pools] == [("a", 3), ("b", 3), ("c", 9)]


def test_an_anchor_may_be_given_anew(recwarn: pytest.WarningsRecorder) -> None:
    config = config_of("""
        cluster: &x one
        pools: [{name: &x two, scheduler: {type: queue, address: *x}, provider: {type: bench}}]
    """)
    assert config.pools[0].scheduler == QueueSettings(type="queue", address="two")
    assert not recwarn.list


def test_a_date_is_text() -> None:
    config = config_of(SHORT.replace("{type: queue}", "{type: queue, address: 2024-02-30}"))
    assert config.pools[0].scheduler == QueueSettings(type="queue", address="2024-02-30")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + dedent(SHORT).encode())
    assert load_config(path, sample_plugins()) == config_of(SHORT)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/lib/s.db", Path("/var/lib/s.db.d/gpu")),
        ("sqlite:///s.db", Path.cwd() / "s.db.d/gpu"),
        ("sqlite://", Path("slotsmith.d/gpu")),
    ],
)
def test_a_provider_keeps_its_state_beside_the_store(url: str, expected: Path) -> None:
    assert state_dir(url, "gpu") == expected


def test_a_late_callable_does_nothing_until_it_is_bound() -> None:
    calls: list[int] = []
    later = Later()
    later()
    later.bind(lambda: calls.append(1))
    later()
    assert calls == [1]


def test_limits_headroom_and_a_schedule_are_read() -> None:
    more = """
        max_slots: 40
        max_dollars_per_hour: 12.5
        max_dollars_per_month: 3000
        headroom: {slots: 4}
        group_priorities: {b: 2, a: -1}
        schedule:
          - {cron: "0 8 * * MON-FRI", zone: Europe/Vienna, lasts: 10h, max_instances: 20}
          - {cron: "0 0 1 * *", lasts: 1d, min_instances: 1}
    """
    pool = config_of(dedent(SHORT) + indent(dedent(more), "    ")).pools[0]
    policy = pool.policy()
    assert (policy.max_slots, policy.max_dollars_per_hour, policy.max_dollars_per_month) == (40, 12.5, 3000.0)
    assert (policy.headroom_slots, policy.group_priorities) == (4, (("a", -1), ("b", 2)))
    assert pool.windows() == (
        Window("0 8 * * MON-FRI", "Europe/Vienna", 36000.0, None, 20),
        Window("0 0 1 * *", "UTC", 86400.0, 1, None),
    )
    shown = public_view(pool)
    assert shown["headroom"]["slots"] == 4
    assert shown["schedule"][0]["lasts"] == "10h"


@pytest.mark.parametrize(
    ("headroom", "slots", "target"),
    [
        ("{type: fixed, slots: 4}", 4, None),
        ("{slots: 0}", 0, None),
        ("{type: learned}", 0, DEFAULT_TARGET),
        ("{type: learned, target: {max_extra_cost: 1%}}", 0, Target(0.01)),
        ("{type: learned, target: {max_extra_cost: 0%}}", 0, Target(0.0)),
        ("{type: learned, target: {wait_p95: 60s}}", 0, Target(MOST_EXTRA_COST, 60.0)),
        ("{type: learned, target: {wait_p95: 60s, max_extra_cost: 2.5%}}", 0, Target(0.025, 60.0)),
    ],
)
def test_a_headroom_is_fixed_or_learned(headroom: str, slots: int, target: Target | None) -> None:
    config = config_of(dedent(SHORT) + f"    headroom: {headroom}\n")
    policy = config.pools[0].policy()
    assert (policy.headroom_slots, policy.foresight) == (slots, target)
    shown = public_view(config.pools[0])["headroom"]
    again = config_of(dedent(SHORT) + f"    headroom: {json.dumps(shown)}\n").pools[0]
    assert again.policy() == policy


@pytest.mark.parametrize(
    ("more", "period", "target"),
    [
        ("", 1200.0, Target(spare=False, idle_period=True)),
        ("headroom: {slots: 3}", 1200.0, Target(spare=False, idle_period=True)),
        ("headroom: {type: learned}", 1200.0, replace(DEFAULT_TARGET, idle_period=True)),
    ],
)
def test_an_idle_period_can_be_learned(more: str, period: float, target: Target) -> None:
    text = dedent(SHORT) + f"    max_idle_agent_period: auto\n    {more}\n"
    policy = config_of(text).pools[0].policy()
    assert (policy.max_idle_agent_period, policy.foresight) == (period, target)
    assert public_view(config_of(text).pools[0])["max_idle_agent_period"] == "auto"
    assert public_view(config_of(text.replace("auto", "90s")).pools[0])["max_idle_agent_period"] == "1m30s"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("headroom: {type: fixed}", "headroom: expected slots, and no target"),
        ("headroom: {slots: 1, target: {wait_p95: 9s}}", "headroom: expected slots, and no target"),
        ("headroom: {type: learned, slots: 1}", "headroom: expected no slots for a headroom of type learned"),
        ("headroom: {type: guessed}", "headroom.type: expected"),
        ("headroom: {type: learned, target: {max_extra_cost: 1}}", "max_extra_cost: expected a percentage like"),
        ("headroom: {type: learned, target: {max_extra_cost: x%}}", "max_extra_cost: expected a percentage like"),
        ("headroom: {type: learned, target: {max_extra_cost: nan%}}", "max_extra_cost: expected at least 0%"),
        ("headroom: {type: learned, target: {max_extra_cost: 101%}}", "max_extra_cost: expected at least 0%"),
        ("headroom: {type: learned, target: {wait_p95: 60}}", "wait_p95: expected a duration with a unit"),
        ("headroom: {type: learned, target: {wait_p99: 1s}}", "wait_p99: unknown key 'wait_p99', did you mean"),
        ("max_dollars_per_hour: -1", "max_dollars_per_hour: expected at least 0, got -1"),
        ("max_dollars_per_month: .nan", "max_dollars_per_month: expected a finite number"),
        ("max_slots: 1.5", "max_slots: expected a whole number"),
        ("headroom: 4", "headroom: expected a mapping, got 4"),
        ("max_idle_agent_period: never", "max_idle_agent_period: expected a duration with a unit like 90s, 20m or"),
        ("max_idle_agent_period: 90", "max_idle_agent_period: expected a duration with a unit like 90s"),
        ("max_idle_agent_period: 0s", "max_idle_agent_period: expected more than 0, got '0s'"),
        ("headroom: {slot: 4}", "headroom.slot: unknown key 'slot', did you mean 'slots'?"),
        ("group_priorities: {a: high}", "group_priorities.a: expected a whole number, got 'high'"),
        ('schedule: [{cron: "0 8 * *", lasts: 1h, max_instances: 1}]', "cron: expected minute, hour, day"),
        (
            'schedule: [{cron: "0 25 * * *", lasts: 1h, max_instances: 1}]',
            "cron: expected minute, hour, day",
        ),
        ('schedule: [{cron: "0 0 30 2 *", lasts: 1h, max_instances: 1}]', "schedule[0].cron: expected"),
        (
            'schedule: [{cron: "0 8 * * *", zone: Mars, lasts: 1h, max_instances: 1}]',
            "zone: expected the name of a",
        ),
        (
            'schedule: [{cron: "0 8 * * *", zone: ../x, lasts: 1h, max_instances: 1}]',
            "zone: expected the name of a",
        ),
        ('schedule: [{cron: "0 8 * * *", lasts: 0s, max_instances: 1}]', "schedule[0].lasts: expected more than 0"),
        ('schedule: [{cron: "0 8 * * *", lasts: 1h}]', "schedule[0]: expected min_instances, max_instances or both"),
        ('schedule: [{cron: "0 8 * * *", lasts: 1h, min_instances: 9}]', "maximum of 5 below its minimum of 9"),
    ],
)
def test_limits_that_make_no_sense_are_told(line: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(dedent(SHORT) + f"    {line}\n")
    assert any(told in line for line in str(caught.value).splitlines())
