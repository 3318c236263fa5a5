"""Waiting for a state instead of sleeping for as long as it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for what takes a moment, on a machine that has much else to do: only what never comes takes that long."""
_PERIOD = 0.01
_SHARE = 2.0
"""How many times as long as a look took the next one waits, so that looking does not hold up what is waited for."""


def wait_until(
    predicate: Callable[[], T], *, timeout: float = PATIENCE, what: str | Callable[[], str] = "the state"
) -> T:
    """The first true value of `predicate`; fails the test when there is none within `timeout` seconds.

    `what` did not come about is told then.
    """
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        if value := predicate():
            return value
        time.sleep(_pause(began, deadline, timeout, what))


async def until(
    predicate: Callable[[], T | Awaitable[T]],
    *,
    timeout: float = PATIENCE,
    what: str | Callable[[], str] = "the state",
) -> T:
    """The same for the event loop; `predicate` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        value = predicate()
        if isawaitable(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        await asyncio.sleep(_pause(began, deadline, timeout, what))


def _pause(began: float, deadline: float, timeout: float, what: str | Callable[[], str]) -> float:
    now = time.monotonic()
    if now > deadline:
        raise AssertionError(f"{what() if callable(what) else what} did not come about within {timeout:g} s")
    return max(_PERIOD, min(_SHARE * (now - began), 0.3))
