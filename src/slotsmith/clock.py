"""The one owner of time and chance.

Everything else is handed a `Clock`, a `Random` or an id source, so that a whole daemon can run under virtual
time from one seed. The lint rules ban wall-clock reads, sleeps and random sources everywhere but here.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from random import Random
from typing import Protocol

__all__ = ["Clock", "IdSource", "Random", "SystemClock", "system_ids", "system_random", "system_secret"]

IdSource = Callable[[], str]
"""Gives a new id at each call; ids of one source never repeat."""


class Clock(Protocol):
    """What the program knows of time."""

    def now(self) -> float:
        """Seconds since the Unix epoch; never goes backwards while the process lives."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...


class SystemClock:
    """The machine's clock, read once and carried on by the monotonic one.

    A step of the wall clock (NTP, an administrator) would otherwise end an idle period early or make it last for ever.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def system_random() -> Random:
    """A generator seeded by the machine, for jitter."""
    return Random()  # noqa: S311 - jitter, not cryptography


def system_ids() -> str:
    """A new id: 20 hexadecimal digits, unique without coordination and legal in every cloud's token and tag."""
    return secrets.token_hex(10)


def system_secret() -> str:
    """A new secret that nobody guesses: 43 letters, digits, `-` and `_`, of 256 random bits."""
    return secrets.token_urlsafe(32)
