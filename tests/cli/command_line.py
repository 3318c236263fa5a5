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

COMMAND = [sys.executable, "-m", "slotsmith"]


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


class CommandLine:
    """Commands in this process, which is fast, and in one of their own, which is the real thing."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self.directory = directory

    def __call__(self, *arguments: object) -> Said:
        status = main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Said(status, out, err)

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        words = [*COMMAND, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.Popen(words, text=True, cwd=self.directory, **pipes)

    def apart(self, *arguments: object, env: dict[str, str] | None = None) -> Said:
        words = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.directory,
            env=os.environ | (env or {}),
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def config(self, text: str, name: str = "slotsmith.yaml") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path
