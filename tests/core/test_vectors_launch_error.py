"""The model of the reference's launch error passes the reference's own cases, and those recorded from it."""

from collections import Counter

import pytest
from vector_files import vector_cases

from slotsmith.core.reference import StickyError


def run(name: str) -> Counter[str]:
    """Run every case of a file, and count what was compared."""
    checked = Counter[str]()
    for case in vector_cases(name):
        held = StickyError(case["timeout"], case["retries"])
        for number, step in enumerate(case["steps"]):
            where = f"{case['name']}, step {number}"
            if "set" in step:
                held, shown = held.set(step["at"], step["set"])
                checked["set"] += 1
                if "expect" in step:
                    assert shown == step["expect"], where
                    checked["compared"] += 1
            else:
                assert held.get(step["at"]) == step["get"], where
                checked["compared"] += 1
    return checked


def test_sticky_error() -> None:
    assert run("sticky_error") == {"compared": 121, "set": 113}


def test_golden_sticky() -> None:
    assert run("golden_sticky") == {"compared": 1068, "set": 644}


@pytest.mark.parametrize(("timeout", "retries", "same_as"), [(-5, 0, (0, 0)), (30, -2, (30, 0))])
def test_negative_parameters_act_as_zero(timeout: int, retries: int, same_as: tuple[int, int]) -> None:
    one, other = StickyError(timeout, retries), StickyError(*same_as)
    for at in (0, 10, 40, 41):
        one, shown = one.set(at, "no")
        other, expected = other.set(at, "no")
        assert shown == expected
