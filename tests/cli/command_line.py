"""Runs slotsmith as its users do, and reads what it said."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slotsmith.cli import main
from waiting import PATIENCE

COMMAND = [sys.executable, "-m", "slotsmith"]
SIMULATED_POOL = """\
pools:
  - name: gpu
    scheduler: {type: simulated}
    provider:
      type: simulated
      boot_time: 180s
      join_time: 10s
      instance_types: [{name: g, slots: 4, price_per_hour: 3.6}]
    max_instances: 3
    max_idle_agent_period: 5m
"""
"""One instance type of a simulated cloud, in dollars per hour."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


class Process(subprocess.Popen[str]):
    """A command that runs; a test that fails beside it does not wait for its end."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


class CommandLine:
    """Commands in this process, which is fast, and in one of their own, which is the real thing."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._started: list[Process] = []
        self.directory = directory

    def __call__(self, *arguments: object) -> Said:
        status = main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Said(status, out, err)

    def start(self, *arguments: object, **more: Any) -> Process:
        words = [*COMMAND, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        self._started.append(Process(words, text=True, cwd=self.directory, **pipes))
        return self._started[-1]

    def end(self) -> None:
        """End what was started and runs still."""
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in filter(None, (process.stdout, process.stderr)):
                pipe.close()

    def apart(self, *arguments: object, env: dict[str, str] | None = None) -> Said:
        words = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.directory,
            env=os.environ | (env or {}),
            timeout=PATIENCE,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def config(self, text: str, name: str = "slotsmith.yaml") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path
