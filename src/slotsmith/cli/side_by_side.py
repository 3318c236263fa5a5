"""Runs of the same work on different arguments, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from slotsmith.cli.errors import FAILED, CommandError

A = TypeVar("A")
R = TypeVar("R")

Progress = Callable[[float], None]
"""Told how much of the work is done, from 0 to 1."""


def side_by_side(
    work: Callable[[A, Progress], R], arguments: Sequence[A], *, progress: Callable[[int, float], None]
) -> list[R]:
    """What `work` makes of each of `arguments`, in their order, with as many processes as there are cores.

    `work` is a function of a module, and its arguments and results can be pickled. `progress` is told the index of an
    argument and how much of its work is done.

    Raises:
        CommandError: a process ended without a result.
    """
    return _Runs(work, arguments, progress).results()


class _Runs:
    def __init__(self, work: Any, arguments: Sequence[Any], progress: Callable[[int, float], None]) -> None:
        self._work = work
        self._arguments = arguments
        self._progress = progress
        self._waiting = deque(range(len(arguments)))
        self._running: dict[Connection, tuple[int, BaseProcess]] = {}
        self._results: dict[int, Any] = {}

    def results(self) -> list[Any]:
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < _cores():
                    self._start(self._waiting.popleft())
                for connection in wait(list(self._running)):
                    assert isinstance(connection, Connection)
                    self._hear(connection)
        finally:
            for connection, (_, process) in self._running.items():
                process.kill()
                process.join()
                connection.close()
        return [self._results[index] for index in range(len(self._arguments))]

    def _start(self, index: int) -> None:
        # Not forked: the progress bar draws in a thread, and a fork of a process with threads may hang. They are forked
        # by a process that has nothing but the imports, which take longer than many a run.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["slotsmith.cli", self._work.__module__])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(theirs, self._work, self._arguments[index]), daemon=True)
        self._running[ours] = (index, process)
        process.start()
        theirs.close()

    def _hear(self, connection: Connection) -> None:
        index, process = self._running[connection]
        try:
            done, value = connection.recv()
        except EOFError:
            process.join()
            raise CommandError(f"a run ended without a result (exit status {process.exitcode})", FAILED) from None
        if done is None:
            raise CommandError(f"a run failed by a fault of slotsmith:\n{value}", FAILED)
        if not done:
            self._progress(index, value)
            return
        self._results[index] = value
        self._progress(index, 1.0)
        process.join()
        connection.close()
        del self._running[connection]


def _serve(connection: Connection, work: Any, argument: Any) -> None:
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: tuple[bool | None, Any]
    try:
        answer = True, work(argument, lambda share: connection.send((False, share)))
    except Exception:  # noqa: BLE001 - it is told where it is seen
        answer = None, traceback.format_exc()
    connection.send(answer)
    connection.close()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
