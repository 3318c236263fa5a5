"""The model of the reference's scale decider passes the reference's own cases, and those recorded from it."""

from collections import Counter
from typing import Any

import pytest
from vector_files import instance_of, launch_time, policy_of, vector_cases

from slotsmith.core.reference import (
    NO_MEMORY,
    Memory,
    ReferenceTick,
    choose_terminations,
    clamp,
    classify,
    launch_count,
    statistics_calls,
    tick,
    update_scaling_info,
    update_snapshot,
)
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason, StateSets
from slotsmith.model.scaling_info import ScalingInfo


def scaling_info(raw: dict[str, Any]) -> ScalingInfo:
    agents = tuple(Agent(agent["name"], agent["idle"]) for agent in raw["agents"])
    return ScalingInfo(agents=agents, desired_new=raw["desired_new"])


def test_clamp() -> None:
    operations = {"min": min, "max": max, "clamp": lambda low, value, high: clamp(value, low, high)}
    checked = Counter[str]()
    for case in vector_cases("clamp"):
        operation = operations[case["op"]]
        if case.get("expect_error"):
            with pytest.raises(ValueError, match="lower limit 3 is above the upper limit 1"):
                operation(*case["args"])
        else:
            assert operation(*case["args"]) == case["expect"], case
        checked[case["op"]] += 1
    assert checked == {"min": 3, "max": 3, "clamp": 4}


def test_decider_launch() -> None:
    cases = vector_cases("decider_launch")
    for case in cases:
        counts = len(case["recently_launched"]), len(case["instances"])
        assert launch_count(case["desired_new"], *counts, policy_of(case["config"])) == case["expect"], case["name"]
    assert len(cases) == 4


def test_decider_states() -> None:
    cases = vector_cases("decider_states")
    for case in cases:
        memory, changed = update_snapshot(
            Memory(
                desired=case["desired_new"],
                agents={name: name in case["idle_agents"] for name in case["connected_agents"] + case["idle_agents"]},
                idle=case["before"]["idle"],
                disconnected=case["before"]["disconnected"],
            ),
            [instance_of(raw) for raw in case["snapshot"]],
        )
        assert changed
        sets = classify(memory, policy_of(case["config"]), case["now"])
        for key, expected in case["expect"].items():
            assert _as_vector(sets, key) == expected, key
        assert set(case["expect"]) == SET_KEYS - {"counted", "pending"}
    assert len(cases) == 1


def test_decider_stats() -> None:
    cases = vector_cases("decider_stats")
    for case in cases:
        sets = StateSets(
            counted=tuple(case["instances"]), disconnected=case["disconnected"], stopped=tuple(case["stopped"])
        )
        started, ended = statistics_calls(sets, case["resource_pool"], case["slots"], now=7.0)
        told = [{"resource_pool": s.pool, "instance_id": s.instance_id, "slots": s.slots} for s in started]
        assert told == case["expect"]["record_start"]
        assert {(span.start, span.end) for span in started} == {(7.0, None)}
        assert list(ended) == case["expect"]["record_end"]
    assert len(cases) == 1


def test_decider_terminate() -> None:
    cases, reasons_checked = vector_cases("decider_terminate"), 0
    for case in cases:
        sets = StateSets(
            counted=tuple(case["instances"]),
            idle=case.get("idle", {}),
            disconnected=case.get("disconnected", {}),
            stopped=tuple(case.get("stopped", ())),
            long_idle=tuple(case.get("long_idle", ())),
            long_disconnected=tuple(case.get("long_disconnected", ())),
        )
        launched = {id_: launch_time(launch) for id_, launch in case["instances"].items()}
        chosen = {t.id: t.reason for t in choose_terminations(sets, launched, policy_of(case["config"]))}
        assert sorted(chosen) == case["expect"], case["name"]
        if "reasons" in case:
            assert chosen == case["reasons"], case["name"]
            reasons_checked += 1
    assert (len(cases), reasons_checked) == (5, 4)


def test_a_chosen_id_keeps_the_reason_of_the_rule_that_chose_it_first() -> None:
    case = next(c for c in vector_cases("decider_terminate") if "note" in c and "until below" in c["name"])
    sets = StateSets(counted=tuple(case["instances"]), idle=case["idle"], long_idle=("long idle",))
    chosen = {t.id: t.reason for t in choose_terminations(sets, case["instances"], policy_of(case["config"]))}
    assert chosen["long idle"] is Reason.LONG_IDLE
    assert chosen["most recent"] is chosen["new idle"] is Reason.OVER_MAXIMUM


SET_KEYS = {
    "counted",
    "pending",
    "recently_launched",
    "stopped",
    "idle",
    "disconnected",
    "long_idle",
    "long_disconnected",
}


def _as_vector(sets: StateSets, key: str) -> list[str] | dict[str, float]:
    found = getattr(sets, key)
    return found if isinstance(found, dict) else sorted(found)


def _told(memory: Memory, result: ReferenceTick) -> dict[str, Any]:
    """A tick under the keys of the vectors."""
    return {
        **{key: _as_vector(result.sets, key) for key in SET_KEYS},
        "launch": result.launch,
        "terminate": sorted(termination.id for termination in result.terminations),
        "terminate_count": len(result.terminations),
        "idle_after": memory.idle,
        "disconnected_after": memory.disconnected,
        "updated": result.changed,
    }


# What a nondeterministic pick decides; the vectors then tell only how many were picked.
PICK_KEYS = {"terminate", "idle_after", "disconnected_after"}


def test_golden_decider() -> None:
    checked = Counter[str]()
    for case in vector_cases("golden_decider"):
        policy, memory = policy_of(case["config"]), NO_MEMORY
        for number, raw in enumerate(case["ticks"]):
            listing = [instance_of(instance) for instance in raw["instances"]]
            info = scaling_info(raw["scaling_info"]) if "scaling_info" in raw else None
            memory, result = tick(memory, policy, raw["at"], listing, info)
            told, expected = _told(memory, result), raw["expect"]
            assert sum(t.reason is not Reason.STOPPED for t in result.terminations) <= len(result.sets.counted)
            compared = {key for key in expected if not key.startswith("go_")} - {"deterministic"}
            assert compared == told.keys() - (set() if expected["deterministic"] else PICK_KEYS)
            for key in compared:
                assert told[key] == expected[key], f"{case['name']}, tick {number}: {key}"
                checked[key] += 1
            checked["ticks"] += 1
            checked["quirks"] += "quirk" in raw
            if not expected["deterministic"]:
                assert raw is case["ticks"][-1]
                checked["left to chance"] += 1
        checked["cases"] += 1
    everywhere = SET_KEYS | {"launch", "terminate_count", "updated", "ticks"}
    assert checked == {
        **dict.fromkeys(everywhere, 772),
        **dict.fromkeys(PICK_KEYS, 742),
        "cases": 120,
        "quirks": 61,
        "left to chance": 30,
    }


def test_the_terminations_are_the_sensible_number_but_for_the_quirk() -> None:
    """W17 is all that makes the number of a quirk tick differ: without stopped ids the sensible number comes out."""
    checked = 0
    for case in vector_cases("golden_decider"):
        policy, memory = policy_of(case["config"]), NO_MEMORY
        for raw in case["ticks"]:
            listing = [instance_of(instance) for instance in raw["instances"]]
            info = scaling_info(raw["scaling_info"]) if "scaling_info" in raw else None
            without = [i for i in listing if i.state != "stopped"]
            _, sensible = tick(memory, policy, raw["at"], without, info)
            memory, result = tick(memory, policy, raw["at"], listing, info)
            fixed = raw.get("fixed_terminate_count", len(result.terminations))
            assert len(sensible.terminations) + len(result.sets.stopped) == fixed, (case["name"], raw["at"])
            checked += "quirk" in raw
    assert checked == 61


def test_scaling_info_is_news_only_when_something_in_it_changed() -> None:
    info = ScalingInfo(agents=(Agent("a", True), Agent("b", False)), desired_new=2)
    memory, changed = update_scaling_info(NO_MEMORY, info)
    assert changed
    assert update_scaling_info(memory, ScalingInfo(agents=info.agents[::-1], desired_new=2)) == (memory, False)
    for other in (
        ScalingInfo(agents=info.agents, desired_new=3),
        ScalingInfo(agents=info.agents[:1], desired_new=2),
        ScalingInfo(agents=(Agent("a", True), Agent("b", True)), desired_new=2),
    ):
        assert update_scaling_info(memory, other)[1]


def test_periods_end_as_in_the_reference() -> None:
    """The vectors have no instance at the very end of its starting period: it is no longer recently launched there."""
    policy = policy_of({"min": 0, "max": 9, "max_idle": 10, "max_starting": 20, "max_disconnect": 30})
    listing = [instance_of({"id": "i1", "launch": 0, "agent": "i1", "state": "Running"})]
    memory, young = tick(NO_MEMORY, policy, 19.5, listing)
    memory, old = tick(memory, policy, 20, listing)
    assert (young.sets.recently_launched, young.sets.disconnected) == (("i1",), {})
    assert (old.sets.recently_launched, old.sets.disconnected) == ((), {"i1": 20})
    memory, missed = tick(memory, policy, 50, listing)
    assert (missed.sets.long_disconnected, missed.terminations) == ((), ())
    _, gone = tick(memory, policy, 50.5, listing)
    assert (gone.sets.long_disconnected, len(gone.terminations)) == (("i1",), 1)
