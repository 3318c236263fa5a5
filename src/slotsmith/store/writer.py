"""Two ways to run calls of a store from a coroutine: on one thread of their own, or inline."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from slotsmith.store.base import StoreError, StoreRunner

__all__ = ["InlineRunner", "StoreRunner", "ThreadRunner"]

T = TypeVar("T")


class InlineRunner:
    """Runs each call at once, in the caller's thread: for the simulation, whose order of events must not vary."""

    async def __call__(self, call: Callable[[], T]) -> T:
        return call()

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]

    def run(self) -> None:
        try:
            result, error = self.call(), None
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the answer
            result, error = None, caught
        # The loop may be closed by now, and then nobody waits any more.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver, result, error)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class ThreadRunner:
    """Runs calls one after the other, in the order in which they are made, on one thread.

    A caller that is cancelled, or waits longer than `deadline` seconds, no longer waits; its call keeps its place in
    the queue and is carried out all the same, so that what is written later builds on what was written before. May
    be called from several event loops.
    """

    def __init__(self, *, deadline: float = 30.0) -> None:
        self._deadline = deadline
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        # A disk that hangs for good must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="slotsmith-store", daemon=True)
        self._thread.start()

    async def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises.

        Raises:
            StoreError: there was no answer within the deadline (it is not known what became of the call), or the
                runner is closed.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        with self._closing:
            if self._closed:
                raise StoreError("the store is closed")
            self._jobs.put(_Job(call, loop, answer))
        try:
            # Not wait_for: a TimeoutError of the call itself would look like ours.
            done, _ = await asyncio.wait([answer], timeout=self._deadline)
            if not done:
                raise StoreError(
                    f"the store has not answered for {self._deadline:g} s, and what was to be written may yet be: "
                    "see whether its disk hangs, or another program keeps it locked"
                )
            return answer.result()
        finally:
            answer.cancel()

    def close(self) -> None:
        """Finish what was asked for (waiting up to the deadline), and take no more."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join(self._deadline)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
