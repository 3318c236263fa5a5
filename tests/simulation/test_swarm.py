"""The swarm: many worlds, each with its own mix of faults, in which every promise must hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slotsmith.simulation.swarm import Summary, main, run_chunk, swarm

SEEDS = 300
FOUND = {
    628: "the program died while the disk hung, so that nothing of what it had seen could be on record",
    2730: "a view that came while a pass was being written waited for its end before the pause began",
    2765: "a view came while the program was stopping, which decides nothing more",
    3162: "an instance that is being reclaimed counts for nothing, also when its agent has come back",
    4089: "a headroom cannot be kept where the maximum does not leave room for it",
    4595: "an idle agent of an instance that stops as far as the last listing tells is on its way out",
    8462: "an agent that a view had as late as the first listing that lacked its instance",
    9085: "that there is room again went on record together with the next launch",
    9659: "an instance was stopped and started again before either could be written",
    10594: "an idle period that is learned may be longer than the one that is set, and tasks wait for its end",
    11847: "an agent is drained anew before each repeat of a termination that the cloud ignores",
    12033: "of an instance that came although its launch was refused only the cloud's clock tells since when",
    12805: "by the cloud's clock an instance was launched later than it was first listed",
    13041: "an agent of a request that was cancelled came after the scheduler had said that there is none",
    15999: "what takes the place of another for its price was launched while instances ended without joining",
    17338: "a pass counts the consistency window from when it takes a listing in, not from when that came",
}
"""Worlds that have found a fault, also of a check, and what it was."""
FEW = 2
"""Seeds in a chunk, where a test looks at more than one."""


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.simulation.swarm.CHUNK", FEW)


@pytest.mark.timeout(600)
def test_every_promise_holds_in_every_world() -> None:
    summary = swarm(0, SEEDS)
    assert summary.seeds == SEEDS
    assert summary.failures == (), "\n".join(f"seed {seed}: {text}" for seed, _, text in summary.failures)
    assert summary.generations > SEEDS


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_world_has_found_stays_mended(seed: int) -> None:
    assert run_chunk((seed, 1)).failures == []


@pytest.mark.usefixtures("_small_chunks")
def test_the_results_are_the_same_side_by_side() -> None:
    assert swarm(0, 2 * FEW + 1, processes=2).digest == swarm(0, 2 * FEW + 1, processes=1).digest


@pytest.mark.usefixtures("_small_chunks")
def test_a_swarm_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results.jsonl"
    first = swarm(0, FEW, processes=1, results=results)
    # The end of a line that was being written when the machine went off.
    results.write_text(results.read_text() + '{"first": 99')
    ran: list[tuple[int, int]] = []

    def run(bounds: tuple[int, int]) -> object:
        ran.append(bounds)
        return run_chunk(bounds)

    monkeypatch.setattr("slotsmith.simulation.swarm.run_chunk", run)
    both = swarm(0, FEW + 2, processes=1, results=results)
    assert ran == [(FEW, 2)]
    assert both.seeds == first.seeds + 2


def test_results_of_other_code_are_not_kept(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps({"code": "another"}) + '\n{"first": 0, "count": 2, "events": 123456789}\n')
    assert swarm(0, 2, processes=1, results=results).events < 123456789


def test_the_command_says_what_was_exercised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "4", "--processes", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("4 seeds, ")
    assert "no promise was broken" in told


def test_what_was_never_seen_fails_a_large_swarm() -> None:
    small = swarm(0, 2, processes=1)
    assert small.missing == ()
    large = Summary(1000, 1, 1.0, 1, small.coverage, (), "")
    assert "fault clock_jump" in large.missing or len(large.missing) > 10


@pytest.mark.parametrize("bounds", ["0", "5:5", "9:3", "x"])
def test_seeds_that_are_none_are_refused(bounds: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--seeds", bounds])
    assert error.value.code == 2
