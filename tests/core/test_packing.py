"""The packer by itself: the order of filling, and that making entries fewer changes nothing."""

import pytest

from slotsmith.core import packing
from slotsmith.core.packing import Grid, Need, Packing, Pile, Placement
from slotsmith.model.resources import Resources


@pytest.fixture(autouse=True)
def _compact_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_GROWTH", 0)


def pile(room: int, agents: int = 1, *, whole: bool = False, rank: int = 0) -> Pile:
    return Pile((room, 0), agents, whole, rank, kind=0)


def place(on: Packing, size: int, count: int, *, on_new: bool = True) -> Placement:
    return on.place(Need((size, 0)), count, None, on_new=on_new)


def test_existing_and_new_agents_with_equally_much_left_stay_apart() -> None:
    tight = Packing((4, 0), [pile(4)])
    assert place(tight, 3, 2) == Placement(on_existing=1, on_open=0, placed=2, per_new=1)
    assert place(tight, 1, 2, on_new=False) == Placement(on_existing=1, on_open=0, placed=1, per_new=0)
    assert place(tight, 1, 2) == Placement(on_existing=0, on_open=1, placed=2, per_new=4)
    assert (tight.opened, tight.taken) == (2, [1])


def test_full_agents_are_forgotten_and_counts_stay_right() -> None:
    tight = Packing((4, 0), [pile(2, 3), pile(4, 2, whole=True)])
    assert place(tight, 2, 3).on_existing == 3
    assert place(tight, 2, 3).on_existing == 3
    assert place(tight, 2, 3) == Placement(on_existing=1, on_open=0, placed=3, per_new=2)
    assert place(tight, 1, 9) == Placement(on_existing=0, on_open=0, placed=9, per_new=4)
    assert place(tight, 1, 9) == Placement(on_existing=0, on_open=3, placed=9, per_new=4)
    assert (tight.opened, tight.taken) == (6, [3, 2])


def test_an_allowance_is_never_exceeded() -> None:
    tight = Packing((4, 0), [], allowance=2)
    assert place(tight, 3, 5) == Placement(on_existing=0, on_open=0, placed=2, per_new=1)
    assert place(tight, 2, 5).placed == 0
    assert tight.holds(Need((1, 0)), 10, None, on_new=True) == 2
    assert tight.opened == 2


def test_agents_opened_for_a_part_of_the_needs() -> None:
    placement = Placement(on_existing=3, on_open=1, placed=11, per_new=4)
    assert [placement.opened_for(0, last) for last in (0, 4, 5, 8, 9, 11)] == [0, 0, 1, 1, 2, 2]
    assert placement.opened_for(5, 8) == 0
    assert placement.opened_for(5, 9) == 1


def test_what_nobody_asks_for_is_left_out() -> None:
    grid = Grid([Resources(1), Resources(2, 1.0)], [Resources(4, 8.0, 64.0, (("tpu", 1.0),))])
    assert grid.room(Resources(4, 8.0, 64.0), 10) == grid.room(Resources(4, 8.0, 16.0), 20)
    assert grid.room(Resources(4, 8.0), 0) != grid.room(Resources(4, 7.0), 0)


def test_amounts_of_any_size() -> None:
    for size in (1e-6, 1.0, 1e3, 6.4e10, 1e18):
        whole = Resources(0, extras=(("x", size),))
        third = Resources(0, extras=(("x", size / 3),))
        grid = Grid([third], [whole])
        assert Need(grid.need(third)).times_in(grid.room(whole, 100)) == 3
        assert Need(grid.need(whole)).times_in(grid.room(whole, 100)) == 1
        assert Need(grid.need(whole * 2)).times_in(grid.room(whole, 100)) == 0
