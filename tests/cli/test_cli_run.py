"""`run`, `down` and `adopt` with real processes as agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from cli.command_line import CommandLine
from leftovers import end_all
from slotsmith.providers.local import find_processes
from waiting import PATIENCE, wait_until

CONFIG = """\
store: {url: "sqlite:///books.db"}
log: {format: json}
pools:
  - name: gpu
    scheduler: {type: push}
    provider: {type: local, command: "sleep 600", slots: 2}
    min_instances: 2
"""


class Daemon:
    """`slotsmith run` in a process of its own, and its log."""

    started: ClassVar[list[Daemon]] = []

    def __init__(self, slotsmith: CommandLine) -> None:
        self._slotsmith = slotsmith
        self.process = slotsmith.start("run", stdout=subprocess.DEVNULL)
        self.events: list[dict[str, Any]] = []
        # A log that says nothing more ends with the process, and the test with it.
        self._watchdog = threading.Timer(2 * PATIENCE, self.process.kill)
        self._watchdog.start()
        self.started.append(self)

    def await_event(self, event: str, **values: object) -> dict[str, Any]:
        """Read the log until it has this event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            told = json.loads(line)
            self.events.append(told)
            if told["event"] == event and values.items() <= told.items():
                return told
        raise AssertionError(f"the log ended without {event}: {self.events}")

    def await_agents(self, count: int = 2) -> list[str]:
        """The ids of its instances, once that many run."""
        return sorted(self.await_event("instance", now="running")["id"] for _ in range(count))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        self._watchdog.cancel()
        self.events += [json.loads(line) for line in err.splitlines()]
        return self.process.returncode


@pytest.fixture(autouse=True)
def nothing_left(slotsmith: CommandLine) -> Iterator[None]:
    yield
    while Daemon.started:
        daemon = Daemon.started.pop()
        if daemon.process.poll() is None:
            daemon.stop(signal.SIGKILL)
    end_all(slotsmith.directory)


@pytest.fixture
def daemon(slotsmith: CommandLine) -> Daemon:
    slotsmith.config(CONFIG)
    return Daemon(slotsmith)


def summary_of(slotsmith: CommandLine) -> dict[str, Any]:
    """What `status` has of the pool."""
    summary: dict[str, Any] = json.loads(slotsmith("status", "--json").out)["pools"][0]["summary"]
    return summary


def agents(slotsmith: CommandLine) -> set[str]:
    return {process.instance_id for process in find_processes(state_dir=slotsmith.directory)}


def test_a_daemon_from_start_to_end(slotsmith: CommandLine, daemon: Daemon) -> None:
    ids = daemon.await_agents()
    assert daemon.stop() == 0
    told = [event["event"] for event in daemon.events]
    assert (told[0], told[-2:]) == ("running", ["stopping; instances stay", "stopped"])
    assert agents(slotsmith) == set(ids)

    began = time.time()
    again = Daemon(slotsmith)
    again.await_event("running")
    wait_until(lambda: summary_of(slotsmith)["at"] > began, what="a pass of the second daemon")
    assert sorted(each["id"] for each in summary_of(slotsmith)["instances"]) == ids
    assert again.stop(signal.SIGINT) == 0
    assert not [event for event in again.events if event["event"] == "launching"]
    assert agents(slotsmith) == set(ids)

    said = slotsmith("down")
    assert (said.status, said.out) == (0, "2 instances terminated\n")
    assert said.errors[0] == "gpu: 2 instances left"
    assert not agents(slotsmith)
    assert slotsmith("down", "gpu", "--force").out == "0 instances terminated\n"


def test_one_daemon_per_store(slotsmith: CommandLine, daemon: Daemon) -> None:
    daemon.await_agents()
    for command in (["run"], ["down"], ["down", "--force"], ["adopt", "--yes"]):
        said = slotsmith(*command)
        assert (said.status, said.out, len(said.errors)) == (1, "", 1)
        assert f"another slotsmith (pid {daemon.process.pid}) works on this store" in said.errors[0]
    assert len(agents(slotsmith)) == 2


def test_a_second_signal_ends_it_at_once(slotsmith: CommandLine) -> None:
    slotsmith.config(CONFIG)
    daemon = Daemon(slotsmith)
    daemon.await_agents()
    # Both signals arrive while it cannot handle the first.
    os.kill(daemon.process.pid, signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(daemon.process.pid, number)
    assert daemon.stop(signal.SIGCONT) in (130, 143)


def test_a_pool_that_cannot_start_is_no_reason_to_stop(slotsmith: CommandLine) -> None:
    broken = CONFIG.split("pools:\n")[1].replace("gpu", "broken").replace("sleep 600", "no-such-program")
    slotsmith.config(CONFIG + broken)
    daemon = Daemon(slotsmith)
    daemon.await_agents()
    assert daemon.stop() == 0
    told = [event for event in daemon.events if event.get("pool") == "broken" and event["level"] == "error"]
    assert any("no-such-program" in event["error"] for event in told)


def test_a_dry_run_changes_nothing(slotsmith: CommandLine) -> None:
    slotsmith.config(CONFIG + CONFIG.split("pools:\n")[1].replace("gpu", "bad").replace("sleep", "no-such-program"))
    said = slotsmith("run", "--dry-run", "--json")
    good, bad = json.loads(said.out)["pools"]
    assert (good["pool"], good["error"], good["terminate"]) == ("gpu", None, [])
    assert [(each["count"], each["offering"]) for each in good["launch"]] == [(2, "local/on-demand")]
    assert "no-such-program" in bad["error"]
    assert said.status == 1
    assert not (slotsmith.directory / "books.db").exists()
    assert not agents(slotsmith)

    slotsmith.config(CONFIG)
    said = slotsmith("run", "--dry-run")
    assert said.status == 0
    assert "2 x local/on-demand" in said.out


def test_a_dry_run_beside_a_daemon(slotsmith: CommandLine, daemon: Daemon) -> None:
    daemon.await_agents()
    said = slotsmith("run", "--dry-run")
    assert (said.status, said.err) == (0, "")
    assert "do nothing" in said.out


def test_instances_without_books_are_left_alone_until_they_are_adopted(slotsmith: CommandLine, daemon: Daemon) -> None:
    ids = daemon.await_agents()
    daemon.stop()
    for path in slotsmith.directory.glob("books.db*"):
        if path.is_file():
            path.unlink()

    said = slotsmith("down")
    assert (said.status, said.out) == (0, "0 instances terminated\n")
    assert said.errors[-1].startswith("left alone: 2 instances unknown to this store")
    assert agents(slotsmith) == set(ids)

    said = slotsmith("adopt")
    assert said.status == 2
    assert all(id_ in said.out for id_ in ids)
    assert said.errors[-1] == "slotsmith: nobody is there to ask: say --yes to adopt them"

    said = slotsmith("adopt", "--yes")
    assert (said.status, said.out.splitlines()[-1]) == (0, "2 instances adopted")
    said = slotsmith("down", "--force")
    assert (said.status, said.out) == (0, "2 instances terminated\n")
    assert not agents(slotsmith)


def test_the_daemon_tells_of_a_pool_that_is_no_longer_in_the_file(slotsmith: CommandLine, daemon: Daemon) -> None:
    daemon.await_agents()
    daemon.stop()
    slotsmith.config(CONFIG.replace("gpu", "other").replace("min_instances: 2", "min_instances: 0"))
    other = Daemon(slotsmith)
    assert (
        other.await_event("a pool with instances is not in the file; they stay until `slotsmith down`")["pool"] == "gpu"
    )
    assert other.stop() == 0
    said = slotsmith("down", "gpu")
    assert said.status == 2
    assert said.errors[0].startswith("slotsmith: pool 'gpu' is on record, but not in slotsmith.yaml")
    assert len(agents(slotsmith)) == 2
