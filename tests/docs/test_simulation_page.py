"""What `docs/simulation.md` says is so."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from docs.pages import EXAMPLES, blocks, literal, page, rows, section
from slotsmith.cli import main
from slotsmith.cli.app import app
from slotsmith.config import public_view
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType
from slotsmith.simulation.trace import COLUMNS, read_trace

PAGE = page("docs/simulation.md")
RUN = ["simulate", "--config", str(EXAMPLES / "simulate.yaml"), "--trace", str(EXAMPLES / "trace.csv")]
SWEEP = "max_idle_agent_period=1m,5m,20m,1h"


def shown_output(heading: str) -> list[str]:
    """The words of each line of the output that stands under a heading; widths and rules are the terminal's affair."""
    (block,) = blocks(section(PAGE, heading), "text")
    return words(block.text)


def words(text: str) -> list[str]:
    lines = (" ".join(line.replace("─", " ").split()) for line in text.splitlines())
    # The digest changes with every change of the program.
    return [line for line in lines if line and not line.startswith("digest ")]


def test_the_configuration_that_is_shown_is_the_file() -> None:
    (shown,) = [block for block in blocks(PAGE, "yaml") if block.title]
    assert shown.title == "docs/examples/simulate.yaml"
    assert shown.text == (EXAMPLES / "simulate.yaml").read_text()


def test_the_columns_are_those_of_a_trace() -> None:
    told = [literal(row[0]) for row in rows(section(PAGE, "### The trace")) if row[0] != "Column"]
    assert tuple(told) == COLUMNS
    assert len(read_trace(EXAMPLES / "trace.csv")) > 50


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (SimulatedSettings, {"type": "simulated", "instance_types": [{"name": "x"}]}),
        (SimulatedType, {"name": "x"}),
    ],
)
def test_every_key_is_told_with_its_default(model: type[BaseModel], given: dict[str, Any]) -> None:
    table = rows(section(PAGE, "### The simulated cloud"))
    told = {literal(row[0]): row[2].strip("`") for row in table if row[0] != "Key"}
    view = public_view(model.model_validate(given))
    for name in model.model_fields:
        value = view.get(name)
        default = "required" if name in given else "none" if value in (None, "") else value
        assert told[name] == (f"{default:g}" if isinstance(default, float) else str(default)), name
    assert told.keys() == SimulatedSettings.model_fields.keys() | SimulatedType.model_fields.keys()


def test_every_option_is_told() -> None:
    command: Any = typer.main.get_command(app)
    known = {option for parameter in command.commands["simulate"].params for option in parameter.opts}
    text = section(PAGE, "### The options")
    told = {part.strip("`").split()[0] for row in rows(text) for part in row[0].split(", ") if "`" in part}
    assert told | {"--config", "-c", "--trace", "--help", "-h"} == known | {"--help", "-h"}


def test_the_figures_are_those_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    told = [literal(row[0]) for row in rows(section(PAGE, "## Read the figures")) if row[0] != "Key"]
    assert told == list(figures)


def test_the_run_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    assert shown_output("## Replay a trace") == words(capsys.readouterr().out)


@pytest.mark.usefixtures("in_this_process")
def test_the_sweep_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--sweep", SWEEP]) == 0
    assert shown_output("## Sweep a parameter") == words(capsys.readouterr().out)
