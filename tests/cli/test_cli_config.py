"""`config check` and `config show`."""

import importlib.metadata
import json
from io import StringIO

import pytest
from ruamel.yaml import YAML

from cli.command_line import CommandLine
from config.sample_plugins import points
from slotsmith.config import plugins

TEXT = """\
cluster: team-a
store: {url: "sqlite:///x.db"}
pools:
  - name: gpu
    scheduler: {type: push}
    provider: {type: cloud, region: north, api_key: hunter2, passwords: {db: hunter2}, proxy: "http://me:hunter2@p"}
  - name: cpu
    scheduler: {type: push}
    provider: {type: local, command: "sleep 600"}
    max_idle_agent_period: 90s
"""


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that others have installed."""

    def found(*, group: str) -> list[importlib.metadata.EntryPoint]:
        more = points("provider", cloud="config.sample_plugins:cloud") if group == "slotsmith.providers" else []
        return [*importlib.metadata.entry_points(group=group), *more]

    monkeypatch.setattr(plugins, "entry_points", found)


def test_a_good_file(slotsmith: CommandLine) -> None:
    path = slotsmith.config(TEXT, "mine.yaml")
    said = slotsmith("config", "check", "--config", path)
    assert (said.status, said.err) == (0, "")
    assert said.out == f"{path}: ok, 2 pools: gpu (push on cloud), cpu (push on local)\n"


def test_the_file_may_be_named_by_the_environment(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTSMITH_CONFIG", str(slotsmith.config(TEXT, "mine.yaml")))
    assert slotsmith("config", "check").status == 0


def test_what_is_shown_is_yaml_with_defaults_and_without_secrets(slotsmith: CommandLine) -> None:
    slotsmith.config(TEXT)
    said = slotsmith("config", "show")
    assert (said.status, said.err) == (0, "")
    assert "hunter2" not in said.out
    shown = YAML(typ="safe", pure=True).load(StringIO(said.out))
    gpu, cpu = shown["pools"]
    assert list(shown) == ["cluster", "store", "log", "service", "traces", "pools"]
    assert (gpu["provider"]["api_key"], gpu["provider"]["passwords"]) == ("********", {"db": "********"})
    assert gpu["provider"]["proxy"] == "http://me:********@p"
    assert (cpu["provider"]["command"], cpu["max_instances"], cpu["max_idle_agent_period"]) == ("sleep 600", 5, "1m30s")
    assert shown["store"] == {"url": "sqlite:///x.db", "keep": "30d"}
    assert json.loads(slotsmith("config", "show", "--json").out) == shown


def test_what_is_shown_is_a_configuration(slotsmith: CommandLine) -> None:
    slotsmith.config(TEXT)
    path = slotsmith.config(slotsmith("config", "show").out, "shown.yaml")
    assert slotsmith("config", "show", "-c", path).out == path.read_text()


def test_connecting_tries_every_pool(slotsmith: CommandLine) -> None:
    slotsmith.config(TEXT)
    said = slotsmith("config", "check", "--connect")
    assert (said.status, said.out) == (2, "")
    assert said.errors == ["slotsmith: slotsmith.yaml: pools[0].provider: the credentials have expired"]


def test_connecting_to_what_is_there(slotsmith: CommandLine) -> None:
    slotsmith.config(TEXT.split("  - name: gpu")[0] + "  - name: cpu" + TEXT.split("  - name: cpu")[1])
    said = slotsmith("config", "check", "--connect")
    assert (said.status, said.err) == (0, "")
    assert not (slotsmith.directory / "x.db").exists()
