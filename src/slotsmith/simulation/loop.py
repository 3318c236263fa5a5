"""Virtual time: an event loop that never waits, because its clock jumps to the next timer.

It is a loop of its own and not one of asyncio's with another clock, for two reasons. Callbacks that are due at one
moment run in the order in which they were scheduled, which asyncio leaves open. And when nothing is left that could
ever happen, it says so instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

EPOCH: Final = 1_700_000_000.0
"""What the clock shows at the start, in seconds since the Unix epoch."""


class Stuck(Exception):  # noqa: N818 - it is the loop that is stuck
    """The coroutine waits, and nothing is left that could ever wake it."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks and timers in a defined order. Times are seconds since its start. No I/O, no threads.

    What is meant for a thread is done at once, and takes no time.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        # (due, number, handle): the number makes the order of equal times that of scheduling.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._failure: BaseException | None = None
        self._running = False

    def time(self) -> float:
        return self._now

    def run_until_complete(self, future: Any) -> Any:
        """The result of a coroutine.

        Raises:
            Stuck: it can never end.
        """
        self._running = True
        events._set_running_loop(self)
        try:
            task = asyncio.ensure_future(future, loop=self)
            while not task.done():
                self._step()
            return task.result()
        finally:
            events._set_running_loop(None)
            self._running = False

    def _step(self) -> None:
        """Run what is ready; when nothing is, jump to the next timers."""
        if not self._ready:
            self._jump()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is left that could ever happen")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their turn comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, _: Any, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.Future(loop=self)
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback or a forgotten task has failed: that is a fault of ours, and ends the run."""
        self._failure = self._failure or context.get("exception") or RuntimeError(context.get("message", "failed"))


def virtual_loop() -> VirtualLoop:
    """A new loop; what asyncio asks of loops beyond callbacks, timers and tasks (such as I/O) it does not have."""
    return VirtualLoop()  # type: ignore[abstract]


class VirtualClock:
    """A `slotsmith.clock.Clock` over a virtual loop."""

    def __init__(self, loop: VirtualLoop, epoch: float = EPOCH) -> None:
        self._loop = loop
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        # Also when it is nothing: whoever sleeps lets the others run.
        done = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, seconds), _wake, done)
        try:
            await done
        finally:
            timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def run_virtually(main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function, given its clock, in a virtual time of its own."""
    loop = virtual_loop()
    result: T = loop.run_until_complete(main(VirtualClock(loop)))
    return result
