"""The demo's surroundings: a Dask scheduler of its own in a temporary directory, and nothing left of either."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from slotsmith.cli.errors import CommandError
from slotsmith.clock import SystemClock
from slotsmith.providers.local import find_processes

START_DEADLINE = 60.0
END_DEADLINE = 5.0


def worker_command(address: str, scratch: Path) -> str:
    """The pool's agent command: one Dask worker, named after its instance, that has the instance's slots.

    Its own files are in the directory `scratch`.
    """
    return (
        f"{_word(sys.executable)} -m distributed.cli.dask_worker {address} --name {{instance_id}} --nworkers 1 "
        "--nthreads {slots} --resources slot={slots} --memory-limit 0 --no-nanny --no-dashboard --death-timeout 60 "
        f"--local-directory {_word(scratch)}"
    )


def _word(text: object) -> str:
    """As one word of a command line in which braces are placeholders."""
    return shlex.quote(str(text)).replace("{", "{{").replace("}", "}}")


@asynccontextmanager
async def dask_scheduler(directory: Path) -> AsyncIterator[str]:
    """A Dask scheduler on a free port of the loopback; its address. It is gone afterwards.

    Raises:
        CommandError: it does not start.
    """
    log = directory / "scheduler.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            *("--host", "tcp://127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter"),
            *("--scheduler-file", str(directory / "scheduler.json")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(directory)},
            start_new_session=True,  # Ctrl-C is for the demo, which ends the scheduler when all else is done
        )
    try:
        yield await _address(process, directory / "scheduler.json", log)
    finally:
        await _end(process)


@asynccontextmanager
async def running_scheduler(address: str) -> AsyncIterator[str]:
    """A Dask scheduler that is somebody else's; its address.

    Raises:
        CommandError: the address is none, or nothing answers there.
    """
    from pydantic import ValidationError

    from slotsmith.schedulers.base import SchedulerContext, SchedulerError
    from slotsmith.schedulers.dask import plugin

    try:
        settings = plugin.settings(type="dask", address=address)  # type: ignore[call-arg]
    except ValidationError as error:
        raise CommandError(f"--address: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    connector = plugin.create(settings, SchedulerContext("demo", SystemClock(), lambda: None))
    try:
        await connector.setup()
    except SchedulerError as error:
        raise CommandError(f"--address: {error}") from None
    finally:
        await connector.close()
    yield address


async def _address(process: asyncio.subprocess.Process, file: Path, log: Path) -> str:
    try:
        async with asyncio.timeout(START_DEADLINE):
            while process.returncode is None:
                if (address := _read_address(file)) is not None:
                    return address
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await process.wait()
    except TimeoutError:
        raise CommandError(f"the Dask scheduler has not started within {START_DEADLINE:g}s; see {log}") from None
    raise CommandError(f"the Dask scheduler ended at once: {_last_line(log) or f'status {process.returncode}'}")


def _read_address(file: Path) -> str | None:
    """What the scheduler has written; None while the file is not there, or only half of it."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _last_line(log: Path) -> str:
    return "".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_DEADLINE):
                await process.wait()


def kill_agent(state_dir: Path, instance_id: str) -> int:
    """Kill every process of one agent, as a crash would; how many there were."""
    victims = [process for process in find_processes(state_dir=state_dir) if process.instance_id == instance_id]
    for process in victims:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(victims)


async def end_agents(state_dir: Path) -> None:
    """Whatever still runs for an instance is killed: the last resort, when the pool itself could not end it."""
    for process in find_processes(state_dir=state_dir):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def processes_left(state_dir: Path) -> int:
    """How many processes of the demo still live: agents, and whatever else this process has started."""
    ours = {process.pid for process in find_processes(state_dir=state_dir)}
    children = psutil.Process().children(recursive=True)
    ours |= {child.pid for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE}
    return len(ours)
