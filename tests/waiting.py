"""Waiting for a state instead of sleeping for as long as it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

_PERIOD = 0.01


def wait_until(predicate: Callable[[], T], *, timeout: float = 10.0, what: str = "the state") -> T:
    """The first true value of `predicate`; fails the test when there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {timeout:g} s")
        time.sleep(_PERIOD)
    return value


async def until(predicate: Callable[[], T | Awaitable[T]], *, timeout: float = 10.0, what: str = "the state") -> T:
    """The same for the event loop; `predicate` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if isawaitable(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {timeout:g} s")
        await asyncio.sleep(_PERIOD)
