"""Mutants of a toy are put into a copy, and found by the seeds that break."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_project as toy
from mutants.child import ENDLESS as TAKES_TOO_LONG
from mutants.child import RAISED
from mutants.hunt import DIFFERS, Hunt, StoppedError
from mutants.mutant import Mutant, NoLongerAppliesError

from slotsmith.clock import SystemClock

SEEDS = range(8)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return toy.make_project(tmp_path)


@pytest.fixture
def hunt(project: Path) -> Iterator[Hunt]:
    with Hunt(project, SystemClock()) as hunt:
        yield hunt


def test_the_first_seed_that_breaks_is_told_with_its_promise(hunt: Hunt) -> None:
    ticks: list[int] = []
    verdict = hunt.hunt(toy.EARLY, SEEDS, ticks.append)
    assert (verdict.seed, verdict.invariant, verdict.text) == (3, "I3", "seed 3")
    assert not verdict.survived
    assert ticks == [1, 2, 3, 4]


def test_a_mutant_that_no_seed_finds_survives(hunt: Hunt) -> None:
    verdict = hunt.hunt(toy.HARMLESS, SEEDS, lambda _: None)
    assert verdict.survived
    assert verdict.tried == SEEDS.stop


def test_a_seed_that_breaks_without_the_mutant_does_not_count(project: Path) -> None:
    world = project / "src" / "slotsmith" / "simulation" / "world.py"
    world.write_text(world.read_text().replace("KNOWN = ()", "KNOWN = (1, 3)"))
    with Hunt(project, SystemClock()) as hunt:
        assert hunt.hunt(toy.EARLY, SEEDS, lambda _: None).seed == 4


@pytest.mark.parametrize(
    ("mutant", "invariant", "text"),
    [(toy.RAISING, RAISED, "AttributeError"), (toy.DYING, RAISED, "no more")],
    ids=["exception", "death"],
)
def test_failing_is_a_way_of_being_found(hunt: Hunt, mutant: Mutant, invariant: str, text: str) -> None:
    verdict = hunt.hunt(mutant, SEEDS, lambda _: None)
    assert (verdict.seed, verdict.invariant) == (0, invariant)
    assert text in verdict.text


def test_going_round_in_circles_is_found(hunt: Hunt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTSMITH_SECONDS_PER_SEED", "0.2")
    assert hunt.hunt(toy.ENDLESS, SEEDS, lambda _: None).invariant == TAKES_TOO_LONG


def test_an_order_that_comes_from_hashes_is_found_by_a_second_run(hunt: Hunt) -> None:
    verdict = hunt.hunt(toy.DISORDERED, SEEDS, lambda _: None)
    assert (verdict.seed, verdict.invariant) == (0, DIFFERS)
    assert hunt.hunt(toy.toy_mutant("as-before", "sorted(", "sorted(", differs=True), SEEDS, lambda _: None).survived


def test_the_source_itself_is_left_alone(hunt: Hunt, project: Path) -> None:
    before = (project / toy.EARLY.path).read_text()
    hunt.hunt(toy.EARLY, SEEDS, lambda _: None)
    assert (project / toy.EARLY.path).read_text() == before


def test_changes_during_the_hunt_do_not_matter(hunt: Hunt, project: Path) -> None:
    (project / toy.EARLY.path).write_text("")
    assert hunt.hunt(toy.EARLY, SEEDS, lambda _: None).seed == 3


@pytest.mark.parametrize("old", ["NOT_THERE", "=", ""])
def test_a_text_that_is_not_there_once_is_an_error(hunt: Hunt, old: str) -> None:
    with pytest.raises(NoLongerAppliesError):
        hunt.hunt(toy.toy_mutant("stale", old, "x"), SEEDS, lambda _: None)


def test_stopping_leaves_no_verdict(hunt: Hunt) -> None:
    timer = threading.Timer(0.5, hunt.stop)
    timer.start()
    with pytest.raises(StoppedError):
        hunt.hunt(toy.ENDLESS, SEEDS, lambda _: None)
    timer.join()
