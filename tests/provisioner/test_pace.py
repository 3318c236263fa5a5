"""How soon pools pass again: at once in a quiet program, seldom in a busy one, and never later than promised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.provisioner.pace import GATHER, LONGEST_GATHER, Pace


def test_a_quiet_program_gathers_as_little_as_can_be() -> None:
    pace = Pace()
    assert pace.gather(1000.0) == GATHER
    pace.passed(0.0005, 1000.0)
    assert pace.gather(1000.0) == GATHER


def test_one_pool_waits_for_what_the_passes_of_all_take() -> None:
    pace = Pace()
    for number in range(200):
        pace.passed(0.0005, 1000.0 + number * 0.005)
    assert pace.gather(1001.0) == pytest.approx(8 * 0.1 * (1 - 1 / 2.718), rel=0.01), "a tenth of the last second"
    assert pace.gather(1010.0) == GATHER, "it is over"


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=20), st.floats(-1e6, 1e6))
def test_no_pool_waits_for_longer_than_promised_whatever_the_clock_does(
    passes: list[tuple[float, float]], now: float
) -> None:
    pace = Pace()
    for took, at in passes:
        pace.passed(took, at)
    assert GATHER <= pace.gather(now) <= LONGEST_GATHER
