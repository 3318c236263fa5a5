"""`slotsmith demo` as a process of its own: what it ends with, and that nothing of it is left whenever it is ended."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from slotsmith.providers.local import find_processes
from waiting import wait_until

TASKS = 262
LAST_LINE = re.compile(r"done (\d+)/(\d+) tasks, wrong (\d+), processes left (\d+)")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ENDS_WITHIN = 120.0
"""Seconds from an interruption to the end; it takes about two."""


class Run:
    """One demo, with its temporary directory in `directory`, and its output as it comes."""

    def __init__(self, directory: Path, *, terminal: bool = False) -> None:
        self.directory = directory
        self.output = directory / "output"
        self._terminal: int | None = None
        with self.output.open("wb") as output:
            out: int = output.fileno()
            if terminal:
                self._terminal, out = pty.openpty()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slotsmith", "demo"],
                env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "100", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            if terminal:
                os.close(out)
        self._seen: set[psutil.Process] = set()

    def text(self) -> str:
        """All that it has said so far."""
        if self._terminal is not None:
            os.set_blocking(self._terminal, False)
            with suppress(BlockingIOError, OSError), self.output.open("ab") as output:
                while part := os.read(self._terminal, 65536):
                    output.write(part)
        return ESCAPES.sub("", self.output.read_text(errors="replace"))

    def says(self, words: str, timeout: float = 180.0) -> None:
        """Return when it has said something that the pattern `words` fits."""

        def said() -> bool:
            self.look()
            ended = self.process.poll() is not None
            found = re.search(words, self.text()) is not None
            assert found or not ended, self.text()
            return found

        wait_until(said, timeout=timeout, what=f"{words!r}; so far:\n{self.text()}")

    def look(self) -> None:
        """Remember which processes it has: once it has ended, they are nobody's children."""
        with suppress(psutil.Error):
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def interrupt(self, number: int) -> int:
        """Send the signal; the exit status."""
        self.look()
        self.process.send_signal(number)
        return self.process.wait(ENDS_WITHIN)

    def left(self) -> list[str]:
        """What still runs of it."""
        live = [process for process in self._seen if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        return [f"{p.pid}: {' '.join(p.cmdline())}" for p in live] + [
            f"{found.pid} of {found.instance_id}" for found in find_processes(state_dir=self.directory)
        ]

    def last_line(self) -> tuple[int, ...]:
        """The numbers in it."""
        match = LAST_LINE.fullmatch(self.text().splitlines()[-1])
        assert match, self.text()
        return tuple(map(int, match.groups()))

    def end(self) -> None:
        if self.process.poll() is None:
            self.look()
            self.process.kill()
            self.process.wait()
        for process in [*self._seen, *map(psutil.Process, [p.pid for p in find_processes(state_dir=self.directory)])]:
            with suppress(psutil.Error):
                process.kill()
        if self._terminal is not None:
            os.close(self._terminal)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        run.end()


def check_interrupted(run: Run, number: int) -> None:
    """It ends as told, leaves nothing, and says so."""
    status = run.interrupt(number)
    assert status == 130, run.text()
    assert run.left() == []
    done, tasks, wrong, left = run.last_line()
    assert (tasks, wrong, left) == (TASKS, 0, 0)
    assert done <= TASKS
    assert "Traceback" not in run.text()
    assert [path.name for path in run.directory.iterdir()] == ["output"]


@pytest.mark.timeout(600)
def test_a_whole_demo(tmp_path: Path, runs: list[Run]) -> None:
    run = Run(tmp_path)
    runs.append(run)
    run.says(r"web page, while it lasts: http://\S+")
    run.says("has joined the scheduler")
    (address,) = re.findall(r"(http://\S+)", run.text())
    assert "demo" in httpx.get(f"{address}/pools/demo", timeout=60).text
    assert [each["pool"] for each in httpx.get(f"{address}/api/v1/pools", timeout=60).json()["pools"]] == ["demo"]
    run.says("Summary", timeout=480)
    assert run.process.wait(60) == 0, run.text()
    assert run.last_line() == (TASKS, TASKS, 0, 0)
    assert run.left() == []
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    told = run.text()
    assert "Traceback" not in told
    killed = re.search(r"(demo-\S+) is killed by the demo", told)
    assert killed, told
    ids = set(re.findall(r"(demo-\S+) runs", told))
    assert len(ids) == 4, "three, and one in place of the one that was killed"
    for name in ids:
        assert f"{name} has joined the scheduler, with 2 slots" in told
        assert f"{name} is gone" in told
        (why,) = re.findall(rf"(?m)^{name}  (.*)$", told)
        assert re.match(r"pending tasks need \d+ ", why)
        assert ("stopped: " if name == killed[1] else "long idle") in why
    for name in ids - {killed[1]}:
        assert f"{name} is given up: long idle" in told
    assert re.search(r"primes found +[\d,]+; by the direct computation [\d,]+: equal", told)
    figures = re.search(r"paid +(\d+), ([\d.]+) times the least possible\s+least possible +(\d+)", told)
    assert figures, told
    paid, times, least = map(float, figures.groups())
    assert times == pytest.approx(paid / least, abs=0.1)
    assert times >= 1


def test_ctrl_c_while_agents_boot(tmp_path: Path, runs: list[Run]) -> None:
    run = Run(tmp_path)
    runs.append(run)
    run.says(r" runs \(pid ")
    check_interrupted(run, signal.SIGINT)


def test_a_termination_while_agents_work_on_a_terminal(tmp_path: Path, runs: list[Run]) -> None:
    run = Run(tmp_path, terminal=True)
    runs.append(run)
    run.says("has joined the scheduler")
    run.says("2 of 2")  # the picture: all slots of an agent are in use
    check_interrupted(run, signal.SIGTERM)
    assert "its agent is" in run.text()


MOMENTS = {
    "at the start": "starting a Dask scheduler",
    "with a scheduler": "submitting",
    "at the first launch": "launching",
    "while agents boot": r" runs \(pid ",
    "when agents join": "has joined",
    "at work": "tasks are done",
    "after the kill": "is killed",
    "when its place is taken": r"is killed[^$]* runs \(pid ",
    "all done": "all tasks are done",
    "while they go": "is given up: long idle",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_can_be_ended_at_any_moment(tmp_path: Path, runs: list[Run], moment: str) -> None:
    for index, number in enumerate((signal.SIGINT, signal.SIGTERM)):
        directory = tmp_path / str(index)
        directory.mkdir()
        run = Run(directory)
        runs.append(run)
        run.says(MOMENTS[moment])
        check_interrupted(run, number)
