"""Carries requests to the cloud and answers back, not always.

A request that was sent is carried out at the cloud whatever becomes of the caller, who may have been cancelled or have
died meanwhile. Requests arrive in the order in which they were sent, unless one of them takes a long way
(`arrives_late`): whoever has given up waiting for it may have asked again by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated.cloud import Cloud

T = TypeVar("T")

LONGEST_WAY: Final = 110.0
"""Seconds after which a request that was sent has been carried out, or never will be.

Shorter than anybody waits for the answer to a launch, which is what a caller who gives up can count on.
"""
_MARGIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of one call.

    `arrives`: the request does, `way` seconds later than it should; `answered`: in the end, `late_by` seconds later
    than it should; `lost`: told as a lost connection; `cut`: told so at once, while the request is still on its way.
    """

    arrives: bool = True
    answered: bool = True
    lost: bool = False
    cut: bool = False
    way: float = 0.0
    late_by: float = 0.0


_AS_IT_SHOULD = _Fate()


class Wire(Generic[T]):
    """One call."""

    def __init__(self, cloud: Cloud, what: str, act: Callable[[], T]) -> None:
        self._cloud = cloud
        self._what = what
        self._act = act
        self._half = cloud.settings.latency / 2

    async def call(self) -> T:
        """Send the request and wait for the answer.

        Raises:
            ProviderError: as `act` does, or TRANSIENT when the answer is lost.
        """
        cloud = self._cloud
        cloud.calls[self._what] += 1
        fate = _AS_IT_SHOULD if cloud.dice.calm else self._draw()
        if fate is _AS_IT_SHOULD and not self._half:
            return self._act()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if not fate.arrives:
            cloud.dice.struck("hang", call=self._what, arrived=0)
        elif fate.way or self._half:
            cloud.timers.later(self._half + fate.way, self._arrive, fate, answer)
        else:
            self._arrive(fate, answer)
        if fate.way:
            cloud.dice.struck("arrives_late", call=self._what, seconds=fate.way, cut=int(fate.cut))
        if fate.cut:
            cloud.timers.later(self._half, _answer, answer, _connection_lost())
        return await answer

    def _draw(self) -> _Fate:
        dice, only = self._cloud.dice, self._cloud.faulty_calls
        if only and self._what not in only:
            return _AS_IT_SHOULD
        if dice.fires("hang"):
            return _Fate(arrives=bool(dice.below("hang", 2)), answered=False)
        if dice.fires("arrives_late"):
            longest = min(LONGEST_WAY, self._cloud.settings.token_lifetime / 2) - self._half - _MARGIN
            # Half of the callers are told at once that the connection is gone, and may ask again before it arrives.
            return _Fate(way=dice.seconds("arrives_late", max(0.0, longest)), cut=bool(dice.below("arrives_late", 2)))
        if dice.fires("lost_answer"):
            return _Fate(lost=True)
        if dice.fires("late_answer"):
            return _Fate(late_by=dice.seconds("late_answer"))
        return _AS_IT_SHOULD

    def _arrive(self, fate: _Fate, answer: asyncio.Future[T]) -> None:
        """The cloud carries it out, and sends the answer."""
        result: T | ProviderError
        try:
            result = self._act()
        except ProviderError as error:
            result = error
        dice, timers = self._cloud.dice, self._cloud.timers
        if not fate.answered:
            dice.struck("hang", call=self._what, arrived=1)
            return
        if fate.lost:
            dice.struck("lost_answer", call=self._what)
            result = _connection_lost()
        if fate.late_by:
            dice.struck("late_answer", call=self._what, seconds=fate.late_by)
            timers.ends(self._half + fate.late_by, _answer, answer, result)
        elif self._half:
            timers.later(self._half, _answer, answer, result)
        else:
            _answer(answer, result)


def _connection_lost() -> ProviderError:
    return ProviderError(ErrorKind.TRANSIENT, "the connection was lost")


def _answer(future: asyncio.Future[T], result: T | ProviderError) -> None:
    if future.done():  # nobody waits any more
        return
    if isinstance(result, ProviderError):
        future.set_exception(result)
    else:
        future.set_result(result)
