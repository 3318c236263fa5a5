"""How near to the fewest possible instances the packing comes, found by trying everything on small cases."""

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotsmith.core.demand import demand
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass


def fewest(sizes: Sequence[int], capacity: int) -> int:
    """The fewest agents that hold all sizes, by trying everything."""
    best = len(sizes)

    def search(rest: Sequence[int], rooms: tuple[int, ...]) -> None:
        nonlocal best
        if len(rooms) >= best and rest:
            return
        if not rest:
            best = min(best, len(rooms))
            return
        size = rest[0]
        for room in sorted({room for room in rooms if room >= size}):
            left = list(rooms)
            left.remove(room)
            search(rest[1:], (*left, room - size))
        search(rest[1:], (*rooms, capacity - size))

    search(sorted(sizes, reverse=True), ())
    return best


def packed(sizes: Sequence[int], capacity: int) -> int:
    tasks = [TaskClass(Resources(size)) for size in sizes]
    offering = Offering("box", Resources(capacity))
    return demand(tasks, (), (), offering, max_instances=100, max_zero_slot_tasks=0).new_instances


@given(st.integers(1, 12).flatmap(lambda top: st.tuples(st.just(top), st.lists(st.integers(1, top), max_size=9))))
@settings(max_examples=200)
def test_close_to_the_fewest_possible(capacity_and_sizes: tuple[int, list[int]]) -> None:
    capacity, sizes = capacity_and_sizes
    best = fewest(sizes, capacity)
    # Dósa's bound for first fit in falling order.
    assert best <= packed(sizes, capacity) <= Fraction(11, 9) * best + Fraction(6, 9)


@given(st.sampled_from([1, 2, 4, 8, 16]), st.lists(st.sampled_from([1, 2, 4, 8, 16]), max_size=9))
def test_powers_of_two_are_packed_perfectly(capacity: int, sizes: list[int]) -> None:
    fitting = [size for size in sizes if size <= capacity]
    assert packed(sizes, capacity) == math.ceil(sum(fitting) / capacity)


@pytest.mark.parametrize(
    ("sizes", "capacity", "expected"),
    [
        ([3, 3, 2], 4, 3),
        ([5, 4, 3, 2, 1], 8, 2),
        ([6, 5, 5, 4, 3, 2], 10, 3),
        ([7, 7, 3, 3, 2, 2], 8, 4),
        ([1] * 9, 8, 2),
    ],
)
def test_typical_mixes_are_packed_perfectly(sizes: list[int], capacity: int, expected: int) -> None:
    assert packed(sizes, capacity) == fewest(sizes, capacity) == expected
