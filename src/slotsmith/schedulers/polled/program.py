"""A scheduler whose view is what a program prints."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import (
    DrainAnswer,
    SchedulerContext,
    SchedulerError,
    SchedulerPlugin,
    SchedulerSettings,
)
from slotsmith.schedulers.polled.exchange import (
    answers_by_view,
    cancel_request,
    drain_request,
    read_answers,
    read_view,
)
from slotsmith.settings import PositiveDuration, split_command
from slotsmith.text import one_line

_MIB: Final = 1024 * 1024
_MOST_COMPLAINTS: Final = 64 * 1024
_PART: Final = 64 * 1024


def _check_command(command: str) -> str:
    split_command(command)
    return command


Command = Annotated[str, Field(max_length=32_000), AfterValidator(_check_command)]


class ExecSettings(SchedulerSettings):
    """`scheduler: {type: exec, command: "/srv/queue/view"}`.

    `command` is split into words as a shell would, without being run by one, and run every `poll_period`: what it
    prints is the view. `drain_command` reads on its standard input which agents to give up, or not any more, and
    prints what became of them; without it the view decides: idle there is released. Each has `timeout`.
    """

    type: Literal["exec"] = "exec"
    command: Command
    drain_command: Command | None = None
    poll_period: PositiveDuration = 5.0
    timeout: PositiveDuration = 10.0
    max_output_mib: Annotated[int, Field(ge=1, le=1024)] = 64


class ExecScheduler:
    """See `slotsmith.schedulers.base.Scheduler`. A program that is cut off is killed with all that it started."""

    def __init__(self, settings: ExecSettings, context: SchedulerContext) -> None:
        self.poll_period: float = settings.poll_period
        self._settings = settings
        self._pool = context.pool

    async def setup(self) -> None:
        await self.scaling_info()

    async def scaling_info(self) -> ScalingInfo:
        return await read_view(await self._run(self._settings.command), _name(self._settings.command))

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        command = self._settings.drain_command
        if not agents:
            return {}
        if command is None:
            return answers_by_view(await self.scaling_info(), agents, when_done=when_done)
        return await read_answers(await self._run(command, drain_request(agents, when_done)), _name(command))

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        if agents and self._settings.drain_command is not None:
            await self._run(self._settings.drain_command, cancel_request(agents))

    async def close(self) -> None:
        """Nothing runs on: whoever waits for a program ends it when cancelled."""

    async def _run(self, command: str, given: bytes = b"") -> bytes:
        """What the program prints. Raises `SchedulerError`."""
        process = await self._start(command)
        complete = False
        try:
            async with asyncio.timeout(self._settings.timeout):
                printed, complaints = await self._exchange(process, given, _name(command))
                status = await process.wait()
                complete = True
        except TimeoutError:
            raise SchedulerError(f"{_name(command)} has not ended within {self._settings.timeout:g} s") from None
        finally:
            if not complete:
                await _end(process)
        if status != 0:
            how = f"ended with status {status}" if status > 0 else f"was ended by {_signal(-status)}"
            raise SchedulerError(f"{_name(command)} {how}{_last_line(complaints)}")
        return printed

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        words = shlex.split(command)
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                _find(words[0]),
                *words[1:],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "SLOTSMITH_POOL": self._pool},
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SchedulerError(f"{_name(command)} cannot be started: {reason}") from error
        except asyncio.CancelledError:
            # asyncio by itself would end the program alone, and wait for what it has started.
            with suppress(OSError, ValueError):
                await _end(await starting)
            raise

    async def _exchange(self, process: asyncio.subprocess.Process, given: bytes, name: str) -> tuple[bytes, bytes]:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        most = self._settings.max_output_mib * _MIB
        tasks = [
            asyncio.create_task(_tell(process.stdin, given)),
            asyncio.create_task(_read_to_end(process.stdout, most)),
            asyncio.create_task(_read_to_end(process.stderr, _MOST_COMPLAINTS, drop=True)),
        ]
        try:
            _, printed, complaints = await asyncio.gather(*tasks)
        except _TooMuchError:
            raise SchedulerError(f"{name} prints more than max_output_mib, {self._settings.max_output_mib}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return printed or b"", complaints or b""


class _TooMuchError(Exception):
    pass


async def _tell(stream: asyncio.StreamWriter, given: bytes) -> None:
    # A program that does not care what it is told has closed its input.
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(given)
        await stream.drain()
    stream.close()


async def _read_to_end(stream: asyncio.StreamReader, most: int, *, drop: bool = False) -> bytes:
    """All of it; the end of it, when there is too much and the rest may be dropped."""
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(_PART):
        parts.append(part)
        size += len(part)
        while drop and size > most and len(parts) > 1:
            size -= len(parts.pop(0))
        if size > most and not drop:
            raise _TooMuchError
    return b"".join(parts)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it, and what it has started and not sent away."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # Pipes that nobody reads any more are not waited for.
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


def _find(program: str) -> str:
    """As the local provider does: on PATH, and beside the running Python."""
    beside = Path(sys.executable).parent
    return shutil.which(program) or shutil.which(program, path=str(beside)) or program


def _name(command: str) -> str:
    return f"the program {one_line(shlex.split(command)[0], 100)}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(complaints: bytes) -> str:
    """What it said last on standard error, for people."""
    lines = complaints.decode("utf-8", "replace").strip().splitlines()
    return f": {one_line(lines[-1], 300)}" if lines else ""


plugin = SchedulerPlugin(ExecSettings, ExecScheduler)
