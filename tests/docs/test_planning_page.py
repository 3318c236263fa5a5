"""What `docs/planning.md` says is so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer.main

from docs.pages import EXAMPLES, ROOT, blocks, literal, page, rows, section
from slotsmith.cli import main
from slotsmith.cli.app import app
from slotsmith.cli.plan_inputs import CATALOG_COLUMNS, FLEET_COLUMNS, TASK_COLUMNS

PAGE = page("docs/planning.md")
FILES = {"--tasks": "tasks.csv", "--catalog": "catalog.csv", "--fleet": "fleet.csv"}
RUN = ["plan", *(word for option, name in FILES.items() for word in (option, str(EXAMPLES / name)))]


def words(text: str) -> list[str]:
    """The words of each line; widths are the terminal's affair, and the time is the machine's."""
    lines = (" ".join(line.replace("─", " ").split()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("search ")]


def test_the_files_that_are_shown_are_the_examples() -> None:
    shown = {block.title: block.text for block in blocks(PAGE, "text") if block.title}
    assert shown == {f"docs/examples/{name}": (EXAMPLES / name).read_text() for name in FILES.values()}


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("### Tasks", TASK_COLUMNS),
        ("### The catalogue", CATALOG_COLUMNS),
        ("### What exists", FLEET_COLUMNS),
    ],
)
def test_every_column_is_told(heading: str, columns: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    told = [(literal(row[0]), row[1]) for row in rows(section(PAGE, heading)) if row[0] != "Column"]
    needed, optional = columns
    assert told == [(name, "yes") for name in needed] + [(name, "") for name in optional]


def test_every_option_is_told() -> None:
    command = typer.main.get_command(app).commands["plan"]  # type: ignore[attr-defined]
    known = [option for parameter in command.params for option in parameter.opts]
    told = [literal(row[0]).split()[0] for row in rows(section(PAGE, "## The options")) if row[0] != "Option"]
    assert told == [option for option in known if option not in ("--help", "-h")]


def test_every_key_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--json", "--assignments", "--explain", "train"]) == 0
    told = [literal(row[0]) for row in rows(section(PAGE, "## The JSON")) if row[0] != "Key"]
    assert told == list(json.loads(capsys.readouterr().out))


def outputs() -> Iterator[tuple[list[str], str]]:
    """Each command of the page that is followed by what it says."""
    shown = [block for block in blocks(section(PAGE, "## An example")) if not block.title]
    for command, said in zip(shown[::2], shown[1::2], strict=True):
        yield command.text.split()[1:], said.text


@pytest.mark.parametrize(("arguments", "said"), list(outputs()))
def test_the_outputs_that_are_shown(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highspy")
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 0
    assert words(said) == words(capsys.readouterr().out)
