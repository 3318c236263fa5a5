"""One life of the program, from a start to a crash or stop, and the points at which it may die.

A dead generation has no effect on the world any more: everything that its tasks still try ends in `Crashed`, so that
what they would do on their way out (as no killed process does) stays undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Final, TypeVar

from slotsmith.clock import Clock, Random
from slotsmith.providers.base import Provider
from slotsmith.schedulers.base import Scheduler
from slotsmith.simulation.events import FAULT, EventLog

T = TypeVar("T")

current: ContextVar[Generation | None] = ContextVar("generation", default=None)
"""The generation that a task belongs to: log lines of a dead one are dropped."""


class Crashed(asyncio.CancelledError):
    """The process is dead. As a cancellation it passes every handler of errors, and asyncio takes it for an end."""


@dataclass(frozen=True, slots=True)
class CrashFaults:
    """How the program dies and is stopped.

    `rate`: how likely it dies at a call whose weight is 1 (see `WEIGHTS`). `mean_life` and `mean_stop`: mean seconds
    until it dies at any moment, and until it is stopped in good order; 0 = never. Of several processes, `mean_still` is
    that until the one that leads stands still, and `still` how likely it does with a launch about to leave.
    `longest_pause`: seconds until it is started again, at most. `most`: how often at most, so that a run ends. `only`:
    the points at which it dies, each with that `rate` and whatever its weight (`before_launch`, `after_drain`,
    `during_list`); empty = any.
    """

    rate: float = 0.0
    mean_life: float = 0.0
    mean_stop: float = 0.0
    mean_still: float = 0.0
    still: float = 0.0
    longest_pause: float = 60.0
    most: int = 12
    only: tuple[str, ...] = ()


NO_CRASHES: Final = CrashFaults()

WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        # The moments in which something may be lost: between the record and the call, and between call and answer.
        "launch": 1.0,
        "intent_commit": 0.5,
        "terminate": 0.5,
        "drain": 0.2,
        "cancel_drain": 1.5,
        "setup": 0.1,
        "load": 0.05,
        # These happen so often that they would leave no life long enough for the others.
        "commit": 0.02,
        "list": 0.02,
        "view": 0.01,
    }
)
"""How likely a death is at each kind of call, as a part of `CrashFaults.rate`."""

_DURING: Final[Mapping[str, float]] = MappingProxyType(
    {"launch": 1.0, "terminate": 0.5, "list": 0.05, "drain": 2.0, "cancel_drain": 5.0, "setup": 2.0, "view": 0.3}
)
"""The same for a death while the call is on its way; most of these are answered too soon for it."""

POINTS: Final = (
    *(f"before_{point}" for point in WEIGHTS),
    *(f"after_{point}" for point in WEIGHTS),
    *(f"during_{point}" for point in _DURING),
)
"""Every point at which it may die."""

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {f"crash_{point}": f"the program dies {point.replace('_', ' a ', 1)}" for point in POINTS}
    | {"crash_any": "the program dies at any moment", "stop": "the program is stopped in good order"}
)
"""The catalogue: name -> what happens."""

FAULT_STOP: Final = FAULT + "stop"
"""What is told when the program is stopped."""
LONGEST_STOP: Final = 200.0
"""Seconds within which a program that is told to stop has ended."""


class Generation:
    """One life. `on_death` is called once, when it dies of itself.

    Of several processes, `leads` is true for the one that runs the pools, and `still` for one of which no task goes on.
    `held_provider` and `held_scheduler` put before a port what keeps the process from asking, and `fence` raises
    `StoreError` when it may not write any more. `stands_still` makes it stand still, with a fault's name, if it can.
    """

    def __init__(
        self,
        number: int,
        faults: CrashFaults,
        random: Random,
        log: EventLog,
        clock: Clock,
        on_death: Callable[[], None],
    ) -> None:
        self.number = number
        self.alive = True
        self.main: asyncio.Task[None] | None = None
        self.clock = clock
        self.leads = True
        self.tokens = count(1)
        self.held_provider: Callable[[Provider], Provider] = lambda provider: provider
        self.held_scheduler: Callable[[Scheduler], Scheduler] = lambda scheduler: scheduler
        self.fence: Callable[[], None] = lambda: None
        self.stands_still: Callable[[str], bool] = lambda _: False
        self._going_on: asyncio.Event | None = None
        self._faults = faults
        self._random = random
        self._log = log
        self._on_death = on_death

    @property
    def faults(self) -> CrashFaults:
        """How it dies."""
        return self._faults

    @property
    def still(self) -> bool:
        """Whether none of its tasks goes on."""
        return self._going_on is not None

    def stand_still(self) -> None:
        """From now on, until `go_on`."""
        self._going_on = asyncio.Event()

    def go_on(self) -> None:
        """What waited goes on."""
        if self._going_on is not None:
            self._going_on.set()
            self._going_on = None

    async def going_on(self) -> None:
        """Return at once, or when it no longer stands still. Raises `Crashed` when it is dead."""
        while self._going_on is not None:
            await self._going_on.wait()
        self.check()

    async def perhaps_still(self) -> None:
        """A point at which it may stand still, with a launch about to leave."""
        if self._faults.still and self._random.random() < self._faults.still and self.stands_still("still_launch"):
            await self.going_on()

    def check(self) -> None:
        """Raises `Crashed` when it is dead."""
        if not self.alive:
            raise Crashed

    def stop_faults(self) -> None:
        """From now on it does not die."""
        self._faults = NO_CRASHES

    def die(self, fault: str) -> None:
        """The end of this process, now."""
        if not self.alive or self._faults is NO_CRASHES:
            return
        self._log.tell(FAULT + fault, generation=self.number)
        self.end()
        self._on_death()

    def end(self) -> None:
        """Cut it off from the world, and let its tasks end."""
        self.alive = False
        self.go_on()
        if self.main is not None:
            self.main.cancel()

    def maybe_die(self, when: str, point: str) -> None:
        """A point at which it may die. Raises `Crashed` when it does."""
        if self._drawn(f"{when}_{point}", WEIGHTS[point]):
            self.die(f"crash_{when}_{point}")
            self.check()

    async def cross(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call to the outside world, and perhaps die before, during or after it."""
        self.check()
        self.maybe_die("before", point)
        timer = None
        if self._drawn(f"during_{point}", _DURING[point]):
            # A call that is answered sooner is not cut off, and the program lives on.
            delay = round(self._random.uniform(0.0, 2.0), 3)
            timer = asyncio.get_running_loop().call_later(delay, self.die, f"crash_during_{point}")
        try:
            result = await call()
        finally:
            if timer is not None:
                timer.cancel()
            await self.going_on()
        self.maybe_die("after", point)
        return result

    def _drawn(self, moment: str, weight: float) -> bool:
        rate, only = self._faults.rate, self._faults.only
        if rate <= 0 or (only and moment not in only):
            return False
        return self._random.random() < (rate if only else rate * weight)
