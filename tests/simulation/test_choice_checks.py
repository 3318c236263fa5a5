"""Seeds with a choice of offerings and limits in money: what is drawn, and that the checks find what is broken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from slotsmith.core import launches, several, spending
from slotsmith.core.spending import Money
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import NO_FAULTS, Chance, SimulatedSettings
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.choice import with_choice
from slotsmith.simulation.draw import _plain
from slotsmith.simulation.events import Violation
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.world import run_scenario

Break = Callable[[pytest.MonkeyPatch], None]

SETTINGS = SimulatedSettings.model_validate(
    {
        "type": "simulated",
        "instance_types": [
            {"name": "large", "slots": 4, "price_per_hour": 4.0},
            {"name": "small", "slots": 1, "price_per_hour": 1.5},
            {"name": "other", "slots": 4, "price_per_hour": 4.5},
        ],
        "boot_time": "60s",
        "poll_period": "20s",
    }
)
CHOICE = Scenario(
    seed=1,
    policy=Policy(max_instances=8, max_idle_agent_period=60.0),
    provider=SETTINGS,
    jobs=tuple(Job(f"job-{n}", 5.0 + 90.0 * (n // 3), 200.0, Resources((1, 2, 4)[n % 3])) for n in range(15)),
    faulty_until=1500.0,
)
SCARCE = replace(CHOICE, cloud_faults=replace(NO_FAULTS, capacity=Chance(0.7, 200.0, 400.0)))


def limited(**limits: float) -> Scenario:
    return replace(CHOICE, policy=replace(CHOICE.policy, **limits))  # type: ignore[arg-type]


def first_violation(scenario: Scenario) -> Violation | None:
    outcome = run_scenario(scenario)
    return outcome.violations[0] if outcome.violations else None


WARM = replace(
    limited(headroom_slots=4),
    jobs=CHOICE.jobs[:3],
    provider=SETTINGS.model_copy(update={"instance_types": (SETTINGS.instance_types[0], SETTINGS.instance_types[2])}),
)
SLOWLY_ASKED = replace(
    limited(max_dollars_per_hour=9.0),
    jobs=tuple(Job(f"job-{n}", 5.0 + n, 200.0, Resources(4)) for n in range(5)),
    provider=SETTINGS.model_copy(update={"latency": 9.0}),
)


def forget_what_is_in_flight(patch: pytest.MonkeyPatch) -> None:
    counts = spending._counts
    patch.setattr(spending, "_counts", lambda view: counts(replace(view, in_flight=())))


def have_no_money_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(several, "money", lambda *_: Money(0.0, None, ""))


def count_no_slots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(several, "slots_held", lambda _view: 0)


def ask_in_back_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(several, "barred", lambda *_: "")


def give_the_headroom_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(launches.headroom, "spare_slots", lambda *_: math.inf)


@pytest.mark.parametrize(
    ("scenario", "break_it", "promise", "text"),
    [
        (limited(max_dollars_per_hour=9.0), have_no_money_limit, "I1", "per hour, the maximum is $9.00"),
        (SLOWLY_ASKED, forget_what_is_in_flight, "I1", "per hour, the maximum is $9.00"),
        (limited(max_slots=8), count_no_slots, "I1", "slots, the maximum is 8"),
        (SCARCE, ask_in_back_off, "back-off", "before the time on record"),
        (WARM, give_the_headroom_up, "I5", "the headroom is 4"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_found(
    scenario: Scenario, break_it: Break, promise: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_violation(scenario) is None
    break_it(monkeypatch)
    found = first_violation(scenario)
    assert found is not None
    assert (found.promise, text in found.text) == (promise, True), str(found)


def test_a_part_of_all_seeds_has_a_choice_and_the_others_are_as_they_were() -> None:
    seeds = range(400)
    drawn = [with_choice(_plain(seed)) for seed in seeds]
    chosen = [scenario for seed, scenario in zip(seeds, drawn, strict=True) if scenario != _plain(seed)]
    several_kinds = [each for each in chosen if len(each.provider.offerings) > 1]
    assert 0.02 < len(several_kinds) / len(seeds) < 0.08
    assert 0.04 < len(chosen) / len(seeds) < 0.12
    for limit in ("max_dollars_per_hour", "max_slots", "headroom_slots"):
        assert any(getattr(each.policy, limit) for each in several_kinds), limit
    for each in chosen:
        largest = each.provider.largest
        assert each.provider.offerings[0] == largest
        assert all(offering.price for offering in each.provider.offerings)
        plain = _plain(each.seed)
        assert (each.cloud_faults, each.crashes) == (plain.cloud_faults, plain.crashes)
    bursts = [each for each in chosen if each.provider.offerings[0].instance_type == "slots-8"]
    assert all(each.jobs == _plain(each.seed).jobs for each in chosen if each not in bursts)
    assert 0 < len(bursts) / len(seeds) < 0.02
    for each in bursts:
        assert len({job.resources.slots for job in each.jobs}) > 4
        assert max(job.resources.slots for job in each.jobs) <= each.provider.largest.capacity.slots
        assert max(Counter(round(job.submit_s) for job in each.jobs).values()) >= 2, "several come at once"
