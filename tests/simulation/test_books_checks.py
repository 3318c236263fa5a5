"""The check of the books: it finds what is wrong in them, in a trace too, where they are written now and then."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SimulatedSettings
from slotsmith.provisioner.absence import Absences
from slotsmith.provisioner.paid_time import PaidTime
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.invariants_books import _unseen_end
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.trial import Trial
from slotsmith.simulation.world import Outcome, run_scenario

PROVIDER = SimulatedSettings.model_validate(
    {"type": "simulated", "boot_time": "60s", "join_time": "5s", "instance_types": [{"name": "t", "slots": 2}]}
)
JOBS = tuple(Job(f"job-{number}", 3000.0 * number, 500.0, Resources(slots=2)) for number in range(4))
TRACE = Trial(Policy(max_instances=4, max_idle_agent_period=300.0), PROVIDER, JOBS).scenario()


def run(scenario: Scenario) -> Outcome:
    return run_scenario(scenario, until_violation=False)


def promises(outcome: Outcome) -> set[str]:
    return {violation.promise for violation in outcome.violations}


@pytest.fixture(params=[True, False], ids=["as the daemon", "as in a trace"])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    assert not TRACE.summaries
    return replace(TRACE, summaries=request.param)


def test_nothing_is_wrong(scenario: Scenario) -> None:
    assert run(scenario).violations == ()


def test_paid_time_that_never_ends_is_found(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaidTime, "end", lambda *_: None)
    assert promises(run(scenario)) == {"books"}


def test_paid_time_that_ends_too_early_is_found(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    end = PaidTime.end
    monkeypatch.setattr(PaidTime, "end", lambda self, instance_id, at: end(self, instance_id, at - 100.0))
    assert promises(run(scenario)) == {"books"}


def test_what_is_gone_and_stays_on_record_is_found(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(_self: Absences, listing: tuple, fleet: object, *_: float) -> tuple:  # type: ignore[type-arg]
        known = {instance.id for instance in listing}
        return (*listing, *(i for i in fleet.instances if i.id not in known))  # type: ignore[attr-defined]

    monkeypatch.setattr(Absences, "complete", keep)
    assert "I7" in promises(run(scenario))


@pytest.mark.parametrize(("died_at", "seen_at"), [(398.8, 405.2), (500.0, 401.0)])
def test_whoever_dies_while_the_disk_hangs_leaves_nothing_of_what_it_saw(died_at: float, seen_at: float) -> None:
    """An end at 349.6, which the second generation sees a second later, and cannot write before 401."""
    watch: Any = SimpleNamespace(
        settings=SimpleNamespace(consistency_window=0.0),
        now=4530.0,
        listings=[320.0, 350.5, 405.2],
        delivered=[320.0, 350.6, 405.2],
        told_to=[2, 2, 3],
        died_at={2: died_at},
        store_troubles=[(319.6, 401.0)],
    )
    assert _unseen_end(watch, 349.6) == pytest.approx(seen_at - 349.6)
