"""What the options of `slotsmith simulate` mean, and what is said of those that are wrong."""

from __future__ import annotations

import json

import pytest

from cli.command_line import CommandLine
from cli.test_cli_bad_input import assert_one_line

CONFIG = """\
pools:
  - name: gpu
    scheduler: {type: simulated}
    provider: {type: simulated, boot_time: 180s, instance_types: [{name: g, slots: 4, price_per_hour: 3}]}
    min_instances: 1
    max_instances: 4
  - name: desk
    scheduler: {type: push}
    provider: {type: local, command: "sleep 600"}
  - name: half
    scheduler: {type: push}
    provider: {type: simulated, instance_types: [{name: g}]}
"""
TRACE = "submit_s,duration_s,gpus\n0,600,1\n900,600,2\n"
GPU = ("simulate", "--config", "slotsmith.yaml", "--pool", "gpu", "--trace", "trace.csv")


@pytest.fixture(autouse=True)
def files(slotsmith: CommandLine) -> None:
    slotsmith.config(CONFIG)
    slotsmith.config(TRACE, "trace.csv")


def test_a_simulated_pool_is_a_good_configuration(slotsmith: CommandLine) -> None:
    said = slotsmith("config", "check")
    assert (said.status, said.err) == (0, "")
    assert "gpu (simulated on simulated)" in said.out


def test_run_says_that_a_simulated_scheduler_exists_only_in_a_simulation(slotsmith: CommandLine) -> None:
    assert "exists only in `slotsmith simulate`" in slotsmith("run", "--dry-run").err
    slotsmith.config(CONFIG.split("  - name: desk")[0])
    said = slotsmith("config", "check", "--connect")
    assert_one_line(said, "pools[0].scheduler: ", "exists only in `slotsmith simulate`")


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ("gpo", "no pool 'gpo' in slotsmith.yaml, did you mean 'gpu'?"),
        ("desk", "pool 'desk' has a provider of type 'local'; only one of type 'simulated' can be simulated"),
        ("half", "pool 'half' has a scheduler of type 'push'; only one of type 'simulated' can be simulated"),
    ],
)
def test_a_pool_that_cannot_be_simulated(slotsmith: CommandLine, pool: str, told: str) -> None:
    assert_one_line(slotsmith("simulate", "--trace", "trace.csv", "--pool", pool), told)


def test_several_pools_and_none_named(slotsmith: CommandLine) -> None:
    assert_one_line(slotsmith("simulate", "--trace", "trace.csv"), "has 3 pools, say which: gpu, desk, half")


@pytest.mark.parametrize("window", ["", "5", "5:", ":5", "a:b", "5:5", "9:5", "-1:5", "0:inf", "0:nan", "1:2:3"])
def test_a_wrong_window(slotsmith: CommandLine, window: str) -> None:
    assert_one_line(slotsmith(*GPU, f"--window={window}"), "--window: expected START:END in seconds", f"got '{window}'")


def test_a_window_without_tasks(slotsmith: CommandLine) -> None:
    assert_one_line(
        slotsmith(*GPU, "--window", "1000:2000"),
        "--window: no task of trace.csv is submitted in 1000:2000; its tasks are submitted from 0 to 900 seconds",
    )


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (None, "other.csv: cannot be read: No such file or directory"),
        ("", "other.csv:1: has no column submit_s"),
        ("submit_s,duration_s\n", "other.csv: has no tasks"),
        ("submit_s,duration_s\n1,2\n3,soon\n", "other.csv:3: duration_s is 'soon', expected a number"),
        ("submit_s,duration_s\n1\n", "other.csv:2: has 1 fields, expected 2"),
    ],
)
def test_a_wrong_trace(slotsmith: CommandLine, trace: str | None, told: str) -> None:
    if trace is not None:
        slotsmith.config(trace, "other.csv")
    assert_one_line(slotsmith(*GPU[:-1], "other.csv"), told)


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ("max_idle_agent_period", "--sweep: expected KEY=VALUE,VALUE like max_idle_agent_period=1m,5m,20m; got"),
        ("max_idle_period=1m", "--sweep: unknown key 'max_idle_period', did you mean 'max_idle_agent_period'?"),
        ("name=a,b", "--sweep: unknown key 'name', expected one of: min_instances, max_instances, "),
        ("max_idle_agent_period=20", "--sweep: max_idle_agent_period=20: expected a duration with a unit like 90s"),
        ("max_idle_agent_period=1m,", "--sweep: max_idle_agent_period=: expected a duration with a unit like 90s"),
        ("max_idle_agent_period=1m,0s", "--sweep: max_idle_agent_period=0s: expected more than 0, got '0s'"),
        ("max_idle_agent_period=1m,1m", "--sweep: the value '1m' stands twice"),
        ("max_instances=4,many", "--sweep: max_instances=many: expected a whole number, got 'many'"),
        ("max_instances=0,4", "--sweep: max_instances=0: expected at least min_instances (1), got 0"),
        ("min_instances=5", "--sweep: min_instances=5: max_instances: expected at least min_instances (5), got 4"),
    ],
)
def test_a_wrong_sweep(slotsmith: CommandLine, sweep: str, told: str) -> None:
    assert_one_line(slotsmith(*GPU, "--sweep", sweep), told)


@pytest.mark.parametrize(
    ("plot", "told"),
    [
        ("out.svg", "--plot: out.svg: a chart is written as *.html or *.png"),
        ("no/such/out.png", "--plot: no/such/out.png: its directory does not exist"),
    ],
)
def test_a_wrong_plot(slotsmith: CommandLine, plot: str, told: str) -> None:
    assert_one_line(slotsmith(*GPU, "--plot", plot), told)


def test_charts_without_their_extra(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.simulation.plot.find_spec", lambda _: None)
    assert_one_line(slotsmith(*GPU, "--plot", "out.png"), "charts need the package", "pip install 'slotsmith[plot]'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rules", "mine"], "'mine' is not one of 'slotsmith', 'reference'"),
        (["--faults", "some"], "'some' is not one of 'none', 'light', 'heavy'"),
        (["--seed", "x"], "Invalid value for '--seed'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
    ],
)
def test_wrong_choices(slotsmith: CommandLine, arguments: list[str], told: str) -> None:
    assert_one_line(slotsmith(*GPU, *arguments), told)


def test_neither_a_trace_nor_a_seed(slotsmith: CommandLine) -> None:
    assert_one_line(slotsmith("simulate"), "say --trace FILE to replay a trace, or --seed N to replay a seed")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pool", "gpu"),
        ("window", "0:1"),
        ("rules", "reference"),
        ("faults", "light"),
        ("sweep", "min_instances=1"),
        ("plot", "a.png"),
    ],
)
def test_what_only_goes_with_a_trace(slotsmith: CommandLine, option: str, value: str) -> None:
    assert_one_line(slotsmith("simulate", "--seed", "1", f"--{option}", value), f"--{option} needs --trace")


def test_a_schedule_is_not_simulated_without_a_word(slotsmith: CommandLine) -> None:
    more = '    schedule: [{cron: "0 8 * * *", lasts: 1h, max_instances: 9}]\n'
    slotsmith.config(CONFIG.replace("    max_instances: 4\n", "    max_instances: 4\n" + more))
    assert_one_line(slotsmith(*GPU), "pool 'gpu' has a schedule, which is not simulated")


@pytest.mark.usefixtures("in_this_process")
def test_limits_in_dollars_can_be_swept(slotsmith: CommandLine) -> None:
    said = slotsmith(*GPU, "--sweep", "max_dollars_per_hour=3.5,12", "--json")
    assert said.status == 0, said.err
    peaks = [run["peak_instances"] for run in json.loads(said.out)["sweep"]]
    assert peaks[0] == 1
