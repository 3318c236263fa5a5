"""A machine for boot scripts: Bash with stub programs on its PATH, directories of its own, and a metadata service."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

from slotsmith.boot import BootSettings, script
from waiting import PATIENCE

# Writes down its name, words and the environment variables that tests look for; then does what the test says.
_STUB = """#!/bin/bash
{
  printf '%s\\0' "$(basename "$0")" "$@"
  printf '\\1'
} >>"$LOG"
if [ -n "$DUMP" ] && [ "$(basename "$0") $1" = "docker run" ]; then env -0 >"$DUMP"; fi
name="$(basename "$0")"
if [ -e "$STUBS/$name-$1" ]; then . "$STUBS/$name-$1"; elif [ -e "$STUBS/$name" ]; then . "$STUBS/$name"; fi
"""
_PROGRAMS = ("docker", "curl", "aws", "gcloud", "shutdown", "poweroff", "sleep", "agent", "dask")
_EC2 = """case "$*" in
  *api/token*) echo a-token ;;
  *instance-id*) echo i-0abc ;;
  *instance-type*) echo g4dn.xlarge ;;
  *region*) echo eu-west-1 ;;
esac
"""
_GCE = """case "$*" in
  *instance/name*) echo vm-1 ;;
  *machine-type*) echo projects/1/machineTypes/n1-standard-4 ;;
esac
"""


class Machine:
    """Runs one script, as often as asked, and tells what it did."""

    def __init__(self, directory: Path, settings: BootSettings) -> None:
        self.directory = directory
        self.settings = settings
        self.files = directory / "files"
        self.state = directory / "state"
        self._log = directory / "log"
        self._stubs = directory / "stubs"
        programs = directory / "bin"
        for each in (programs, self._stubs):
            each.mkdir()
        for name in _PROGRAMS:
            path = programs / name
            path.write_text(_STUB)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.stub("curl", _EC2 if settings.cloud == "ec2" else _GCE)

    def stub(self, name: str, text: str) -> None:
        """What a program does, as Bash; `docker-run` is the program's first word too."""
        (self._stubs / name).write_text(text)

    def boot(self, timeout: float = PATIENCE, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script once, to its end."""
        text = script(self.settings)
        for directory in ("/usr/local/slotsmith", "/usr/local/determined"):
            text = text.replace(f"export FILES={directory}\n", f"export FILES={self.files}\n")
        path = self.directory / "boot.sh"
        path.write_text(text)
        given = {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "LOG": str(self._log),
            "STUBS": str(self._stubs),
            "DUMP": str(self.directory / "environment"),
            "SLOTSMITH_STATE": str(self.state),
            "SLOTSMITH_CONSOLE": str(self.directory / "console"),
            "SLOTSMITH_NO_SYSTEMD": "1",
            **environment,
        }
        return subprocess.run(
            ["bash", str(path)], env=given, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def calls(self, *words: str) -> list[list[str]]:
        """The calls of stubs that begin with these words."""
        if not self._log.exists():
            return []
        every = [each.split("\0")[:-1] for each in self._log.read_text().split("\1")[:-1]]
        return [call for call in every if call[: len(words)] == list(words)]

    @property
    def stage(self) -> str:
        """What was reported last."""
        return (self.state / "stage").read_text().strip()

    @property
    def container_environment(self) -> dict[str, str]:
        """What the last `docker run` found in its environment and was told to hand on."""
        names = _after(self.calls("docker", "run")[-1], "--env")
        given = dict(
            each.split("=", 1) for each in (self.directory / "environment").read_text().split("\0") if "=" in each
        )
        return {name: given[name] for name in names}

    def printed(self, result: subprocess.CompletedProcess[str]) -> str:
        """All that left the script: output, console, and words of other programs."""
        console = self.directory / "console"
        words = json.dumps(self.calls())
        return result.stdout + result.stderr + (console.read_text() if console.exists() else "") + words


def _after(words: list[str], option: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == option]


options = _after
