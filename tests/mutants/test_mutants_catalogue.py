"""The mutants of our own source: they apply, differ, and leave no weakness out without saying why."""

from __future__ import annotations

import ast
import re

import pytest
from mutants.__main__ import ROOT
from mutants.catalogue import ALL
from mutants.mutant import Mutant

import mutants

# By what they cost, without the traps of configuration: blocks, money, waiting, kills, books.
COSTLY = (1, 4, 5, 7, 9, *range(14, 18), 18, 20, 21, 16, *range(24, 36), 37, 38, 40, 41, 42, 43, 45, 46, 49)
COSTLY += (51, 52, 53, 54, 55, 57, 59, 62, 63, 64, 66, 73)


def test_names_are_kebab_case_and_differ() -> None:
    names = [mutant.name for mutant in ALL]
    assert len(set(names)) == len(names) >= 45
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in names)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_applies_and_is_python_that_does_something_else(mutant: Mutant) -> None:
    before = (ROOT / mutant.path).read_text(encoding="utf-8")
    after = mutant.mutated(ROOT)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_says_what_it_breaks_and_stands_for_something(mutant: Mutant) -> None:
    assert re.fullmatch(r"[A-Z].*\.", mutant.breaks)
    assert mutant.stands_for
    assert all(re.fullmatch(r"I([1-9]|1[0-2])|W\d{1,2}", each) for each in mutant.stands_for)


def test_every_costly_weakness_has_a_mutant_or_a_reason() -> None:
    brought_back = {each for mutant in ALL for each in mutant.stands_for}
    left_out = set(re.findall(r"^\| (W\d+) \| \w", mutants.__doc__ or "", re.MULTILINE))
    assert {f"W{number}" for number in COSTLY} <= brought_back | left_out
    assert not left_out & brought_back
