"""Replay: what is read, how it is told, and what is said of input that makes no sense."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from random_cases import random_case
from vector_files import VECTORS, vector_cases

from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.recording import fold, view_change
from slotsmith.core.replay import RULES, ReplayError, ReplayTick, load_cases, parse_cases, replay, run_case
from slotsmith.core.view import OnOffer, View
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import ErrorKind, LaunchFailures
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import NO_SCALING_INFO, ScalingInfo
from slotsmith.model.task import Constraints, Group, TaskClass

GOLDEN = VECTORS / "golden_decider.json"
SETS = ("counted", "pending", "recently_launched", "stopped", "idle", "disconnected", "long_idle", "long_disconnected")


def one_case(*ticks: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"cases": [{"name": "a day", "config": config, "ticks": list(ticks)}]}


def running(id_: str, launch: float | None = -3600) -> dict[str, Any]:
    return {"id": id_, "launch": launch, "agent": id_, "state": "running"}


def test_the_reference_rules_pass_the_golden_cases_from_the_file_to_the_output() -> None:
    told = replay(load_cases(GOLDEN), "reference")
    compared = 0
    for case, result in zip(vector_cases("golden_decider"), told["cases"], strict=True):
        assert result["name"] == case["name"]
        for raw, tick in zip(case["ticks"], result["ticks"], strict=True):
            expected = raw["expect"]
            assert tick["at"] == raw["at"]
            assert {key: tick[key] for key in (*SETS, "launch")} == {key: expected[key] for key in (*SETS, "launch")}
            assert len(tick["terminate"]) == expected["terminate_count"]
            assert [entry["id"] for entry in tick["terminate"]] == expected.get(
                "terminate", [entry["id"] for entry in tick["terminate"]]
            )
            compared += 1
    assert compared == 772


def test_the_output_has_the_keys_of_the_format_in_order_and_whole_numbers_stay_whole() -> None:
    cases = parse_cases(
        one_case(
            {
                "at": 5,
                "instances": [running("i1"), running("i2")],
                "scaling_info": {"agents": [{"name": "i1", "idle": True}]},
            },
            {"at": 10.5, "instances": [running("i1")]},
            max=1,
        )
    )
    told = json.dumps(replay(cases, "reference"))
    assert told == (
        '{"cases": [{"name": "a day", "ticks": [{"at": 5, "launch": 0, "terminate": '
        '[{"id": "i1", "reason": "instance number exceeding maximum"}], "counted": ["i1", "i2"], "pending": [], '
        '"recently_launched": [], "stopped": [], "idle": {"i1": 5}, "disconnected": {"i2": 5}, "long_idle": [], '
        '"long_disconnected": []}, {"at": 10.5, "launch": 0, "terminate": [], "counted": ["i1"], "pending": [], '
        '"recently_launched": [], "stopped": [], "idle": {"i1": 10.5}, "disconnected": {}, "long_idle": [], '
        '"long_disconnected": []}]}]}'
    )


@pytest.mark.parametrize("rules", RULES)
def test_both_rules_tell_the_golden_cases_in_the_same_form(rules: str) -> None:
    told = replay(load_cases(GOLDEN), rules)
    ticks = [tick for case in told["cases"] for tick in case["ticks"]]
    assert len(ticks) == 772
    assert {tuple(tick) for tick in ticks} == {("at", "launch", "terminate", *SETS)}
    assert json.loads(json.dumps(told)) == told
    assert replay(load_cases(GOLDEN), rules) == told


def test_every_key_is_read() -> None:
    (case,) = parse_cases(
        {
            "cases": [
                {
                    "config": {
                        "max_idle": 1,
                        "max_agent_starting_period": 2.5,
                        "max_disconnect": 3,
                        "min": 1,
                        "max_instances": 4,
                        "launch_error_timeout": 5,
                        "launch_error_retries": 6,
                        "max_zero_slot_tasks_per_agent": 7,
                        "capacity": {"slots": 8, "cpus": 9, "mem_gib": 10.5, "extras": {"ssd": 1}},
                    },
                    "ticks": [
                        {
                            "at": 0,
                            "instances": [
                                {
                                    "id": "i1",
                                    "launch": None,
                                    "state": "SpotRequestPendingAWS",
                                    "token": "t",
                                    "offering": "o",
                                    "capacity": {"cpus": 1},
                                    "detail": "d",
                                    "reclaimed": True,
                                },
                                {"id": "i2", "launch": 3, "agent": "a2", "state": "pending-request"},
                            ],
                            "scaling_info": {
                                "agents": [
                                    {
                                        "name": "a2",
                                        "idle": False,
                                        "capacity": {"slots": 2},
                                        "used": {"slots": 1},
                                        "zero_slot_tasks": 3,
                                        "draining": True,
                                        "activity": 4,
                                    }
                                ],
                                "tasks": [
                                    {
                                        "id": "t1",
                                        "slots": 1,
                                        "cpus": 0.5,
                                        "mem_gib": 2,
                                        "extras": {"ssd": 1},
                                        "count": 3,
                                        "gang": 2,
                                        "group": "g",
                                        "spans": True,
                                    }
                                ],
                                "groups": [{"id": "g", "max_slots": 5, "used_slots": 1}, {"id": "h"}],
                            },
                            "in_flight": [{"token": "t1", "count": 2, "at": -1}],
                            "draining": ["i2"],
                            "shortages": {"o": {"until": 7, "reason": "none left"}},
                            "expect": {"instnaces": "not read"},
                        },
                        {"at": 1, "instances": [], "scaling_info": {"desired_new": 3}, "in_flight": 2},
                    ],
                }
            ]
        }
    )
    assert case.name == "case 1"
    assert case.policy == Policy(1, 4, 1, 2.5, 3, 5, 6, 7)
    capacity = Resources(8, 9, 10.5, (("ssd", 1),))
    assert case.offering.capacity == capacity
    first, second = case.ticks
    assert first.instances[0].launched_at < -1e10
    assert first.instances[0][4:] == ("t", "o", Resources(cpus=1), "d", True)
    assert first.instances[0].agent_name == "i1"
    assert first.instances[1] == Instance("i2", InstanceState.PENDING_REQUEST, 3, "a2")
    assert first.info is not None
    assert first.info.agents == (Agent("a2", False, Resources(2), Resources(1), 3, True, 4),)
    assert first.info.tasks == (TaskClass(Resources(1, 0.5, 2, (("ssd", 1),)), 3, 2, "g", True, example="t1"),)
    assert first.info.groups == (Group("g", 5, 1), Group("h"))
    assert first.in_flight == (InFlight("t1", case.offering.name, 2, -1),)
    assert first.draining == {"i2"}
    assert first.shortages == {"o": Shortage(7, "none left")}
    assert (second.info and second.info.desired_new, second.in_flight[0].count) == (3, 2)


def test_a_state_goes_by_either_name() -> None:
    names = ["pending-request", "starting", "running", "stopping", "stopped", "terminating", "unknown"]
    others = ["SpotRequestPendingAWS", "Starting", "Running", "Stopping", "Stopped", "Terminating", "Unknown"]
    listings = [[{"id": name, "state": name} for name in names], [{"id": n, "state": n} for n in others]]
    (case,) = parse_cases(one_case(*({"at": 0, "instances": listing} for listing in listings)))
    assert [i.state for i in case.ticks[0].instances] == [i.state for i in case.ticks[1].instances] == names


def test_a_tick_without_scaling_info_keeps_the_last() -> None:
    info = {"desired_new": 2, "agents": [{"name": "i1", "idle": True}]}
    cases = parse_cases(
        one_case({"at": 0, "instances": [running("i1")], "scaling_info": info}, {"at": 9, "instances": [running("i1")]})
    )
    for rules in RULES:
        first, second = replay(cases, rules)["cases"][0]["ticks"]
        assert (first["launch"], first["idle"], first["disconnected"]) == (2, {"i1": 0}, {})
        assert (second["launch"], second["idle"], second["disconnected"]) == (2, {"i1": 0}, {})


def test_our_rules_heed_launches_in_flight_and_drains() -> None:
    idle = {"desired_new": 3, "agents": [{"name": "i1", "idle": True}, {"name": "i2", "idle": True}]}
    ticks = [
        {"at": 0, "instances": [running("i1"), running("i2")], "scaling_info": {**idle, "desired_new": 0}},
        {"at": 100, "instances": [running("i1"), running("i2")], "draining": ["i1"]},
        {"at": 101, "instances": [running("i1"), running("i2")], "scaling_info": idle, "in_flight": 2},
    ]
    _, second, third = replay(parse_cases(one_case(*ticks, max_idle=60, max=10)))["cases"][0]["ticks"]
    assert second["terminate"] == [{"id": "i2", "reason": "long idle"}]
    assert second["counted"] == ["i2"]
    assert third["launch"] == 1


def test_tasks_become_a_number_under_both_rules() -> None:
    tasks = [{"slots": 3, "count": 2}, {"slots": 2, "group": "g"}]
    info = {"tasks": tasks, "groups": [{"id": "g", "max_slots": 2}]}
    cases = parse_cases(one_case({"at": 0, "instances": [], "scaling_info": info}, max=9, slots_per_instance=4))
    # Eight slots are two agents by division; by packing, each agent takes one task of three, and a third is needed.
    assert [replay(cases, rules)["cases"][0]["ticks"][0]["launch"] for rules in ("reference", "slotsmith")] == [2, 3]


WHERE_TO = Constraints(zones=("a",), labels=(("disk", "ssd"),))
TASKS = (
    TaskClass(Resources(1, 0.0, 0.0, (("ssd", 0.5),)), count=3, group="g", example="t1"),
    TaskClass(Resources(2), gang=2, spans=True, example="t2"),
    TaskClass(Resources(1), constraints=WHERE_TO),
)
GROUPS = (Group("g", 2, 1), Group("h"))
TICK = {"at": 0, "instances": []}
WHERE = 'case 1 ("a day")'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected an object, got []"),
        ({}, "has no 'cases'"),
        ({"cases": {}}, "cases: expected a list, got {}"),
        ({"cases": [7]}, "cases[0]: expected an object, got 7"),
        ({"cases": [{"name": 7}]}, "cases[0].name: expected a text, got 7"),
        ({"cases": [{"name": "x"}]}, "case 1 (\"x\"): has no 'ticks'"),
        ({"cases": [{"tick": []}]}, "case 1 (\"case 1\"): unknown key 'tick', did you mean 'ticks'?"),
        (one_case(max=1, min=2), f"{WHERE}, config: the minimum 2 is above the maximum 1"),
        (one_case(max_idle=-1), f"{WHERE}, config.max_idle: expected a number of at least 0, got -1"),
        (one_case(max_idle="20m"), f'{WHERE}, config.max_idle: expected a number of at least 0, got "20m"'),
        (one_case(max=1.5), f"{WHERE}, config.max: expected a whole number of at least 0, got 1.5"),
        (one_case(max=True), f"{WHERE}, config.max: expected a whole number of at least 0, got true"),
        (one_case(max=1, max_instances=2), f"{WHERE}, config: has max_instances under two names"),
        (one_case(max_idel=1), f"{WHERE}, config: unknown key 'max_idel', did you mean 'max_idle'?"),
        (one_case(slots_per_instance=1, capacity={}), f"{WHERE}, config: has both slots_per_instance and capacity"),
        (one_case(capacity={"extras": {"ssd": -1}}), f"{WHERE}, config.capacity.extras.ssd: expected a number of at"),
        (one_case({"instances": []}), f"{WHERE}, tick 1: has no 'at'"),
        (one_case({"at": 0}), f"{WHERE}, tick 1: has no 'instances'"),
        (one_case({"at": None, "instances": []}), f"{WHERE}, tick 1: has no 'at'"),
        (one_case({"at": 10**400, "instances": []}), f"{WHERE}, tick 1, at: expected a number, got 1000"),
        (one_case({"at": float("nan"), "instances": []}), f"{WHERE}, tick 1, at: expected a number, got NaN"),
        (
            one_case({"at": 7, "instances": []}, {"at": 6, "instances": []}),
            f"{WHERE}, tick 2, at: is 6, earlier than the 7 of the tick before",
        ),
        (
            one_case({**TICK, "scalinginfo": {}}),
            f"{WHERE}, tick 1: unknown key 'scalinginfo', did you mean 'scaling_info'?",
        ),
        (one_case({"at": 0, "instances": [{}]}), f"{WHERE}, tick 1, instances[0]: has no 'id'"),
        (one_case({"at": 0, "instances": [{"id": "x"}]}), f"{WHERE}, tick 1, instances[0]: has no 'state'"),
        (
            one_case({"at": 0, "instances": [running("x"), {"id": "y", "state": "Foo"}]}),
            f"{WHERE}, tick 1, instances[1].state: unknown state 'Foo', expected one of pending-request, starting,",
        ),
        (
            one_case({**TICK, "scaling_info": {"desired_new": 1, "tasks": [{"slots": 1}]}}),
            f"{WHERE}, tick 1, scaling_info: has both tasks and desired_new, expected one of them",
        ),
        (
            one_case({**TICK, "scaling_info": {"agents": [{"name": "a"}]}}),
            f"{WHERE}, tick 1, scaling_info.agents[0]: has no 'idle'",
        ),
        (
            one_case({**TICK, "scaling_info": {"agents": [{"name": "a", "idle": 1}]}}),
            f"{WHERE}, tick 1, scaling_info.agents[0].idle: expected true or false, got 1",
        ),
        (
            one_case({**TICK, "scaling_info": {"tasks": [{"count": 0}]}}),
            f"{WHERE}, tick 1, scaling_info.tasks[0].count: expected a whole number of at least 1, got 0",
        ),
        (
            one_case({**TICK, "in_flight": "two"}),
            f"{WHERE}, tick 1, in_flight: expected a whole number of at least 0, got",
        ),
        (one_case({**TICK, "in_flight": [{"token": "t"}]}), f"{WHERE}, tick 1, in_flight[0]: has no 'count'"),
        (one_case({**TICK, "draining": [1]}), f"{WHERE}, tick 1, draining[0]: expected a text, got 1"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(data: Any, message: str) -> None:
    with pytest.raises(ReplayError) as caught:
        parse_cases(data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_place_counts_cases_and_ticks_as_people_do() -> None:
    data = {"cases": [{"ticks": [TICK]}, {"name": "two", "ticks": [TICK, {"at": 1, "instances": 3}]}]}
    with pytest.raises(ReplayError, match=r'^case 2 \("two"\), tick 2, instances: expected a list, got 3$'):
        parse_cases(data)


def test_a_file_cut_anywhere_is_told_with_line_and_column(tmp_path: Path) -> None:
    text = json.dumps(one_case({"at": 0, "instances": [running("x")]}), indent=1)
    path = tmp_path / "cut.json"
    for length in range(len(text)):
        path.write_text(text[:length])
        with pytest.raises(ReplayError) as caught:
            load_cases(path)
        told = str(caught.value)
        assert told.startswith(f"{path}: not JSON: line ")
        assert ", column " in told
        assert "\n" not in told
    path.write_text(text)
    assert len(load_cases(path)) == 1


def test_a_golden_file_cut_in_half_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    text = GOLDEN.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ReplayError, match=r"half\.json: not JSON: line 1, column \d+: .*ends too early"):
        load_cases(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", "not UTF-8 text (byte 0)"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"cases": [' + b"1" * 5000 + b"]}", "not JSON that can be read"),
        (b"\xef\xbb\xbf{}", "has no 'cases'"),
        (b'{"cases": }', "not JSON: line 1, column 11: Expecting value"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ReplayError) as caught:
        load_cases(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot be read: No such file or directory"):
        load_cases(tmp_path / "none.json")
    with pytest.raises(ReplayError, match="cannot be read: Is a directory"):
        load_cases(tmp_path)


def test_rules_that_do_not_exist_are_told() -> None:
    with pytest.raises(ReplayError, match="unknown rules 'best', expected one of slotsmith, reference"):
        replay((), "best")
    assert replay((), "reference") == {"cases": []}


@pytest.mark.parametrize("seed", range(40))
def test_what_was_recorded_is_told_again(seed: int) -> None:
    """A view is recorded by what changes in it; folded and read back, the same is decided from it."""
    rng = random.Random(seed)
    case = random_case(rng)
    fleet, info, before, rows = EMPTY_FLEET, NO_SCALING_INFO, None, []
    ticks = []
    for tick in case.ticks:
        kept = ReplayTick(tick.at, tick.instances, tick.info or info, tick.in_flight, tick.draining)
        if rng.random() < 0.3:
            kept = replace(kept, info=ScalingInfo(info.agents, TASKS, GROUPS))
        assert kept.info is not None
        info = kept.info
        fleet = observe(fleet, kept.instances, info.agents, kept.at)
        view = View(fleet, info, case.offering, in_flight=kept.in_flight, draining=kept.draining)
        rows.append((kept.at, view_change(before, view, case.policy)))
        before = view
        ticks.append(kept)
    assert rows[0][1]["complete"] is True
    document = json.loads(json.dumps(fold("pool", rows)))
    told = replay(parse_cases(document))["cases"][0]["ticks"]
    assert told == replay((replace(case, ticks=tuple(ticks)),))["cases"][0]["ticks"]


def test_what_was_recorded_of_a_pool_with_several_offerings_is_told_again() -> None:
    """Offerings, the back-off of each, what launches are for and what has been spent go into a record and come back."""
    kinds = (Offering("six", Resources(6), price=5.0), Offering("four", Resources(4), "b", "spot", price=3.4))
    failed = LaunchFailures(1, ErrorKind.CAPACITY, "none left", 90.0, 130.0)
    tasks = (TaskClass(Resources(3), 2), TaskClass(Resources(2), 2), TaskClass(Resources(4), 1))
    policy = Policy(max_instances=9, headroom_slots=3, max_dollars_per_month=40.0, group_priorities=(("g", 2),))
    view = View(EMPTY_FLEET, ScalingInfo((), tasks), kinds[0], others=(OnOffer(kinds[1], failed),))
    launched = decide(view, policy, 100.0)
    token = "t1"
    promises = next(launch.promises for launch in launched.launches)
    coming = (InFlight(token, "six/on-demand", launched.launch_count, 100.0),)
    later = replace(view, in_flight=coming, promised={token: promises}, spent_this_month=4.5)
    views = [(100.0, view), (101.0, later), (140.0, replace(later, others=(OnOffer(kinds[1]),)))]
    befores = [None, *(each for _, each in views)]
    rows = [(at, view_change(before, each, policy)) for before, (at, each) in zip(befores, views, strict=False)]
    (case,) = parse_cases(json.loads(json.dumps(fold("pool", rows))))
    assert (case.policy, case.offering, case.others) == (policy, kinds[0], kinds[1:])
    assert case.ticks[1].promised == {token: promises}
    told = [(each.launch, each.terminations) for each in run_case(case)]
    decisions = [decide(each, policy, at) for at, each in views]
    assert told == [(each.launch_count, each.terminations) for each in decisions]
    assert told[0][0] > 0
