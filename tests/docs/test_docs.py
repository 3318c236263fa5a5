"""What the documentation says is so: commands, configurations, numbers, names, links."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from docs.pages import EXAMPLES, PAGES, ROOT, blocks, code_spans, literal, page, rows, section
from slotsmith.cli.app import app
from slotsmith.config import (
    Config,
    ConfigError,
    LogSettings,
    PoolSettings,
    ServiceSettings,
    StoreSettings,
    public_view,
    read_config,
)
from slotsmith.config.models import ConsolidationSettings, TracesSettings, WindowSettings
from slotsmith.config.plugins import Plugins
from slotsmith.core.backoff import RETRY_RULES
from slotsmith.core.replay import parse_cases, replay
from slotsmith.model.decision import Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderSettings
from slotsmith.providers.local import LocalSettings
from slotsmith.providers.local.settings import LocalType
from slotsmith.schedulers.base import SchedulerSettings
from slotsmith.schedulers.dask import DaskSettings
from slotsmith.schedulers.polled.program import ExecSettings
from slotsmith.schedulers.polled.url import HttpSettings
from slotsmith.schedulers.push import PushSettings

BOTH = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


# Commands


def commands(text: str) -> Iterator[str]:
    """Every `slotsmith …` of a page: in code spans, and the lines of its shell blocks."""
    yield from (span for span in code_spans(text) if re.match(r"slotsmith( |$)", span))
    for block in blocks(text, "sh"):
        for line in block.text.splitlines():
            if re.match(r"slotsmith( |$)", line):
                yield re.split(r" [#>&]", line)[0]


@BOTH
def test_every_command_exists_and_takes_its_options(path: Path) -> None:
    for text in commands(path.read_text()):
        command: Any = typer.main.get_command(app)
        options = {option for parameter in command.params for option in parameter.opts}
        for word in shlex.split(text)[1:]:
            if word.startswith("-"):
                assert word in options | {"--help"}, f"{text!r} has an unknown option {word}"
            elif hasattr(command, "commands"):
                assert word in command.commands, f"{text!r} is no command"
                command = command.commands[word]
                options = {option for parameter in command.params for option in parameter.opts}


def test_every_command_is_told_in_operations() -> None:
    told = {literal(part) for row in rows(page("docs/operations.md")) for part in row[0].split(", ") if "`" in part}
    group: Any = typer.main.get_command(app)
    expected = {
        f"slotsmith {name} {inner}".rstrip()
        for name, command in group.commands.items()
        for inner in getattr(command, "commands", [""])
    }
    assert expected <= told


@BOTH
def test_every_make_target_exists(path: Path) -> None:
    text = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = {match for span in code_spans(text) for match in re.findall(r"^make ([a-z-]+)$", span)}
    named |= {
        match for block in blocks(text, "sh") for match in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)
    }
    assert named <= targets


# Configurations


@BOTH
def test_every_configuration_can_be_read(path: Path, plugins: tuple[Plugins, Plugins]) -> None:
    for number, block in enumerate(blocks(path.read_text(), "yaml")):
        assert read_config(block.text, f"{path.name} block {number}", plugins).pools


def test_the_errors_that_are_shown_are_those_that_are_given() -> None:
    text = section(page("docs/configuration.md"), "## What errors look like")
    (base,) = blocks(text, "yaml")
    tried = [(literal(line), literal(said)) for line, said, *_ in rows(text) if line != "Line"]
    # What else is installed on this machine does not matter: errors name it.
    ours = Plugins("provider", [EntryPoint("local", "slotsmith.providers.local:plugin", "slotsmith.providers")])
    theirs = Plugins("scheduler", [EntryPoint("dask", "slotsmith.schedulers.dask:plugin", "slotsmith.schedulers")])
    assert len(tried) > 5
    for line, said in tried:
        with pytest.raises(ConfigError) as caught:
            read_config(_with_line(base.text, line), "slotsmith.yaml", (ours, theirs))
        assert str(caught.value).splitlines()[0].startswith(f"slotsmith.yaml:{said}"), line


def _with_line(text: str, line: str) -> str:
    """The file with one line instead of the one that has its key, or like its key, or else at the end."""
    key = "max_instances" if line.startswith("max_inst") else line.split(":")[0]
    changed, count = re.subn(rf"^( +(?:- )?){key}:.*$", lambda match: f"{match[1]}{line}", text, flags=re.MULTILINE)
    return changed if count else f"{text}    {line}\n"


TABLES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "### `store`": (StoreSettings, {}),
    "### `log`": (LogSettings, {}),
    "### `service`": (ServiceSettings, {}),
    "### `traces`": (TracesSettings, {}),
    "## `scheduler: {type: push}`": (PushSettings, {"type": "push"}),
    "## `provider: {type: local}`": (LocalSettings, {"type": "local", "command": "x"}),
    "## Several kinds of local instances": (LocalType, {"name": "x"}),
    "## Limits by time of day": (WindowSettings, {"cron": "* * * * *", "lasts": "1h", "max_instances": 1}),
    "## `scheduler: {type: http}`": (HttpSettings, {"type": "http", "url": "http://x"}),
    "## `scheduler: {type: exec}`": (ExecSettings, {"type": "exec", "command": "x"}),
    "## Consolidation": (ConsolidationSettings, {}),
    "## `scheduler: {type: dask}`": (DaskSettings, {"type": "dask", "address": "tcp://x:1"}),
    "## A pool": (
        PoolSettings,
        {"name": "x", "scheduler": SchedulerSettings(type="x"), "provider": ProviderSettings(type="x")},
    ),
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_told_with_its_default(heading: str) -> None:
    model, required = TABLES[heading]
    told = {
        literal(row[0]): row[2].strip("`")
        for row in rows(section(page("docs/configuration.md"), heading))
        if row[0] != "Key"
    }
    view = public_view(model(**required))
    expected = {name: "required" if name in required else _written(view.get(name)) for name in model.model_fields}
    if model is WindowSettings:
        expected["max_instances"] = "none"  # one of the two limits is needed, whichever
    assert told == expected


def _written(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if value == {} else str(value)


def test_every_key_of_the_file_is_told() -> None:
    table = section(page("docs/configuration.md"), "## The file").partition("###")[0]
    assert {literal(row[0]) for row in rows(table) if row[0] != "Key"} == set(Config.model_fields)


# Numbers and names


def test_the_numbers_are_those_of_the_code() -> None:
    told = {literal(name): float(value) for name, value, _ in rows(section(page("docs/decisions.md"), "## The numbers"))
            if name != "Name"}  # fmt: skip
    assert len(told) > 15
    for name, value in told.items():
        module, _, constant = name.rpartition(".")
        assert getattr(import_module(module), constant) == value, name


def test_the_kinds_of_errors_have_the_pauses_that_are_told() -> None:
    told = {
        literal(kind): (definite == "yes", _seconds(first), _seconds(longest))
        for kind, definite, first, longest, _ in rows(
            section(page("docs/decisions.md"), "## Launch errors and back-off")
        )
        if kind != "Kind"
    }
    assert told == {kind.value: (rule.definite, rule.base, rule.cap) for kind, rule in RETRY_RULES.items()}


def test_the_guide_for_providers_tells_the_same_pauses() -> None:
    told = {
        literal(row[0]): row[2] for row in rows(section(page("docs/providers.md"), "## Errors")) if row[0] != "Kind"
    }
    assert told.keys() == set(ErrorKind)
    for kind, rule in RETRY_RULES.items():
        numbers = [float(number) for number in re.findall(r"(\d+) s\b", told[kind])]
        assert numbers == [rule.base, rule.cap], kind
        assert ("same token" in told[kind]) is not rule.definite


def _seconds(text: str) -> float:
    return float(text.removesuffix(" s"))


def test_every_reason_and_state_is_told() -> None:
    reasons = {
        literal(row[1]) for row in rows(section(page("docs/decisions.md"), "## 3. Terminating")) if row[0] != "#"
    }
    assert reasons == {reason.value for reason in Reason}
    drained = {
        literal(row[1]): row[4].startswith("yes")
        for row in rows(section(page("docs/decisions.md"), "## 3. Terminating"))
        if row[0] != "#"
    }
    assert drained == {reason.value: reason.needs_drain for reason in Reason}
    states = set(code_spans(section(page("docs/providers.md"), "### States")))
    assert {state.value for state in InstanceState} <= states


def test_the_cases_that_are_shown_can_be_replayed() -> None:
    (shown,) = [block for block in blocks(page("docs/operations.md"), "json") if '"cases"' in block.text]
    (case,) = replay(parse_cases(json.loads(shown.text)))["cases"]
    assert [tick["terminate"] for tick in case["ticks"]] == [[], [{"id": "i1", "reason": "long idle"}]]


@BOTH
def test_every_test_that_is_named_exists(path: Path) -> None:
    defined = {
        name for file in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    named = {match for span in code_spans(path.read_text()) for match in re.findall(r"^(test_\w+)$", span)}
    assert named <= defined, named - defined


@BOTH
def test_every_path_that_is_named_exists(path: Path) -> None:
    package = ROOT / "src" / "slotsmith"
    for span in code_spans(path.read_text()):
        if re.fullmatch(r"[a-z_]+(/[a-z_]+)*(/|\.py)", span) and "/" in span and span != "site/":
            assert any((base / span).exists() for base in (ROOT, package, package.parent)), span


# The examples


@BOTH
def test_what_is_shown_of_a_file_is_in_the_file(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        if block.title:
            file = ROOT / block.title
            whole = file.parent == EXAMPLES
            assert block.text.strip() == file.read_text().strip() if whole else block.text.strip() in file.read_text()


@pytest.mark.parametrize("name", ["providers", "schedulers", "connectors"])
def test_the_entry_points_that_are_shown_are_those_of_the_examples(name: str) -> None:
    (shown,) = blocks(page(f"docs/{name}.md"), "toml")
    whole = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())
    group = tomllib.loads(shown.text)["project"]["entry-points"]
    for name_of_group, points in group.items():
        assert points.items() <= whole["project"]["entry-points"][name_of_group].items()


# The parts and what they know


def test_knowledge_points_one_way() -> None:
    for part, _, knows in rows(section(page("docs/architecture.md"), "## The parts")):
        if part in ("Part", "`cli/`"):
            continue
        name = literal(part).rstrip("/")
        allowed = set(code_spans(knows))
        for file in (ROOT / "src" / "slotsmith" / name).rglob("*.py"):
            for module in _imports(file):
                short = module.removeprefix("slotsmith.")
                known = short.split(".")[0] == name or any(
                    short == each or short.startswith(f"{each}.") for each in allowed
                )
                assert known, f"{file} imports {module}"


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("slotsmith."):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("slotsmith."))


def test_every_dependency_has_its_reason() -> None:
    project: Mapping[str, Any] = tomllib.loads(page("pyproject.toml"))["project"]
    needed = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    table = rows(section(page("docs/architecture.md"), "## Dependencies"))
    told = {code_spans(row[0])[0] for row in table if row[0] != "Package"}
    assert told == {re.split(r"[<>=~]", each)[0] for each in needed}


# Links


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@BOTH
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        other = path.parent / file if file else path
        assert other.exists(), target
        assert not anchor or anchor in anchors(other.read_text()), target
