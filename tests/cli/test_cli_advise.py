"""`slotsmith advise`: other settings tried on a trace, and on what a pool has had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import SIMULATED_POOL, CommandLine
from slotsmith.cli.books import open_writable
from slotsmith.clock import SystemClock
from slotsmith.simulation import advice
from slotsmith.simulation.advice import choices
from slotsmith.store.base import Changes

# A task that comes ten minutes after another has ended finds an agent only where it was kept for so long.
TRACE = "submit_s,duration_s,gpus\n" + "".join(f"{at},600,4\n" for at in range(0, 12_000, 1_200))
REAL = """\
store: {url: "sqlite:///books.db"}
pools:
  - name: p
    scheduler: {type: push}
    provider: {type: local, slots: 2, command: sleep 60}
"""
SEVERAL = ("max_idle_agent_period: 1m", "max_idle_agent_period: 20m", "headroom: {type: learned}")


@pytest.fixture
def record(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool of a real provider that has been at work; the record of an hour with a task every ten minutes."""
    monkeypatch.chdir(slotsmith.directory)
    slotsmith.config(REAL)
    begin = SystemClock().now() - 3600
    config = {"offerings": [{"type": "big", "price": 2.0, "capacity": {"slots": 2}}]}
    with open_writable("sqlite:///books.db") as store:
        for number in range(6):
            start, name = begin + 600 * number, f"i-{number}"
            task = {"id": f"t{number}", "slots": 2, "count": 1}
            instance = {"id": name, "launch": start + 1, "agent": name, "state": "running"}
            agent = {"name": name, "idle": False, "capacity": {"slots": 2}, "used": {"slots": 2}}
            whole = {"complete": True, "config": config, "instances": [], "agents": [], "tasks": [task]}
            ended: dict[str, Any] = {"gone": [name], "lost": [name]}
            views = [
                (start, whole if number == 0 else {"tasks": [task]}),
                (start + 41, {"instances": [instance], "agents": [agent], "tasks": []}),
                (start + 341, ended),
            ]
            for at, view in views:
                store.commit(Changes("p", at, recorded_view=view))
    return slotsmith.directory


def test_a_trace(slotsmith: CommandLine) -> None:
    slotsmith.config(SIMULATED_POOL)
    trace = slotsmith.config(TRACE, "trace.csv")
    said = slotsmith("advise", "--config", "slotsmith.yaml", "--trace", trace, "--plot", slotsmith.directory / "o.html")
    assert (said.status, said.err) == (0, "")
    assert "pool gpu: trace.csv, instances are up within 3m10s" in said.out
    for choice in ("as it is", *SEVERAL):
        assert f"\n {choice} " in said.out
    assert "Worth taking:" in said.out
    assert "max_idle_agent_period: 20m" in (slotsmith.directory / "o.html").read_text()


def test_what_a_pool_has_had(slotsmith: CommandLine, record: Path) -> None:
    said = slotsmith("advise", "--config", "slotsmith.yaml", "--from-store", "--json")
    assert (said.status, said.err) == (0, "")
    told = json.loads(said.out)["choices"]
    now = told[0]
    assert (now["choice"], now["advised"]) == ("as it is", None)
    assert {"max_idle_agent_period: 5m"} <= {each["choice"] for each in told}
    # Five of six tasks are judged, as the first minutes of the record are left out; each takes 300 s.
    assert now["tasks"] == {"completed": 5, "unschedulable": 0, "killed": 0}
    assert now["cost_usd"] == pytest.approx(2.0 * now["instance_hours"])
    short = next(each for each in told if each["choice"].endswith(" 1m"))
    assert short["wait_s"]["p50"] == pytest.approx(40.0, abs=1.0)
    assert short["cost_usd"] < now["cost_usd"]


def test_a_trace_for_a_pool_of_a_real_cloud(
    slotsmith: CommandLine, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "choices", lambda *pool: choices(*pool)[:1])
    trace = slotsmith.config("submit_s,duration_s,gpus\n0,60,2\n", "trace.csv")
    said = slotsmith("advise", "--config", "slotsmith.yaml", "--trace", trace)
    assert (said.status, said.err) == (0, "")
    assert "instances are up within 40s" in said.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say --trace FILE or --from-store: where the tasks come from"),
        (["--from-store", "--trace", "trace.csv"], "say --trace FILE or --from-store"),
        (["--from-store", "--window", "0:5"], "--window needs --trace"),
        (["--from-store", "--since", "5"], "--since: expected a duration with a unit"),
        (["--trace", "missing.csv"], "missing.csv: cannot be read"),
        (["--trace", "trace.csv", "--window", "5"], "--window: expected START:END"),
        (["--trace", "trace.csv", "--window", "90000:90001"], "no task of trace.csv is submitted in 90000:90001"),
        (["--trace", "trace.csv", "--plot", "out.txt"], "--plot: "),
        (["nobody", "--trace", "trace.csv"], "no pool 'nobody'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(slotsmith.directory)
    slotsmith.config(SIMULATED_POOL)
    slotsmith.config(TRACE, "trace.csv")
    said = slotsmith("advise", "--config", "slotsmith.yaml", *arguments)
    assert (said.status, said.out, len(said.errors)) == (2, "", 1)
    assert told in said.err


def test_a_pool_without_a_record(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(slotsmith.directory)
    slotsmith.config(REAL)
    with open_writable("sqlite:///books.db") as store:
        store.commit(Changes("p", SystemClock().now()))
    said = slotsmith("advise", "--config", "slotsmith.yaml", "--from-store")
    assert (said.status, len(said.errors)) == (1, 1)
    assert "nothing is on record of pool 'p' in the last 7d" in said.err


def test_a_scheduler_that_tells_no_tasks(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(slotsmith.directory)
    slotsmith.config(REAL)
    view = {"complete": True, "config": {"capacity": {"slots": 1}}, "instances": [], "agents": [], "desired_new": 2}
    with open_writable("sqlite:///books.db") as store:
        store.commit(Changes("p", SystemClock().now() - 60, recorded_view=view))
    said = slotsmith("advise", "--config", "slotsmith.yaml", "--from-store")
    assert (said.status, len(said.errors)) == (1, 1)
    assert "the scheduler of pool 'p' tells no tasks: use --trace" in said.err
