"""Blocking calls in threads that nobody waits for at the end of the program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most `limit` calls at a time. Each has a daemon thread of its own.

    Not an executor of the standard library: at the end of the program that waits for calls under way, and one to a
    cloud that hangs takes as long as its deadline. A caller that is cancelled leaves its call running; the place is
    free again when that has ended.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns; it must not raise."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(result: T) -> None:
            self._free.release()
            if not future.done():
                future.set_result(result)

        def run() -> None:
            result = work()
            # The loop may be gone by now, and with it everybody who could want to know.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done, result)

        threading.Thread(target=run, name="aws", daemon=True).start()
        return await future
