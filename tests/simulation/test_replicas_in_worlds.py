"""Worlds with two processes of the program: they stand still, go on, and believe that they lead."""

from __future__ import annotations

import pytest

from slotsmith.model.lease import Claim, Lease
from slotsmith.replicas.candidate import Candidate
from slotsmith.simulation.draw import draw
from slotsmith.simulation.leases import SimulatedLeases
from slotsmith.simulation.replicas import with_replicas
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.world import Outcome, run_scenario
from slotsmith.store.base import StoreError

STILL = (276, 290, 317, 350)
"""Seeds in which a process that leads stands still, with something to write when it goes on."""


def world(seed: int) -> Scenario:
    scenario = draw(seed)
    assert scenario.replicas
    return scenario


def run(seed: int) -> Outcome:
    return run_scenario(world(seed), timeline=True)


def test_some_seeds_have_replicas_and_all_else_stays_as_it_is() -> None:
    drawn = [draw(seed) for seed in range(300)]
    several = [scenario for scenario in drawn if scenario.replicas]
    assert 5 < len(several) < 40
    assert not any(scenario.second_pool or scenario.strays for scenario in several)
    assert [with_replicas(scenario) for scenario in drawn if not scenario.replicas] == [
        scenario for scenario in drawn if not scenario.replicas
    ]


@pytest.mark.parametrize("seed", STILL)
def test_i3_one_that_stood_still_writes_nothing_more(seed: int) -> None:
    outcome = run(seed)
    assert outcome.violations == ()
    assert outcome.coverage["fault still"] + outcome.coverage["fault still_launch"] > 0
    told = "\n".join(outcome.timeline)
    assert "world goes on" in told
    assert "takes no writes of a replica that does not lead" in told


def test_the_same_world_twice() -> None:
    assert run(317).digest == run(317).digest


def test_without_the_fence_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def guard(_leases: SimulatedLeases, _mine: Lease | None) -> None:
        """Let everything through."""

    monkeypatch.setattr(SimulatedLeases, "guard", guard)
    found = [violation for seed in STILL for violation in run(seed).violations]
    assert {(violation.promise, violation.text) for violation in found} == {
        ("I3", "main: a process that does not lead has written")
    }


def test_signs_of_life_that_always_work_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(candidate: Candidate, _mine: Lease) -> None:
        """Believe to have shown one, whoever has the lease."""
        candidate._fresh_until = candidate._clock.now() + 10.0

    monkeypatch.setattr(Candidate, "_keep", keep)
    assert any(run(seed).violations for seed in STILL)


def test_the_lease_is_that_of_the_store() -> None:
    """What `tests/store/test_store_lease.py` finds of the one in PostgreSQL."""
    leases, a, b = SimulatedLeases(), Claim("a", "http://a", "secret"), Claim("b")
    assert leases.read() is None
    with pytest.raises(StoreError, match="does not lead"):
        leases.guard(None)
    mine = leases.take(None, a, 5.0)
    assert mine == leases.read() == Lease(1, 0, "a", "http://a", "secret", 5.0)
    assert leases.take(None, b, 6.0) is None
    assert mine is not None
    leases.guard(mine)
    assert leases.renew(mine)
    assert leases.take(mine, b, 6.0) is None
    theirs = leases.take(leases.read(), b, 7.0)
    assert theirs is not None
    assert (theirs.fence, theirs.holder) == (2, "b")
    assert not leases.renew(mine)
    with pytest.raises(StoreError, match="does not lead"):
        leases.guard(mine)
    leases.release(mine)
    assert leases.read() == theirs
    leases.release(theirs)
    free = leases.read()
    assert free is not None
    assert free.free
