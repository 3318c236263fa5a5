"""`slotsmith run` as a process of its own, with agents that cost nothing, to be stopped, killed and asked.

The pools' schedulers are queues in files (see `plugin/filequeue.py`) unless a test says otherwise.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from leftovers import end_all
from slotsmith.cli import main
from slotsmith.providers.local import find_processes

PLUGINS = tuple(str(Path(__file__).parent / name) for name in ("plugin", "hanging_plugin"))
ANSWER_DEADLINE = 60.0
"""Seconds for a command, on a machine that has much else to do."""

_AGENT = (
    "trap 'rm -f {agents}/$SLOTSMITH_INSTANCE_ID; exit 0' TERM; "
    "touch {agents}/$SLOTSMITH_INSTANCE_ID; while :; do sleep 100 & wait; done"
)


class Queue:
    """A number of one-slot tasks in a file, and agents that sign in beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agents = directory / "agents"
        self.agents.mkdir(parents=True)
        self.demand(0)

    def demand(self, tasks: int) -> None:
        """Set the number of tasks in the queue."""
        new = self.directory / "tasks.new"
        new.write_text(str(tasks))
        new.rename(self.directory / "tasks.json")

    def live(self) -> list[str]:
        """The agents that have signed in and not out, by name."""
        return sorted(path.name for path in self.agents.iterdir())

    def scheduler(self) -> dict[str, Any]:
        """The `scheduler:` block of its pool."""
        return {"type": "filequeue", "directory": str(self.directory)}

    def provider(self) -> dict[str, Any]:
        """The `provider:` block of its pool."""
        command = f"sh -c {json.dumps(_AGENT.format(agents=self.agents))}"
        return {"type": "local", "command": command, "slots": 1, "stop_grace": "2s"}

    def pool(self, name: str, **settings: Any) -> dict[str, Any]:
        """Its pool, with quick periods."""
        periods = {
            "max_idle_agent_period": "300ms",
            "max_agent_starting_period": "30s",
            "max_agent_disconnect_period": "30s",
        }
        return {"name": name, "scheduler": self.scheduler(), "provider": self.provider(), **periods, **settings}


class Daemon:
    """One `slotsmith run` at a time in a directory, and the other commands beside it.

    A context manager: leaving it kills the daemon and whatever runs for its instances.
    """

    def __init__(self, directory: Path, *pools: dict[str, Any]) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(*pools)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        end_all(self.directory)

    def configure(self, *pools: dict[str, Any]) -> None:
        """Write the configuration; a daemon that runs does not read it again."""
        config = {"store": {"url": f"sqlite:///{self.directory}/books.db"}, "pools": list(pools)}
        (self.directory / "slotsmith.yaml").write_text(json.dumps(config))

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slotsmith", "run", "--config", "slotsmith.yaml"],
                cwd=self.directory,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 60.0) -> None:
        """SIGTERM, and a clean end within `timeout` seconds."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout) == 0, self.log()

    def log(self) -> str:
        """All that all runs have logged."""
        return (self.directory / "log").read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command to its end, in the daemon's directory."""
        process = self.begin(*arguments)
        try:
            out, err = process.communicate(timeout=ANSWER_DEADLINE)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def look(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that only looks, in this process: starting one takes longer than all that it does."""
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.directory), redirect_stdout(out), redirect_stderr(err), _plugins():
            status = main(list(arguments))
        return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start another command, in the daemon's directory."""
        return subprocess.Popen(
            [sys.executable, "-m", "slotsmith", *arguments],
            cwd=self.directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, pool: str) -> dict[str, Any]:
        """What `status --json` has of a pool."""
        said = self.look("status", pool, "--json")
        assert (said.returncode, said.stderr) == (0, ""), said
        report: dict[str, Any] = json.loads(said.stdout)["pools"][0]
        return report

    def instances(self) -> set[str]:
        """The ids of the instances that have a process: an agent's own short-lived children come and go."""
        return {process.instance_id for process in find_processes(state_dir=self.directory)}

    def processes(self) -> set[int]:
        """Everything that runs for its instances."""
        return {process.pid for process in find_processes(state_dir=self.directory)}


@contextmanager
def _plugins() -> Iterator[None]:
    before = sys.path[:]
    sys.path.extend(PLUGINS)
    try:
        yield
    finally:
        sys.path[:] = before


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [*PLUGINS, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
