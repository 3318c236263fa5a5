"""Timers of the running event loop, and which of them are a fault's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Timers:
    """Calls things later. Those that end a fault can be brought forward."""

    def __init__(self) -> None:
        self._number = 0
        self._faults: dict[int, tuple[asyncio.TimerHandle, Callable[..., None], tuple[Any, ...]]] = {}

    def later(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Call `act` after that time, for good."""
        asyncio.get_running_loop().call_later(seconds, act, *args)

    def ends(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Call `act` after that time, which is the end of a fault: `settle` may have it come sooner."""
        self._number += 1
        handle = asyncio.get_running_loop().call_later(seconds, self._end, self._number)
        self._faults[self._number] = (handle, act, args)

    def _end(self, number: int) -> None:
        _, act, args = self._faults.pop(number)
        act(*args)

    def settle(self, within: float) -> None:
        """Let every fault that is under way end within that many seconds."""
        loop = asyncio.get_running_loop()
        for number, (handle, act, args) in list(self._faults.items()):
            if handle.when() > loop.time() + within:
                handle.cancel()
                self._faults[number] = (loop.call_later(within, self._end, number), act, args)
