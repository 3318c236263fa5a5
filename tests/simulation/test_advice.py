"""Which choices are tried for a pool, and which of them are advised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.model.foresight import DEFAULT_TARGET, Target
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType
from slotsmith.simulation.advice import advised, choices


def figures(cost: float, wait: float, *, unschedulable: int = 0, killed: int = 0, broken: bool = False) -> Any:
    return {
        "cost_usd": cost,
        "instance_hours": 1.0,
        "wait_s": {"mean": wait},
        "tasks": {"unschedulable": unschedulable, "killed": killed},
        "violations": [{"promise": "I1"}] if broken else [],
    }


def labels(policy: Policy, *types: SimulatedType) -> list[str]:
    settings = SimulatedSettings(type="simulated", instance_types=types or (SimulatedType(name="one"),))
    return [choice.label for choice in choices(policy, settings)]


def test_other_idle_periods_and_headrooms_are_tried() -> None:
    assert labels(Policy()) == [
        "as it is",
        "max_idle_agent_period: 1m",
        "max_idle_agent_period: 5m",
        "max_idle_agent_period: 1h",
        "max_idle_agent_period: auto",
        "headroom: {type: learned}",
        "headroom: {type: learned, target: {max_extra_cost: 2%}}",
    ]


def test_a_headroom_that_is_there_is_tried_without() -> None:
    tried = labels(Policy(foresight=DEFAULT_TARGET))
    assert "no headroom" in tried
    assert "headroom: {type: learned}" not in tried
    assert "no headroom" in labels(Policy(headroom_slots=2))


def test_each_change_is_made_alone() -> None:
    settings = SimulatedSettings(type="simulated", instance_types=(SimulatedType(name="one"),))
    learning = replace(DEFAULT_TARGET, idle_period=True)
    made = {choice.label: choice.policy for choice in choices(Policy(foresight=learning), settings)}
    assert made["no headroom"].foresight == Target(spare=False, idle_period=True)
    assert made["max_idle_agent_period: 20m"] == Policy(foresight=DEFAULT_TARGET)
    assert "max_idle_agent_period: auto" not in made
    plain = {choice.label: choice.policy for choice in choices(Policy(headroom_slots=2), settings)}
    assert plain["max_idle_agent_period: auto"].foresight == Target(spare=False, idle_period=True)
    assert plain["max_idle_agent_period: auto"].headroom_slots == 2
    assert plain["no headroom"] == Policy()


def test_markets_and_types_are_tried_alone() -> None:
    def of(name: str, slots: int, price: float, market: Any = "on-demand") -> SimulatedType:
        return SimulatedType(name=name, slots=slots, price_per_hour=price, market=market)

    types = (of("a", 1, 1.0), of("a", 1, 0.3, "spot"), of("b", 8, 7.0), of("b", 8, 2.2, "spot"))
    assert labels(Policy(), *types)[-4:] == ["only on-demand", "only spot", "only b", "only a"]
    assert not [label for label in labels(Policy(), of("a", 1, 1.0)) if label.startswith("only")]
    many = [of(f"t{number}", 1, 1.0 + number) for number in range(9)]
    assert labels(Policy(), *many)[-4:] == ["only t0", "only t1", "only t2", "only t3"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(100, 60), (100, 20), (90, 60)], {1: "the shortest wait", 2: "the least money"}),
        ([(100, 60), (90, 20)], {1: "the shortest wait for no more money, and the least money"}),
        ([(100, 60), (100.1, 59.5)], {}),
        ([(100, 60), (80, 90)], {}),
        ([(100, 60), (104, 20), (103, 40)], {1: "at least half of the waiting saved"}),
        ([(100, 60), (100, 30), (104, 16)], {1: "the shortest wait"}),
        ([(100, 60), (100, 30), (104, 15)], {1: "the shortest wait", 2: "at least half"}),
        ([(100, 60), (110, 0)], {}),
        ([(0, 0), (0, 0)], {}),
    ],
)
def test_what_is_advised(runs: list[tuple[float, float]], expected: dict[int, str]) -> None:
    found = {each.index: each.why for each in advised([figures(*run) for run in runs])}
    assert found.keys() == expected.keys()
    for index, why in expected.items():
        assert found[index].startswith(why)


@pytest.mark.parametrize("fault", [{"unschedulable": 1}, {"killed": 1}, {"broken": True}])
def test_what_leaves_tasks_worse_off_is_not_advised(fault: dict[str, Any]) -> None:
    assert advised([figures(100, 60), figures(50, 10, **fault)]) == []


AMOUNTS = st.floats(0, 1e6)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=8))
def test_advice_is_never_worse_in_both(drawn: list[tuple[float, float]]) -> None:
    runs = [figures(*each) for each in drawn]
    advice = advised(runs)
    (cost, wait), indices = drawn[0], [each.index for each in advice]
    assert len(indices) == len(set(indices)) <= 3
    for index in indices:
        assert index > 0
        assert drawn[index][0] <= cost * 1.05 + 1e-9
        assert drawn[index][0] < cost or drawn[index][1] < wait
