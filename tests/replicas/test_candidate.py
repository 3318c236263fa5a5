"""Who leads, by clocks that the tests set: no thread, no database, no waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

import pytest

from slotsmith.model.lease import Claim, Lease
from slotsmith.replicas.candidate import BEAT, LOOK, TERM, Candidate
from slotsmith.simulation.leases import SimulatedLeases
from slotsmith.store.base import StoreError
from slotsmith.store.writer import InlineRunner


class Clock:
    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a candidate waits for nothing by itself")


class Table(SimulatedLeases):
    """The simulation's lease; `down` makes it fail, `lose` its next answer."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.lose = False

    def _reach(self) -> None:
        if self.down:
            raise StoreError("the store cannot be reached")

    def _answer(self) -> None:
        if self.lose:
            self.lose = False
            raise StoreError("the answer was lost")

    def read(self) -> Lease | None:
        self._reach()
        return super().read()

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        self._reach()
        taken = super().take(seen, claim, now)
        self._answer()
        return taken

    def renew(self, lease: Lease) -> bool:
        self._reach()
        is_mine = super().renew(lease)
        self._answer()
        return is_mine

    def release(self, lease: Lease) -> None:
        self._reach()
        super().release(lease)


@dataclass
class Pair:
    """Two replicas over one lease; each has a clock that began at another time."""

    table: Table
    clocks: tuple[Clock, Clock]
    a: Candidate
    b: Candidate

    def pass_time(self, seconds: float) -> None:
        for clock in self.clocks:
            clock.at += seconds

    def step(self, *candidates: Candidate) -> None:
        for candidate in candidates or (self.a, self.b):
            asyncio.run(candidate.step())


@pytest.fixture
def pair() -> Pair:
    table, clocks = Table(), (Clock(1000.0), Clock(-500.0))
    a, b = (Candidate(table, InlineRunner(), clock, Claim(name)) for name, clock in zip("ab", clocks, strict=True))
    return Pair(table, clocks, a, b)


def test_the_first_leads_and_the_other_waits(pair: Pair) -> None:
    pair.step()
    assert (pair.a.lease and pair.a.lease.fence, pair.b.lease) == (1, None)
    assert pair.b.leader is not None
    assert pair.b.leader.holder == "a"
    assert (pair.a.pause, pair.b.pause) == (BEAT, LOOK)
    assert pair.a.may_act()
    assert not pair.b.may_act()


def test_who_shows_signs_of_life_goes_on_leading(pair: Pair) -> None:
    for _ in range(50):
        pair.step()
        pair.pass_time(BEAT)
    assert pair.a.lease is not None
    assert pair.b.lease is None


def test_a_crash_is_got_over_in_one_term(pair: Pair) -> None:
    pair.step()
    pair.pass_time(TERM - LOOK)
    pair.step(pair.b)
    assert pair.b.lease is None
    pair.pass_time(LOOK)
    pair.step(pair.b)
    assert pair.b.lease is not None
    assert pair.b.lease.fence == 2


def test_a_clean_end_is_taken_over_at_the_next_look(pair: Pair) -> None:
    pair.step()
    asyncio.run(pair.a.resign())
    assert pair.a.lease is None
    pair.step(pair.b)
    assert pair.b.lease is not None


def test_one_that_was_stopped_for_long_asks_for_nothing_and_finds_out(pair: Pair) -> None:
    pair.step()
    pair.pass_time(TERM)
    pair.step(pair.b)
    # It has just been woken, and still believes that it leads.
    assert pair.a.lease is not None
    assert not pair.a.may_act()
    pair.step(pair.a)
    assert pair.a.lease is None
    # What it saw before says nothing of how long the new leader has been silent.
    pair.step(pair.a)
    assert pair.a.lease is None
    assert pair.a.leader is not None
    assert pair.a.leader.holder == "b"


def test_while_the_store_is_down_nobody_acts_and_afterwards_the_leader_goes_on(pair: Pair) -> None:
    pair.step()
    pair.table.down = True
    for _ in range(10):
        pair.pass_time(BEAT)
        pair.step()
        assert pair.b.lease is None
    assert pair.a.lease is not None
    assert not pair.a.may_act()
    assert pair.a.error == "the store cannot be reached"
    pair.table.down = False
    pair.step()
    assert pair.a.may_act()
    assert pair.a.error is None
    assert pair.a.lease.fence == 1
    assert pair.b.lease is None


def test_a_lease_whose_answer_was_lost_is_taken_again(pair: Pair) -> None:
    pair.table.lose = True
    pair.step(pair.a)
    assert pair.a.lease is None
    pair.step(pair.a)
    assert pair.a.lease is not None
    assert pair.a.lease.fence == 2


def test_a_sign_of_life_whose_answer_was_lost_counts(pair: Pair) -> None:
    pair.step()
    pair.table.lose = True
    pair.pass_time(BEAT)
    pair.step()
    pair.pass_time(BEAT)
    pair.step()
    assert pair.a.may_act()
    assert pair.b.lease is None


@pytest.mark.parametrize("seed", range(30))
def test_i3_two_never_may_act_at_once(pair: Pair, seed: int) -> None:
    """Whatever stops, fails and is lost; and somebody leads soon after it has ended."""
    chance, candidates = Random(seed), (pair.a, pair.b)
    fences: list[int] = []
    stopped = {"a": 0.0, "b": 0.0}
    for _ in range(600):
        pair.pass_time(chance.uniform(0.0, 1.0))
        pair.table.down = chance.random() < 0.1
        pair.table.lose = chance.random() < 0.05
        for candidate in candidates:
            name = candidate.claim.holder
            stopped[name] -= 1.0
            if stopped[name] > 0:
                continue
            if chance.random() < 0.02:
                stopped[name] = chance.uniform(1, 60)
            elif chance.random() < 0.01:
                asyncio.run(candidate.resign())
            else:
                pair.step(candidate)
            assert sum(each.may_act() for each in candidates) <= 1
            if candidate.lease is not None:
                fences.append(candidate.lease.fence)
                # Whoever holds the lease that is in force has the highest fence there ever was.
                assert pair.table.lease is not None
                assert candidate.lease.fence <= pair.table.lease.fence
    assert len(set(fences)) > 1
    pair.table.down = pair.table.lose = False
    for _ in range(int((TERM + 2 * BEAT) / LOOK)):
        pair.pass_time(LOOK)
        pair.step()
    assert [each.may_act() for each in candidates].count(True) == 1
