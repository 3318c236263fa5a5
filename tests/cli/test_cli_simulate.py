"""`slotsmith simulate`: replays of a trace, sweeps, charts, and seeds of the swarm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import SIMULATED_POOL, CommandLine
from slotsmith.simulation import world
from slotsmith.simulation.events import Violation
from slotsmith.simulation.plot import PlotError

# Two tasks that share an instance, a gang of two whole ones, and one that is larger than the pool.
TRACE = """\
submit_s,duration_s,gpus,job_id,spans
100,600,1,a,0
400,600,2.5,b,0
7000,1200,8,c,1
7100,1200,16,d,1
"""
KEYS = [
    "instance_hours",
    "cost_usd",
    "utilisation",
    "launches",
    "peak_instances",
    "wait_s",
    "tasks",
    "lower_bound",
    "api_calls",
    "violations",
    "seed",
    "digest",
]
RUN = ("simulate", "--config", "slotsmith.yaml", "--trace", "trace.csv")


@pytest.fixture(autouse=True)
def files(slotsmith: CommandLine) -> None:
    slotsmith.config(SIMULATED_POOL)
    slotsmith.config(TRACE, "trace.csv")


def figures(slotsmith: CommandLine, *more: object) -> Any:
    said = slotsmith(*RUN, *more, "--json")
    assert (said.status, said.err) == (0, "")
    return json.loads(said.out)


def test_the_figures_are_those_that_can_be_worked_out_by_hand(slotsmith: CommandLine) -> None:
    told = figures(slotsmith)
    assert list(told) == KEYS
    assert told["violations"] == []
    assert (told["launches"], told["peak_instances"], told["seed"]) == (3, 2, 0)
    assert told["tasks"] == {"completed": 3, "unschedulable": 1, "killed": 0}
    # The second task is placed at once; the gang and the first task wait for a boot and a join.
    assert told["wait_s"]["mean"] == pytest.approx((190 + 0 + 190) / 3, abs=0.5)
    assert told["wait_s"]["zero_fraction"] == pytest.approx(1 / 3)
    assert told["wait_s"]["p95"] == pytest.approx(190, abs=0.5)
    # From each launch to the end of the work, and five minutes of idleness.
    paid = (1000 + 300 - 100) + 2 * (190 + 1200 + 300)
    assert told["instance_hours"] == pytest.approx(paid / 3600, rel=0.01)
    assert told["cost_usd"] == pytest.approx(3.6 * told["instance_hours"])
    assert told["utilisation"] == pytest.approx((600 + 1800 + 9600) / (4 * paid), rel=0.01)
    assert told["lower_bound"]["work_hours"] == pytest.approx((600 + 1800 + 9600) / 4 / 3600)
    assert told["lower_bound"]["clairvoyant_hours"] <= told["instance_hours"]
    assert told["api_calls"].keys() == {"launch", "list", "terminate"}


def test_a_table_tells_the_same(slotsmith: CommandLine) -> None:
    told = figures(slotsmith)
    said = slotsmith(*RUN)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("pool gpu: trace.csv, rules slotsmith, faults none, seed 0\n")
    lines = {line[:27].strip(): line[27:].strip() for line in said.out.splitlines()}
    assert lines["paid for"].startswith(f"{told['instance_hours']:,.1f} instance-hours")
    assert lines["cost"] == f"${told['cost_usd']:,.2f}"
    assert lines["launches"] == "3 instances"
    assert lines["tasks that fit nowhere"].startswith("1 ")
    assert lines["no wait"].startswith("33.3 %")
    assert lines["broken promises"] == "none"
    assert said.out.splitlines()[-1] == f"digest {told['digest']} (of all events of seed 0)"


def test_without_a_price_there_is_no_cost(slotsmith: CommandLine) -> None:
    slotsmith.config(SIMULATED_POOL.replace(", price_per_hour: 3.6", ""))
    assert figures(slotsmith)["cost_usd"] is None
    assert "not known (the instance type has no price)" in slotsmith(*RUN).out


def test_the_same_seed_gives_the_same_digest_in_every_process(slotsmith: CommandLine) -> None:
    runs = [
        slotsmith.apart(*RUN, "--seed", "7", "--faults", "light", "--json", env={"PYTHONHASHSEED": str(number)}).out
        for number in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert json.loads(runs[0])["seed"] == 7
    assert json.loads(runs[0])["digest"] != figures(slotsmith, "--seed", "7")["digest"], "faults are events"


def test_a_window_limits_the_figures_and_not_the_run(slotsmith: CommandLine) -> None:
    whole, part = figures(slotsmith), figures(slotsmith, "--window", "0:5000")
    assert part["digest"] == whole["digest"]
    assert part["tasks"] == {"completed": 2, "unschedulable": 0, "killed": 0}
    assert part["launches"] == 1
    assert part["instance_hours"] == pytest.approx(1200 / 3600, rel=0.01)


def test_the_reference_polls_every_five_seconds(slotsmith: CommandLine) -> None:
    # It would launch without end for a task that no number of instances within the maximum can run.
    slotsmith.config(TRACE.replace("7100,1200,16,d,1\n", "").replace("100,", "102,", 1), "trace.csv")
    told = figures(slotsmith, "--rules", "reference")
    assert told["wait_s"]["p99"] > figures(slotsmith)["wait_s"]["p99"]
    assert told["tasks"]["completed"] == 3


def test_faults_come_from_the_seed(slotsmith: CommandLine) -> None:
    told = [slotsmith(*RUN, "--faults", "heavy", "--seed", seed, "--json").out for seed in (1, 2)]
    first, second = (json.loads(each) for each in told)
    assert first["digest"] != second["digest"]
    assert first["tasks"]["completed"] == second["tasks"]["completed"] == 3


def test_a_sweep_runs_each_value(slotsmith: CommandLine) -> None:
    runs = figures(slotsmith, "--sweep", "max_idle_agent_period=5m,2h")["sweep"]
    assert [(run["parameter"], run["value"]) for run in runs] == [
        ("max_idle_agent_period", value) for value in ("5m", "2h")
    ]
    assert [list(run)[2:] for run in runs] == [KEYS] * 2
    assert runs[0] == {"parameter": "max_idle_agent_period", "value": "5m"} | figures(slotsmith)
    assert runs[0]["cost_usd"] < runs[1]["cost_usd"]


@pytest.mark.usefixtures("in_this_process")
def test_charts_of_a_run_and_of_a_sweep(slotsmith: CommandLine) -> None:
    assert slotsmith(*RUN, "--plot", "run.html").status == 0
    assert "Pool gpu" in (slotsmith.directory / "run.html").read_text()
    assert slotsmith(*RUN, "--sweep", "max_instances=2,3", "--plot", "sweep.png").status == 0
    assert (slotsmith.directory / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_that_cannot_be_written_takes_no_figures_away(
    slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise PlotError("run.png: cannot be written: No space left on device")

    monkeypatch.setattr("slotsmith.simulation.plot._save", full)
    said = slotsmith(*RUN, "--json", "--plot", "run.png")
    assert said.status == 1
    assert said.errors == ["slotsmith: run.png: cannot be written: No space left on device"]
    assert list(json.loads(said.out)) == KEYS


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in which a promise is broken."""
    right = world.run_scenario

    def wrong(*arguments: Any, **more: Any) -> world.Outcome:
        return replace(right(*arguments, **more), violations=(Violation("I3", 12.5, 7, "launched twice\x1b"),))

    monkeypatch.setattr(world, "run_scenario", wrong)
    monkeypatch.setattr("slotsmith.simulation.trial.run_scenario", wrong)


@pytest.mark.usefixtures("broken")
def test_a_broken_promise_is_told_and_is_a_failure(slotsmith: CommandLine) -> None:
    said = slotsmith(*RUN)
    assert said.status == 1
    assert said.out.splitlines()[-2] == "broken promise I3 at 12.500 s: launched twice\\x1b"
    said = slotsmith(*RUN, "--json")
    assert said.status == 1
    assert json.loads(said.out)["violations"] == [
        {"promise": "I3", "at": 12.5, "event": 7, "text": "launched twice\x1b"}
    ]


@pytest.mark.usefixtures("broken")
def test_a_seed_that_breaks_a_promise_is_a_failure(slotsmith: CommandLine) -> None:
    said = slotsmith("simulate", "--seed", "3")
    assert said.status == 1
    assert said.out.splitlines()[-2].startswith("violation: I3 at 12.500 s (event 7): launched twice")


def test_a_seed_is_told_event_by_event(slotsmith: CommandLine) -> None:
    said = slotsmith("simulate", "--seed", "3")
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith("seed 3: ")
    assert any(line.startswith("     0.000  world start generation=1") for line in lines)
    told = slotsmith("simulate", "--seed", "3", "--json")
    assert told.status == said.status
    report = json.loads(told.out)
    assert list(report) == ["seed", "digest", "events", "ended_at_s", "violations", "coverage", "timeline"]
    assert lines[-1].endswith(f"digest {report['digest']}")
    assert len(report["timeline"]) >= report["events"]


def test_a_sweep_is_a_table_and_without_a_terminal_there_is_no_bar(slotsmith: CommandLine) -> None:
    said = slotsmith.apart(*RUN, "--sweep", "max_instances=2,3")
    assert (said.status, said.err) == (0, "")
    rows = [line.split() for line in said.out.splitlines() if line.strip()]
    assert rows[1] == ["max_instances"]
    assert [row[0] for row in rows[-2:]] == ["2", "3"]


def test_the_options_can_be_completed(slotsmith: CommandLine) -> None:
    for words, expected in (("simulate --fau", "--faults"), ("simulate --rules ", "reference")):
        said = slotsmith.apart(
            env={
                "_SLOTSMITH_COMPLETE": "complete_bash",
                "COMP_WORDS": f"slotsmith {words}",
                "COMP_CWORD": str(len(words.split(" "))),
            }
        )
        assert expected in said.out.split()


def test_a_simulation_writes_no_file(slotsmith: CommandLine) -> None:
    before = sorted(Path(slotsmith.directory).iterdir())
    assert slotsmith(*RUN).status == 0
    assert sorted(Path(slotsmith.directory).iterdir()) == before
