"""Seeds with pools that consolidate: what is drawn, and that the checks find what is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from slotsmith.core import consolidation
from slotsmith.core.rooms import Rooms
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Consolidation, Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SimulatedSettings
from slotsmith.provisioner import moving
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.choice import with_choice
from slotsmith.simulation.draw import _plain, draw
from slotsmith.simulation.invariants_moves import MoveChecks
from slotsmith.simulation.learned import with_foresight
from slotsmith.simulation.replicas import with_replicas
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.world import run_scenario

Break = Callable[[pytest.MonkeyPatch], None]

# Four tasks are cheapest on a large one, and what is left of them when three have ended on a small one.
SETTINGS = SimulatedSettings.model_validate(
    {
        "type": "simulated",
        "instance_types": [
            {"name": "large", "slots": 8, "price_per_hour": 7.0},
            {"name": "small", "slots": 2, "price_per_hour": 2.2},
        ],
        "boot_time": "60s",
        "poll_period": "20s",
    }
)
MOVING = Scenario(
    seed=1,
    policy=Policy(max_instances=6, max_idle_agent_period=60.0, consolidation=Consolidation()),
    provider=SETTINGS,
    jobs=tuple(Job(f"job-{n}", 5.0, {0: 6000.0, 4: 2000.0}.get(n, 100.0), Resources(2)) for n in range(8)),
    faulty_until=3000.0,
    movable=True,
)


def _run(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[tuple[str, str]]]:
    """The moves of a run: the reasons for which instances make way; and what was violated."""
    moves: list[str] = []
    on_decision = MoveChecks.on_decision

    def noted(self: MoveChecks, view: object, policy: Policy, decision: Decision) -> None:
        moves.extend(each.reason.value for each in decision.terminations if each.reason.is_move)
        moves.extend(launch.offering.name for launch in decision.launches if launch.replaces)
        on_decision(self, view, policy, decision)  # type: ignore[arg-type]

    monkeypatch.setattr(MoveChecks, "on_decision", noted)
    return moves, [(each.promise, each.text) for each in run_scenario(scenario).violations]


def test_work_moves_together_and_then_to_what_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    moves, violations = _run(MOVING, monkeypatch)
    assert violations == []
    assert moves.count("its work fits elsewhere for less") >= 2
    assert "small/on-demand" in moves


def test_without_consolidation_the_same_world_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = replace(MOVING, policy=replace(MOVING.policy, consolidation=None))
    assert _run(scenario, monkeypatch) == ([], [])


def move_what_may_not_be_moved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        moving,
        "light_since",
        lambda agents, before, now: {a.name: before.get(a.name, now) for a in agents if not a.idle},
    )


def take_no_heed_of_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rooms, "fitting", lambda self, _, owner: [room for room, ids in self._ids.items() if ids != [owner]])


def take_no_heed_of_the_budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consolidation._Pass, "_held_back", lambda *_: "")


def let_all_moves_pay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consolidation._Pass, "_pays", lambda *_: True)


MANY = replace(MOVING, jobs=tuple(Job(f"job-{n}", 5.0, 100.0 if n % 4 else 4000.0, Resources(2)) for n in range(16)))

# Half of one instance, and a quarter of the other is free.
FULLER = replace(
    MOVING,
    jobs=tuple(Job(f"job-{n}", 5.0, 4000.0 if n in (0, 1, 4, 5, 6) else 100.0, Resources(2)) for n in range(8)),
)


@pytest.mark.parametrize(
    ("scenario", "break_it", "promise", "text"),
    [
        (replace(MOVING, movable=False), move_what_may_not_be_moved, "I4", "what it runs may not be moved"),
        (MANY, take_no_heed_of_the_budget, "moves", "make way at a time, the most is 1"),
        (FULLER, take_no_heed_of_room, "moves", "there is no room for what it runs"),
        (MOVING, let_all_moves_pay, "moves", "is to be replaced by"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_found(
    scenario: Scenario, break_it: Break, promise: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_scenario(scenario).violations == ()
    break_it(monkeypatch)
    found = run_scenario(scenario).violations
    assert found
    assert (found[0].promise, text in found[0].text) == (promise, True), str(found[0])


def test_a_small_part_of_all_seeds_consolidates_and_the_others_are_as_they_were() -> None:
    def without(seed: int) -> Scenario:
        return with_foresight(with_replicas(with_choice(_plain(seed))))

    seeds = range(400)
    drawn = [draw(seed) for seed in seeds]
    chosen = [each for seed, each in zip(seeds, drawn, strict=True) if each != without(seed)]
    assert all(each.policy.consolidation for each in chosen)
    assert 0.005 < len(chosen) / len(seeds) < 0.05
    assert any(each.movable for each in chosen)
