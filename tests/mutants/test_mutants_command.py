"""The command line: names, exit status, what is kept between runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy_project as toy
from mutants.__main__ import RESULTS, main

KNOWN = (toy.EARLY, toy.LATE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return toy.make_project(tmp_path)


def test_all_found_is_success(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "12"], project, KNOWN) == 0
    told = capsys.readouterr().out
    assert "2 of 2 found" in told
    assert "broken-early" in told
    assert "I3, W1" in told


def test_a_survivor_is_a_failure_and_more_seeds_go_on_from_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seeds", "5"], project, KNOWN) == 1
    assert "survived 5 seeds" in capsys.readouterr().out
    assert main(["--seeds", "12"], project, KNOWN) == 0


def test_what_is_known_is_not_run_again(project: Path) -> None:
    assert main(["--seeds", "12"], project, KNOWN) == 0
    results = project / RESULTS
    kept = json.loads(results.read_text())
    marked = {key: {**each, "text": "kept"} for key, each in kept.items()}
    results.write_text(json.dumps(marked))
    assert main(["--seeds", "12"], project, KNOWN) == 0
    assert json.loads(results.read_text()) == marked
    assert main(["--seeds", "12", "--fresh"], project, KNOWN) == 0
    assert "kept" not in results.read_text()


def test_another_source_is_run_again(project: Path) -> None:
    assert main(["--seeds", "5", "broken-early"], project, KNOWN) == 0
    path = project / toy.EARLY.path
    path.write_text(path.read_text() + "# another\n")
    before = json.loads((project / RESULTS).read_text())
    assert main(["--seeds", "5", "broken-early"], project, KNOWN) == 0
    after = json.loads((project / RESULTS).read_text())
    assert len(after) == 1
    assert before.keys() != after.keys()


def test_only_what_is_named_is_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5", "broken-early"], project, KNOWN) == 0
    assert "broken-late" not in capsys.readouterr().out


def test_the_list_runs_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"], project, KNOWN) == 0
    assert "broken-late" in capsys.readouterr().out
    assert not (project / RESULTS).exists()


def test_an_unknown_name_is_bad_usage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"], project, KNOWN) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_mutant_that_does_not_apply_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], project, (*KNOWN, toy.STALE)) == 1
    assert "stale" in capsys.readouterr().err
    assert main([], project, (toy.toy_mutant("broken-syntax", "ENDS = True", "ENDS ="),)) == 1
    assert "no Python" in capsys.readouterr().err
