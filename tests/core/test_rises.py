"""What is counted of a demand's rises, against a slow reckoning of the same; and the fleets that are only reckoned."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from slotsmith.core.rises import (
    CELLS,
    LATELY,
    MEMORY,
    PEAK_CELLS,
    SINCE_RISE,
    Rises,
    likely,
    likely_lately,
    observed,
    of_body,
    to_body,
)
from slotsmith.core.shadows import NO_SHADOW, Moment, Shadow, followed

BOOT = 160.0
CELL = BOOT / CELLS


def steps(random: Random, count: int) -> list[tuple[float, int]]:
    """Times and levels of a demand that goes up and down."""
    now, level, found = 0.0, 5, []
    for _ in range(count):
        now += random.expovariate(1 / 25)
        level = max(0, level + random.choice((-9, -3, -1, -1, 1, 1, 3, 9)))
        found.append((round(now, 3), level))
    return found


def level_at(demand: list[tuple[float, int]], at: float) -> int:
    return [level for time, level in demand if time <= at][-1]


def highest(demand: list[tuple[float, int]], start: float, end: float) -> int:
    """The highest level in [start, end)."""
    return max([level_at(demand, start), *(level for time, level in demand if start <= time < end)])


def kind(fall: int, since: float) -> int:
    """Of a cell: by how far the demand has fallen there, and how many seconds before it rose last."""
    fallen = 0 if fall <= 0 else min(15, 1 + int(2 * math.log2(fall)))
    return 16 * sum(since > limit * BOOT for limit in SINCE_RISE) + fallen


def rose_at(demand: list[tuple[float, int]], end: float) -> float:
    """When the demand rose last before that."""
    rises = [at for (at, level), (_, before) in zip(demand[1:], demand, strict=False) if at < end and level > before]
    return rises[-1] if rises else -math.inf


@pytest.mark.parametrize("seed", range(3))
def test_rises_are_counted_as_a_slow_reckoning_does(seed: int) -> None:
    demand = [(0.0, 5), *steps(Random(seed), 90)]
    rises = Rises.begin(BOOT, 0.0, 5)
    for at, level in demand[1:]:
        rises = observed(rises, at, level)
    expected, lately = np.zeros_like(rises.counts), np.zeros_like(rises.lately)
    # The end of cell n is at (n + 1) cells.
    for number in range(rises.number - CELLS):
        end = (number + 1) * CELL
        before = level_at(demand, end - 1e-9)
        fall = highest(demand, max(0.0, (number + 1 - PEAK_CELLS) * CELL), end) - before
        rise = highest(demand, end - 1e-9, end + BOOT) - before
        age = (rises.number - number - 1 - CELLS) * CELL
        expected[kind(fall, end - rose_at(demand, end)), min(rise, 64)] += math.exp(-age / MEMORY)
        lately[min(rise, 64)] += math.exp(-age / LATELY)
    assert rises.number > 100
    np.testing.assert_allclose(rises.counts / rises.scale, expected, rtol=1e-9)
    np.testing.assert_allclose(rises.lately, lately, rtol=1e-9)


def test_what_is_likely_covers_the_share_that_was_asked_for() -> None:
    rises, random = Rises.begin(BOOT, 0.0, 0), Random(1)
    now = 0.0
    for _ in range(4000):
        # From nothing, a rise of one to ten within a boot delay, all alike; then nothing for longer than that.
        now += 1.0
        rises = observed(rises, now, random.randint(1, 10))
        now += 1.0
        rises = observed(rises, now, 0)
        now += BOOT * 1.5
        rises = observed(rises, now, 0)
    found = likely(rises, (0.0, 0.4, 0.7, 0.9, 0.999))
    assert found == sorted(found)
    assert found[-1] == 10
    assert 0 <= found[1] < found[3] <= 10
    assert likely(Rises.begin(BOOT, 0.0, 3), (0.5, 0.99)) == [0, 0]


def test_an_old_rise_counts_less_than_a_new_one() -> None:
    rises = Rises.begin(BOOT, 0.0, 0)
    for day in range(12):
        for at, level in ((0, 0), (10, 20 if day < 2 else 2), (20, 0), (4000, 0)):
            rises = observed(rises, day * 86400.0 + at, level)
        for minute in range(70, 1440, 10):
            rises = observed(rises, day * 86400.0 + minute * 60, 0)
    counts = rises.counts.sum(axis=0) / rises.scale
    assert counts[20] < 1e-3 < counts[2]


def test_soon_after_work_came_more_of_it_is_likely() -> None:
    """Bursts of three a minute apart, hours apart."""
    rises = Rises.begin(BOOT, 0.0, 0)
    for hour in range(0, 300, 3):
        for at, level in ((0, 1), (60, 2), (120, 3), (3000, 0), (7000, 0)):
            rises = observed(rises, hour * 3600.0 + at, level)
    rises = observed(rises, 1_090_000.0, 0)
    assert likely(rises, (0.9,)) == [0]
    assert likely(observed(rises, 1_090_001.0, 1), (0.9,)) == [2]


def test_what_came_lately_is_known_apart_from_what_comes_as_a_rule() -> None:
    """A day of rises by five, then hours of rises by one."""
    rises, now = Rises.begin(BOOT, 0.0, 0), 0.0
    for number in range(150):
        for level in (0, 5 if number < 120 else 1):
            now += 2 * BOOT
            rises = observed(rises, now, level)
    now += 2 * BOOT
    rises = observed(rises, now, 0)
    assert likely_lately(rises, (0.98,)) == [1]
    assert _edge_of(rises.counts.sum(axis=0), 0.98) == 5
    assert likely_lately(Rises.begin(BOOT, 0.0, 3), (0.5, 0.99)) == [0, 0]


def _edge_of(counts: np.typing.NDArray[np.float64], share: float) -> int:
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))


def test_where_nobody_looked_nothing_is_counted() -> None:
    rises = observed(Rises.begin(BOOT, 0.0, 0), 500.0, 4)
    later = observed(rises, 500.0 + (PEAK_CELLS + 100) * CELL, 900)
    assert later.recent == ()
    assert later.peaks == ()
    assert later.level == 900
    assert (later.counts == rises.counts).all()
    assert (later.lately == rises.lately).all()


def test_a_body_keeps_what_was_counted() -> None:
    rises = Rises.begin(BOOT, 0.0, 5)
    for at, level in steps(Random(4), 200):
        rises = observed(rises, at, level)
    again = of_body(to_body(rises), 9999.0)
    np.testing.assert_allclose(again.counts, rises.counts / rises.scale, rtol=1e-5)
    np.testing.assert_allclose(again.lately, rises.lately, rtol=1e-5)
    assert again.cell == rises.cell
    assert again.ends > 9999.0
    with pytest.raises(ValueError, match="not numbers"):
        of_body(to_body(rises) | {"cell": math.inf}, 0.0)
    with pytest.raises(ValueError, match="other kinds"):
        of_body(to_body(rises) | {"kinds": 16}, 0.0)


# The fleets that are only reckoned


def moment(now: float, needed: int, *, least: int = 0, most: int = 100, patience: float = 60.0) -> Moment:
    return Moment(now, needed, least, most, 100.0, True, 1.0, patience)


def test_a_shadow_without_spare_waits_for_each_boot_and_lets_go_after_its_period() -> None:
    shadow = followed(NO_SHADOW, moment(0.0, 2), 0, 300.0)
    assert (shadow.booting, shadow.waited, shadow.late) == (((100.0, 2),), 100.0, 1)
    shadow = followed(shadow, moment(60.0, 3), 0, 300.0)
    assert (shadow.there, shadow.waited, shadow.cost) == (3, 200.0, 2 * 60.0)
    shadow = followed(shadow, moment(200.0, 3), 0, 300.0)
    assert (shadow.ready, shadow.booting, shadow.idle) == (3, (), ())
    shadow = followed(shadow, moment(300.0, 1), 0, 300.0)
    assert shadow.idle == ((300.0, 2.0),)
    assert followed(shadow, moment(599.0, 1), 0, 300.0).there == 3
    assert followed(shadow, moment(600.0, 1), 0, 300.0).there == 1
    assert followed(shadow, moment(600.0, 1, least=2), 0, 300.0).there == 2


def test_spare_is_there_at_once_and_is_held() -> None:
    shadow = followed(NO_SHADOW, moment(0.0, 0), 2, 60.0)
    shadow = followed(shadow, moment(500.0, 0), 2, 60.0)
    assert (shadow.there, shadow.ready) == (2, 2)
    shadow = followed(shadow, moment(600.0, 2), 2, 60.0)
    assert (shadow.waited, shadow.late, shadow.there) == (0.0, 0, 4)
    # A third comes when the others are on their way: it waits for the rest of their boot.
    shadow = followed(shadow, moment(640.0, 3), 2, 60.0)
    assert (shadow.waited, shadow.late) == (60.0, 0)


def test_work_takes_its_share_of_idle_agents_of_each_age() -> None:
    shadow = Shadow(0.0, ready=4, idle=((0.0, 2.0), (200.0, 2.0)), needed=0)
    shadow = followed(shadow, moment(300.0, 2), 0, 1000.0)
    assert shadow.idle == ((0.0, 1.0), (200.0, 1.0))
    shadow = followed(shadow, moment(310.0, 0), 0, 1000.0)
    assert followed(shadow, moment(1000.0, 0), 0, 1000.0).ready == 3
    assert followed(shadow, moment(1320.0, 0), 0, 1000.0).ready == 0


def test_no_shadow_is_larger_than_the_pool_may_be() -> None:
    shadow = followed(NO_SHADOW, moment(0.0, 3, most=4), 10, 60.0)
    assert shadow.there == 4
