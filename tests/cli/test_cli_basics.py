"""Version, help, completion, and how every command ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.command_line import COMMAND, CommandLine
from slotsmith import __version__
from waiting import PATIENCE

VECTORS = Path(__file__).parent.parent / "vectors"
COMMANDS = ["run", "status", "explain", "down", "adopt", "export", "replay", "simulate", "advise"]
COMMANDS += ["config", "config check", "config show"]


def test_the_version(slotsmith: CommandLine) -> None:
    said = slotsmith("--version")
    assert (said.status, said.out, said.err) == (0, f"slotsmith {__version__}\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(slotsmith: CommandLine, command: str, option: str) -> None:
    said = slotsmith(*command.split(), option)
    assert said.status == 0
    assert said.err == ""
    assert said.out.startswith(f"Usage: slotsmith {command}".rstrip())
    assert "-h, --help" in said.out


def test_the_help_names_every_command_and_what_it_does(slotsmith: CommandLine) -> None:
    listed = slotsmith("-h").out.split("Commands:")[1]
    for command in (
        "demo",
        "run",
        "status",
        "explain",
        "down",
        "adopt",
        "export",
        "replay",
        "simulate",
        "advise",
        "config",
    ):
        assert f"\n  {command} " in listed
    assert "..." not in listed


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_without_a_command_there_is_help_and_a_complaint(slotsmith: CommandLine, arguments: list[str]) -> None:
    said = slotsmith(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("Usage: slotsmith")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["replya"], "slotsmith: No such command 'replya'. Did you mean 'replay'"),
        (["run", "--cofig", "x"], "slotsmith: No such option: --cofig"),
        (["run", "extra"], "slotsmith: Got unexpected extra argument"),
        (["replay"], "slotsmith: Missing argument 'CASES.json'. (see slotsmith replay --help)"),
        (["run", "--config"], "slotsmith: Option '--config' requires an argument."),
        (["explain", "--last", "0"], "slotsmith: Invalid value for '--last'"),
        (["explain", "--last", "x"], "slotsmith: Invalid value for '--last'"),
    ],
)
def test_bad_usage_is_one_line(slotsmith: CommandLine, arguments: list[str], line: str) -> None:
    said = slotsmith(*arguments)
    assert (said.status, said.out, len(said.errors)) == (2, "", 1)
    assert said.errors[0].startswith(line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(slotsmith: CommandLine, shell: str) -> None:
    words = {
        "bash": {"COMP_WORDS": "slotsmith re", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "slotsmith re"},
        "fish": {"_TYPER_COMPLETE_ARGS": "slotsmith re", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    said = slotsmith.apart(env={"_SLOTSMITH_COMPLETE": f"complete_{shell}", **words})
    assert said.status == 0
    assert "replay" in said.out
    assert "status" not in said.out


def test_the_completion_script_can_be_shown(slotsmith: CommandLine) -> None:
    said = slotsmith.apart("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert said.status == 0
    assert "_SLOTSMITH_COMPLETE=complete_bash" in said.out


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = subprocess.Popen(
        [*COMMAND, "replay", str(VECTORS / "golden_decider.json"), "--rules", "reference", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stderr is not None
    assert command.stdout.read(11) == '{"cases": ['
    command.stdout.close()
    assert command.stderr.read() == ""
    assert command.wait(PATIENCE) == 1


def test_an_interrupt_is_quiet(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slotsmith.core.replay.load_cases", interrupted)
    said = slotsmith("replay", "cases.json")
    assert (said.status, said.out, said.err) == (130, "", "")


def test_a_fault_of_the_program_is_not_hidden(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("slotsmith.core.replay.load_cases", broken)
    with pytest.raises(ZeroDivisionError):
        slotsmith("replay", "cases.json")


def test_python_runs_the_package(slotsmith: CommandLine) -> None:
    assert slotsmith.apart("--version").out == f"slotsmith {__version__}\n"


def test_the_version_needs_nothing_heavy() -> None:
    code = "import sys; from slotsmith.cli import main; main(['--version']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"sqlalchemy", "pydantic", "numpy", "ruamel", "structlog", "distributed", "alembic", "rich", "psutil"}
    assert heavy.isdisjoint(loaded)


def test_replay_tells_cases_as_json_and_as_a_table(slotsmith: CommandLine) -> None:
    path = VECTORS / "golden_decider.json"
    said = slotsmith("replay", path, "--rules", "reference", "--json")
    assert said.status == 0
    cases = json.loads(path.read_text())["cases"]
    told = json.loads(said.out)["cases"]
    assert [case["name"] for case in told] == [case["name"] for case in cases]
    table = slotsmith("replay", path).out
    assert cases[0]["name"] in table
    assert "terminate" in table
