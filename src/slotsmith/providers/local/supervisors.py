"""Starts supervisors, and hears from each whether it has the instance."""

import os
import selectors
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.local.errors import provider_error
from slotsmith.providers.local.supervisor import ALREADY, CLAIMED, FAILED, HELD

_SCRIPT = str(Path(__file__).with_name("supervisor.py"))
# What is written into a pipe that nobody reads yet has to fit in it; this much does on every system of today.
_PIPE_ROOM = 65536
# A supervisor answers within some 15 ms; on a machine that is short of memory or cpu it may take seconds.
_ANSWER_TIMEOUT = 10.0

_children: set[int] = set()
"""Supervisors that this process has started. Children belong to a process, not to one provider in it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What one supervisor needs: its directory (made here), the place of its grave, its input, its environment."""

    directory: Path
    grave: Path
    record: str
    boot_time: float
    grace: float
    command: Sequence[str]
    environment: Mapping[str, str]

    @property
    def content(self) -> bytes:
        """The supervisor's standard input."""
        return b"\0".join(os.fsencode(f) for f in (self.record, str(self.boot_time), str(self.grace), *self.command))


def start_all(starts: Mapping[str, Start], clock: Clock) -> dict[str, ProviderError | None]:
    """Start a supervisor for each instance, by id, and wait for their answers: some 15 ms, a few more for each.

    None = it was started, now or before, or it is being started by somebody else, or nothing is known: look again.
    """
    answers: dict[str, ProviderError | None] = {}
    waiting: dict[int, str] = {}
    try:
        for instance_id, start in starts.items():
            try:
                waiting[_spawn(start)] = instance_id
            except OSError as error:
                answers[instance_id] = provider_error(error, "cannot start a process")
            except ProviderError as error:
                answers[instance_id] = error
        said = _hear(waiting, clock)
    finally:
        for fd in waiting:
            os.close(fd)
    for fd, instance_id in waiting.items():
        answers[instance_id] = _read_answer(said[fd].decode(errors="replace"))
    return answers


def reap() -> None:
    """Take note of children that have ended, so that no zombie stays."""
    for pid in tuple(_children):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _children.discard(pid)


def _spawn(start: Start) -> int:
    """Start one supervisor; returns the descriptor on which it will answer."""
    content = start.content
    if len(content) > _PIPE_ROOM:
        raise ProviderError(ErrorKind.INVALID, f"the command is too long ({len(content)} bytes, {_PIPE_ROOM} allowed)")
    start.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    questions, ask = os.pipe()
    hear, answer = os.pipe()
    try:
        # All of it before the start: a launcher that is killed at any point leaves a supervisor that knows everything
        # or none at all.
        os.set_blocking(ask, False)
        if os.write(ask, content) < len(content):
            raise ProviderError(ErrorKind.INVALID, f"the command is too long ({len(content)} bytes)")
        _children.add(_spawn_process(start, questions, answer))
    except BaseException:
        os.close(hear)
        raise
    finally:
        for fd in (questions, ask, answer):
            os.close(fd)
    return hear


def _spawn_process(start: Start, questions: int, answer: int) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", _SCRIPT, str(start.directory), str(start.grave)],
        start.environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, questions, 0),
            (os.POSIX_SPAWN_DUP2, answer, 1),
            # Whatever goes wrong before there is a log file is part of the answer.
            (os.POSIX_SPAWN_DUP2, answer, 2),
        ],
        # A session of its own: Ctrl-C in the provisioner's terminal and the terminal's end do not reach it.
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    )


def _hear(fds: Mapping[int, str], clock: Clock) -> dict[int, bytes]:
    """What is said on each descriptor until its end."""
    said = dict.fromkeys(fds, b"")
    deadline = clock.now() + _ANSWER_TIMEOUT
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - clock.now()) > 0:
            for key, _ in selector.select(left):
                part = os.read(key.fd, 4096)
                said[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
    return said


def _read_answer(text: str) -> ProviderError | None:
    lines = text.split("\n")
    if lines[0] in (CLAIMED, ALREADY, HELD, ""):
        return None
    word, _, rest = lines[0].partition(" ")
    if word == FAILED:
        number, _, reason = rest.partition(" ")
        return provider_error(OSError(int(number), reason), "the supervisor cannot write its record")
    last = next(line for line in reversed(lines) if line.strip())
    return ProviderError(ErrorKind.TRANSIENT, f"the supervisor did not start: {last.strip()}")
