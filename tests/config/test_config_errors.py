"""Everything that can be wrong in a file gives lines that name the file, the line, the key and what was expected."""

from pathlib import Path
from textwrap import dedent

import pytest

from config.sample_plugins import sample_plugins
from slotsmith.config import ConfigError, load_config, read_config

LINE = "    max_instances: 4\n"
BASE = f"""\
cluster: team-a
pools:
  - name: gpu
    scheduler: {{type: queue}}
    provider: {{type: cloud, region: north}}
{LINE}"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(text, "f.yaml", sample_plugins())
    lines = str(caught.value).split("\n")
    assert all(line.startswith("f.yaml:") for line in lines)
    return [line.removeprefix("f.yaml:") for line in lines]


def test_the_base_of_these_tests_is_right() -> None:
    assert read_config(BASE, "f.yaml", sample_plugins()).pools[0].max_instances == 4


CUT = "expected the node content, but found '<stream end>', while parsing a flow node"
NAME = "expected at most 40 letters, digits, '-' and '_', got"
TYPE = "expected a mapping with the key 'type', one of: queue"
DURATION = "expected a duration with a unit like 90s, 20m or 1h30m, got"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("max_instnaces: 3", "max_instnaces: unknown key 'max_instnaces', did you mean 'max_instances'?"),
        ("max_instances: many", "max_instances: expected a whole number, got 'many'"),
        ("max_instances: '3'", "max_instances: expected a whole number, got '3'"),
        ("max_instances: 3.5", "max_instances: expected a whole number, got 3.5"),
        ("max_instances: true", "max_instances: expected a whole number, got true"),
        ("max_instances:", "max_instances: expected a whole number, got nothing"),
        ("max_instances: [1]", "max_instances: expected a whole number, got a list"),
        ("max_instances: -1", "max_instances: expected at least 0, got -1"),
        ("max_instances: 99999999999", "max_instances: expected at most 1000000, got 99999999999"),
        ("launch_error_retries: -1", "launch_error_retries: expected at least 0, got -1"),
        ("max_idle_agent_period: 0s", "max_idle_agent_period: expected more than 0, got '0s'"),
        ("max_idle_agent_period: -5m", f"max_idle_agent_period: {DURATION} '-5m'"),
        ("max_idle_agent_period: 20", f"max_idle_agent_period: {DURATION} 20"),
        ("max_idle_agent_period: '20'", f"max_idle_agent_period: {DURATION} '20'"),
        ("max_idle_agent_period: 0", f"max_idle_agent_period: {DURATION} 0"),
        ("max_agent_starting_period: 0ms", "max_agent_starting_period: expected more than 0, got '0ms'"),
        ("max_agent_disconnect_period: soon", f"max_agent_disconnect_period: {DURATION} 'soon'"),
        ("launch_error_timeout: -1s", f"launch_error_timeout: {DURATION} '-1s'"),
        ("min_instances: 5", "max_instances: expected at least min_instances (5), got 4"),
    ],
)
def test_a_wrong_line_in_a_pool(line: str, problem: str) -> None:
    key = line.split(":")[0]
    text = BASE.replace(LINE, f"    {line}\n") if key == "max_instances" else f"{BASE}    {line}\n"
    found = problems_of(text)
    number = 6 if key in ("max_instances", "min_instances") else 7
    assert found == [f"{number}: pools[0].{problem}"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: gpu", "name: 'g p u'", f"3: pools[0].name: {NAME} 'g p u'"),
        ("name: gpu", "name: ../x", f"3: pools[0].name: {NAME} '../x'"),
        ("name: gpu", "name: ''", f"3: pools[0].name: {NAME} ''"),
        ("name: gpu", "name: 7", "3: pools[0].name: expected text, got 7"),
        ("name: gpu", "#", "4: pools[0]: missing key 'name' (what the pool is called)"),
        ("    scheduler: {type: queue}\n", "", "3: pools[0]: missing key 'scheduler' (where its demand comes from)"),
        ("{type: queue}", "queue", f"4: pools[0].scheduler: {TYPE}; got 'queue'"),
        ("{type: queue}", "{}", f"4: pools[0].scheduler: {TYPE}"),
        ("{type: queue}", "{type: 3}", f"4: pools[0].scheduler: {TYPE}; got 3"),
        ("type: queue", "type: qeue", "4: pools[0].scheduler.type: unknown scheduler 'qeue', did you mean 'queue'?"),
        ("{type: queue}", "{type: slurm}", "4: pools[0].scheduler.type: unknown scheduler 'slurm', installed: queue"),
        (
            "type: cloud",
            "type: azure",
            "5: pools[0].provider.type: unknown provider 'azure', installed: bench, broken, cloud, odd",
        ),
        (
            "type: cloud",
            "type: broken",
            "5: pools[0].provider.type: provider 'broken' (config.no_such_module:plugin) cannot be imported: "
            "ModuleNotFoundError: No module named 'config.no_such_module'",
        ),
        (
            "type: cloud",
            "type: odd",
            "5: pools[0].provider.type: provider 'odd' (config.sample_plugins:not_a_plugin) is not a ProviderPlugin",
        ),
        (", region: north", "", "5: pools[0].provider: missing key 'region' (where instances are launched)"),
        (", region: north", ", region: mars", "5: pools[0].provider: CloudSettings cannot read this: KeyError: 'mars'"),
        (
            "region: north",
            "region: north, disk: {sise_gib: 3}",
            "5: pools[0].provider.disk.sise_gib: unknown key 'sise_gib', did you mean 'size_gib'?",
        ),
        (
            "region: north",
            "region: north, disk: {kind: tape}",
            "5: pools[0].provider.disk.kind: expected 'ssd' or 'hdd', got 'tape'",
        ),
        ("region: north", "region: north, disk: big", "5: pools[0].provider.disk: expected a mapping, got 'big'"),
        ("region: north", "region: north, tags: {a: 1}", "5: pools[0].provider.tags.a: expected text, got 1"),
        ("region: north", "region: north, pins: 3", "5: pools[0].provider.pins: expected a list"),
        ("cluster: team-a\n", "", "1: missing key 'cluster' (the owner tag on what is launched), needed by pool 'gpu'"),
        ("cluster: team-a", "cluster: a b", f"1: cluster: {NAME} 'a b'"),
        ("cluster: team-a", "cluster: team-a\nclustr: b", "2: clustr: unknown key 'clustr', did you mean 'cluster'?"),
        ("cluster: team-a", "cluster: a\ncluster: b", "2: duplicate key 'cluster', already on line 1"),
        ("cluster: team-a", "cluster: a\n3: b", "2: expected a key that is text, got '3'"),
        ("cluster: team-a", "cluster: a\n? [x]\n: b", "2: expected a key that is text, got a list or mapping"),
        ("cluster: team-a", "cluster: !env TEAM", "1: the tag '!env' is not supported"),
        ("cluster: team-a", "cluster: &a [*a]", "1: an alias stands inside of what it names"),
        (
            "cluster: team-a",
            "cluster: a\nstore: {url: books}",
            "2: store.url: expected the URL of a database: sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE, "
            "got 'books'",
        ),
        ("cluster: team-a", "cluster: a\nstore: {url: 3}", "2: store.url: expected text, got 3"),
        ("cluster: team-a", "cluster: a\nstore: x.db", "2: store: expected a mapping, got 'x.db'"),
        ("cluster: team-a", "cluster: a\nstore: {keep: 0d}", "2: store.keep: expected more than 0, got '0d'"),
        (
            "cluster: team-a",
            "cluster: a\nlog: {level: loud}",
            "2: log.level: expected 'debug', 'info', 'warning' or 'error', got 'loud'",
        ),
    ],
)  # fmt: skip
def test_something_else_that_is_wrong(old: str, new: str, problem: str) -> None:
    assert old in BASE
    assert problem in problems_of(BASE.replace(old, new))
    if "alias" not in problem and "tag '" not in problem and "text, got" not in problem:
        assert len(problems_of(BASE.replace(old, new))) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", " is empty, expected a configuration"),
        ("# nothing\n", " is empty, expected a configuration"),
        ("null", "1: expected a mapping of keys, got nothing"),
        ("- 1", "1: expected a mapping of keys, got a list"),
        ("text", "1: expected a mapping of keys, got 'text'"),
        ("pools: [", f"1: malformed YAML: {CUT}"),
        ("a: 1\n b: 2", "2: malformed YAML: mapping values are not allowed here"),
        (
            "pools: []\n--- {}",
            "2: malformed YAML: but found another document, expected a single document in the stream",
        ),
        ("a: 1\nb: \x01", "2: malformed YAML: character U+0001 is not allowed"),
        ("- " * 1000, " malformed YAML: it nests too deep"),
        ("{}", "1: missing key 'pools' (the resource pools)"),
        ("pools: []", "1: pools: expected at least 1 entry, got an empty list"),
        ("pools: 3", "1: pools: expected a list, got 3"),
        ("pools: {name: x}", "1: pools: expected a list, got a mapping"),
        ("pools: [3]", "1: pools[0]: expected a mapping of keys, got 3"),
    ],
)
def test_a_file_that_is_no_configuration(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_aliases_cannot_blow_a_file_up() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert problems_of("\n".join(rows)) == ["1: has more than 200000 values"]


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    text = dedent("""\
        pools:
          - name: a
            scheduler: {type: nothing}
            provider: {type: cloud, regin: north}
            min_instances: 9
          - name: a
            max_idle_agent_period: 20
        loging: {}
    """)
    assert problems_of(text) == [
        "1: missing key 'cluster' (the owner tag on what is launched), needed by pool 'a'",
        "2: pools[0].max_instances: expected at least min_instances (9), got 5 (the default)",
        "3: pools[0].scheduler.type: unknown scheduler 'nothing', installed: queue",
        "4: pools[0].provider: missing key 'region' (where instances are launched)",
        "4: pools[0].provider.regin: unknown key 'regin', did you mean 'region'?",
        "6: pools[1]: missing key 'scheduler' (where its demand comes from)",
        "6: pools[1]: missing key 'provider' (what launches its instances)",
        "6: pools[1].name: duplicate pool name 'a', already on line 2",
        "7: pools[1].max_idle_agent_period: expected a duration with a unit like 90s, 20m or 1h30m, got 20",
        "8: loging: unknown key 'loging', did you mean 'log'?",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "api_key: [hunter2]",
        "api_key: {hunter2: hunter2}",
        "api_key: hunter2, region: 3",
        "pins: [hunter2]",
        "passwords: {db: [hunter2]}",
        "proxy: [hunter2]",
        "region: 'http://me:hunter2@host', disk: 'http://me:hunter2@host'",
    ],
)
def test_no_secret_is_told(line: str) -> None:
    text = BASE.replace("region: north", line)
    assert all("hunter2" not in problem for problem in problems_of(text))


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    found = problems_of('"\\e[31m\\n": 1\npools: [{name: "\\ud800"}]')
    assert all(line.isprintable() for line in found)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"pools:\n  - name: \xff\n")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    cases = {
        tmp_path / "none.yaml": f"{tmp_path}/none.yaml: no such file",
        tmp_path: f"{tmp_path}: is a directory, expected a file",
        binary: f"{binary}:2: is not UTF-8 text (byte 17)",
        large: f"{large}: is larger than 4 MiB, expected a configuration",
        binary / "inside": f"{binary}/inside: cannot be read: Not a directory",
        Path("a\0b"): "a\\x00b: cannot be read: embedded null byte",
    }
    for path, expected in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value) == expected
