"""`status`, `explain` and `export` tell what the store says, and nothing else."""

import json
import os
import pty
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import CommandLine
from slotsmith.clock import SystemClock
from slotsmith.model.decision import Decision, Launch, Reason, Termination, Unmet
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import LaunchIntent
from slotsmith.model.offering import Offering
from slotsmith.model.record import Move
from slotsmith.model.resources import Resources
from slotsmith.store.base import Changes
from slotsmith.store.sql import open_store
from waiting import PATIENCE

NOW = time.time()
OFFERING = Offering("big", Resources(slots=4))
LATER = NOW + 1
"""When the commands look."""
CONFIG = """\
store: {url: "sqlite:///books.db"}
pools:
  - {name: gpu, scheduler: {type: push}, provider: {type: local, command: "sleep 600"}}
  - {name: cpu, scheduler: {type: push}, provider: {type: local, command: "sleep 600"}}
"""


def instance(id_: str, agent: str, **more: Any) -> dict[str, Any]:
    base = {"id": id_, "state": "running", "detail": "", "launched_at": NOW - 3700, "agent": agent}
    return base | {"idle_since": None, "missing_since": None, "termination": None} | more


SUMMARY: dict[str, Any] = {
    "at": NOW,
    "policy": {
        "min_instances": 1,
        "max_instances": 8,
        "max_idle_agent_period": 86400.0,
        "max_agent_starting_period": 1200.0,
        "max_agent_disconnect_period": 600.0,
    },
    "offering": {"name": "big/on-demand", "slots": 4},
    "instances": [
        instance("i-busy", "busy"),
        instance("i-idle", "idle", idle_since=NOW - 7210),
        instance("i-lost", "disconnected", missing_since=NOW - 125),
        instance("i-new", "starting", state="starting", launched_at=NOW - 20),
        instance(
            "i-old",
            "idle",
            idle_since=NOW - 1300,
            termination={"reason": "long idle", "phase": "draining", "since": NOW - 9, "error": "no\x1b[31m answer"},
        ),
    ],
    "counts": {"running": 4, "starting": 1},
    "in_flight": 2,
    "pending_tasks": 7,
    "pending_slots": 12,
    "desired_new": 3,
    "unmet": [{"what": "2 x 9 slots", "count": 2, "reason": "no instance has more than 4 slots"}],
    "launch_error": "quota of 5 reached",
    "next_attempt_at": NOW + 90,
    "scheduler": {"ok": False, "error": "connection refused", "at": NOW - 61},
    "provider": {"ok": True, "error": None, "at": NOW},
    "strays": ["i-stray"],
    "next": [{"at": NOW + 900, "what": "terminate i-idle (long idle)"}],
}


@pytest.fixture(autouse=True)
def at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda _: LATER)


@pytest.fixture
def books(slotsmith: CommandLine) -> Path:
    """A store with one pool's books, and a configuration with two pools."""
    slotsmith.config(CONFIG)
    path = slotsmith.directory / "books.db"
    decision = Decision(
        NOW - 30,
        launches=(Launch(OFFERING, 2, "7 tasks are pending"),),
        terminations=(Termination("i-old", Reason.LONG_IDLE),),
        unmet=(Unmet(1, "the maximum is 8"),),
    )
    view = {
        "complete": True,
        "config": {"min_instances": 0, "max_instances": 3, "capacity": {"slots": 2}},
        "instances": [{"id": "i1", "launch": NOW - 900, "agent": "i1", "state": "running"}],
        "agents": [{"name": "i1", "idle": True}],
        "tasks": [],
        "groups": [],
        "desired_new": None,
        "in_flight": [],
        "draining": [],
    }
    with open_store(f"sqlite:///{path}") as store:
        intent = LaunchIntent("t1", "gpu", OFFERING, 2, NOW - 30, "7 tasks are pending")
        move = Move("i-new", NOW - 20, None, InstanceState.STARTING, "pid 7")
        changes = Changes("gpu", NOW - 30, intents=(intent,), moves=(move,), decision=decision, recorded_view=view)
        store.commit(changes)
        store.commit(Changes("gpu", NOW, summary=SUMMARY))
    return path


def test_the_status_of_all_pools(slotsmith: CommandLine, books: Path) -> None:
    said = slotsmith("status")
    assert (said.status, said.err) == (0, "")
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    gpu = ("running", "1 to 8", "4 running, 1 starting, 2 in flight", "1 busy, 1 disconnected, 2 idle, 1 starting")
    assert all(part in said.out for part in gpu)
    assert "7 tasks, 12 slots" in said.out
    assert "never run" in lines["cpu"]
    assert lines["i-busy"].split()[1:4] == ["running", "1h1m", "busy"]
    assert lines["i-idle"].split()[3:5] == ["idle", "2h"]
    assert "draining for 10s: long idle, no\\x1b[31m answer" in lines["i-old"]
    assert "\x1b" not in said.out
    for trouble in (
        "gpu: scheduler: connection refused (last answer 1m2s ago)",
        "gpu: unmet: 2 x 9 slots: no instance has more than 4 slots",
        "gpu: launch error: quota of 5 reached",
        "gpu: no launch before ",
        "gpu: 1 instance unknown to this store; see `slotsmith adopt`",
    ):
        assert trouble in said.out


def test_the_status_of_one_pool_as_json(slotsmith: CommandLine, books: Path) -> None:
    said = slotsmith("status", "gpu", "--json")
    told = json.loads(said.out)
    assert told["at"] == LATER
    assert told["pools"] == [
        {"pool": "gpu", "configured": True, "daemon": {"alive": True, "seen_at": NOW}, "summary": SUMMARY}
    ]


def test_a_store_tells_without_a_configuration(slotsmith: CommandLine, books: Path) -> None:
    (slotsmith.directory / "slotsmith.yaml").unlink()
    told = json.loads(slotsmith("status", "--store", f"sqlite:///{books}", "--json").out)
    assert [(pool["pool"], pool["configured"]) for pool in told["pools"]] == [("gpu", None)]


def test_a_pool_that_is_no_longer_in_the_file_is_told(slotsmith: CommandLine, books: Path) -> None:
    slotsmith.config(CONFIG.replace("name: gpu", "name: tpu"))
    said = slotsmith("status")
    assert "gpu: not in the configuration any more" in said.out
    assert [pool["pool"] for pool in json.loads(slotsmith("status", "--json").out)["pools"]] == ["tpu", "cpu", "gpu"]


@pytest.mark.parametrize(
    ("change", "told"), [({"at": NOW - 3600}, "not seen for 1h"), ({"stopped": True}, "stopped for ")]
)
def test_a_daemon_that_is_not_there_is_told(
    slotsmith: CommandLine, books: Path, change: dict[str, Any], told: str
) -> None:
    with open_store(f"sqlite:///{books}") as store:
        store.commit(Changes("gpu", NOW, summary=SUMMARY | change))
    assert told in slotsmith("status").out
    assert "No daemon is running" in slotsmith("explain").out
    assert json.loads(slotsmith("status", "gpu", "--json").out)["pools"][0]["daemon"]["alive"] is False


def test_many_instances_are_counted_not_listed(slotsmith: CommandLine, books: Path) -> None:
    many = [instance(f"i-{number}", "busy") for number in range(1000)]
    with open_store(f"sqlite:///{books}") as store:
        changed = SUMMARY | {"instances": many, "counts": {"running": 5000}, "instances_omitted": 4000}
        store.commit(Changes("gpu", NOW, summary=changed))
    assert "and 4960 more" in slotsmith("status").out
    assert "and 4960 more" in slotsmith("explain").out


def test_unknown_pools(slotsmith: CommandLine, books: Path) -> None:
    for command in ("status", "explain", "export"):
        said = slotsmith(command, "gpo")
        assert said.status == 2
        assert said.errors == ["slotsmith: no pool 'gpo' in slotsmith.yaml, did you mean 'gpu'?"]


def test_explaining_says_why(slotsmith: CommandLine, books: Path) -> None:
    said = slotsmith("explain", "gpu")
    assert (said.status, said.err) == (0, "")
    for line in (
        "gpu: 5 instances (4 running, 1 starting), and 2 asked for and not listed yet; at least 1 and at most 8 of",
        "  7 tasks pending (12 slots); beyond what is there, that asks for 3 new instances.",
        "  i-busy: running, launched 1h1m ago; its agent works",
        "  i-idle: running, launched 1h1m ago; its agent has been idle for 2h of 1d",
        "  i-lost: running, launched 1h1m ago; its agent has been missing for 2m6s of 10m",
        "  i-new: starting, launched 21s ago; its agent has 20m from the launch to join",
        "  i-old: running, launched 1h1m ago; it goes: draining for 10s: long idle, no\\x1b[31m answer",
        "  2 x big/on-demand, asked 31s ago (open): 7 tasks are pending",
        "  unmet: 2 x 9 slots: no instance has more than 4 slots",
        "  in 14m59s (",
        "): terminate i-idle (long idle)",
        "launch 2 x big/on-demand (7 tasks are pending); terminate i-old (long idle); "
        "leave unmet 1 instance (the maximum is 8)",
        "i-new first seen -> starting (pid 7)",
    ):
        assert line in said.out
    assert "\x1b" not in said.out


def test_explaining_a_pool_that_has_never_run(slotsmith: CommandLine, books: Path) -> None:
    assert "cpu: there is nothing to tell" in slotsmith("explain").out


def test_explaining_as_json(slotsmith: CommandLine, books: Path) -> None:
    pool = json.loads(slotsmith("explain", "gpu", "--json").out)["pools"][0]
    assert pool["summary"] == SUMMARY
    assert pool["decisions"][0]["launch"] == [
        {"offering": "big/on-demand", "count": 2, "reason": "7 tasks are pending"}
    ]
    assert pool["moves"] == [{"at": NOW - 20, "id": "i-new", "before": None, "after": "starting", "note": "pid 7"}]
    assert [(each["token"], each["state"]) for each in pool["intents"]] == [("t1", "open")]


def test_what_is_exported_can_be_replayed(slotsmith: CommandLine, books: Path) -> None:
    assert slotsmith("export").errors == ["slotsmith: slotsmith.yaml has 2 pools, say which: gpu, cpu"]
    said = slotsmith("export", "gpu", "--since", "1h")
    path = slotsmith.directory / "cases.json"
    path.write_text(said.out)
    told = json.loads(slotsmith("replay", path, "--json").out)
    assert [(tick["at"], tick["counted"], list(tick["idle"])) for tick in told["cases"][0]["ticks"]] == [
        (NOW - 30, ["i1"], ["i1"])
    ]


def test_nothing_to_export(slotsmith: CommandLine, books: Path) -> None:
    said = slotsmith("export", "cpu")
    assert (said.status, said.out) == (1, "")
    assert said.errors == ["slotsmith: nothing is on record of pool 'cpu' in the last 1d"]


@pytest.mark.parametrize(("arguments", "known_by"), [(["--json"], '"gpu"'), ([], "i-busy")])
def test_watching_goes_on_until_it_is_interrupted(
    slotsmith: CommandLine, books: Path, arguments: list[str], known_by: str
) -> None:
    with slotsmith.start("status", "--watch", *arguments) as watcher:
        assert watcher.stdout is not None
        for _ in range(2):
            assert any(known_by in line for line in watcher.stdout)
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=PATIENCE)
    assert (watcher.returncode, err) == (130, "")


def test_watching_on_a_terminal(slotsmith: CommandLine, books: Path) -> None:
    ours, theirs = pty.openpty()
    with slotsmith.start("status", "--watch", stdout=theirs, stderr=theirs) as watcher:
        os.close(theirs)
        shown = b""
        while shown.count(b"i-busy") < 2:
            shown += os.read(ours, 65536)
        watcher.send_signal(signal.SIGINT)
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                shown += chunk
        assert watcher.wait(PATIENCE) == 130
    os.close(ours)
    assert b"Traceback" not in shown
