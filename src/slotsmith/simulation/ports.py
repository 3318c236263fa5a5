"""What a generation of the provisioner holds of the world: its provider and its scheduler.

Through these pass all calls. They are where the program may die, where nothing passes once it is dead, and where the
watches see what it asked for and what it was told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar, cast

from slotsmith.clock import Clock, Random
from slotsmith.core.rules import Decide
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.instance import Instance
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult, Market, Provider, ProviderError, market_of
from slotsmith.provisioner.searching import LONGEST_SEARCH
from slotsmith.schedulers.base import DrainAnswer, Scheduler, SchedulerError
from slotsmith.simulation.generation import Generation
from slotsmith.simulation.watch import Watch

T = TypeVar("T")

SECRET: Final = "open-sesame"  # noqa: S105 - it is one, and opens nothing
"""A password, in the URL that every error of a provider or scheduler tells, as those of HTTP clients do."""


# How likely the process that searches dies at one.
_DIES: Final = 0.05


class _Deaf:
    """Hears what a process does, and is told, that does not lead any more: the next leader knows nothing of it."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return _nothing


def _nothing(*_args: object, **_more: object) -> int:
    return 0


_DEAF: Final = cast(Watch, _Deaf())


class _Port:
    def __init__(self, generation: Generation, watch: Watch, clock: Clock) -> None:
        self._generation = generation
        self._pool_watch = watch
        self._clock = clock

    @property
    def _watch(self) -> Watch:
        return self._pool_watch if self._generation.leads else _DEAF

    def _asks(self, what: str) -> None:
        """It is about to ask for something, which only the one that leads may do."""
        if not self._generation.leads:
            self._pool_watch.violated("I3", f"a process that does not lead asks for a {what}")

    async def _cross(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        generation = self._generation
        generation.check()
        self._watch.busy_with(f"{point} calls")
        number, failed = self._watch.call_began(point), True
        try:
            result = await generation.cross(point, call)
            failed = False
            return result
        except ProviderError as error:
            raise _in_full(error) from error
        except SchedulerError as error:
            raise SchedulerError(_with_url(error)) from error
        finally:
            if generation.alive:
                self._watch.call_ended(number, failed=failed)


class ProviderPort(_Port):
    """The provider as one generation sees it."""

    def __init__(self, inner: Provider, generation: Generation, watch: Watch, clock: Clock) -> None:
        super().__init__(generation, watch, clock)
        self._inner = inner
        self.poll_period = inner.poll_period
        self.consistency_window = inner.consistency_window
        self.token_lifetime = inner.token_lifetime

    async def setup(self) -> None:
        await self._cross("setup", self._inner.setup)

    def offerings(self) -> Sequence[Offering]:
        return self._inner.offerings()

    def market(self) -> Market:
        return market_of(self._inner)

    async def list_instances(self) -> Sequence[Instance]:
        began = self._clock.now()
        listing = await self._cross("list", self._inner.list_instances)
        self._watch.listed(listing, began)
        return listing

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        self._generation.check()

        async def call() -> LaunchResult:
            self._asks("launch")
            self._watch.launching(request)
            await self._generation.perhaps_still()
            return await self._inner.launch(request)

        try:
            result = await self._cross("launch", call)
        except Exception as error:
            self._watch.launch_failed(request, error)
            raise
        self._watch.launched(request, result)
        return result if result.shortfall is None else replace(result, shortfall=_in_full(result.shortfall))

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        self._generation.check()

        async def call() -> Mapping[str, ProviderError]:
            self._asks("termination")
            self._watch.terminating(instance_ids)
            return await self._inner.terminate(instance_ids)

        failures = await self._cross("terminate", call)
        return {instance_id: _in_full(error) for instance_id, error in failures.items()}

    async def close(self) -> None:
        await self._inner.close()


def _in_full(error: ProviderError) -> ProviderError:
    return ProviderError(error.kind, _with_url(error))


def _with_url(error: Exception) -> str:
    return f"https://slotsmith:{SECRET}@here.example/: {error}"


class SchedulerPort(_Port):
    """A scheduler that is read, as one generation sees it. `latency`: seconds for a call, there and back."""

    def __init__(
        self, inner: Scheduler, generation: Generation, watch: Watch, clock: Clock, *, latency: float = 0.0
    ) -> None:
        super().__init__(generation, watch, clock)
        self._inner = inner
        self._latency = latency
        self.poll_period = inner.poll_period

    async def _travel(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        if not self._latency:
            return await self._cross(point, call)

        async def travel() -> T:
            await self._clock.sleep(self._latency / 2)
            result = await call()
            await self._clock.sleep(self._latency / 2)
            return result

        return await self._cross(point, travel)

    async def _hear(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._travel(point, call)
        except BaseException:
            if self._generation.alive:
                self._watch.unheard()
            raise

    async def setup(self) -> None:
        await self._hear("setup", self._inner.setup)

    async def scaling_info(self) -> ScalingInfo | None:
        info = await self._hear("view", self._inner.scaling_info)
        if info is not None:
            self._watch.viewed(info)
        return info

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        self._asks("drain")
        answers = await self._travel("drain", lambda: self._inner.drain(agents, when_done=when_done))
        self._watch.drained(answers)
        return answers

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        self._generation.check()
        self._asks("drain's end")
        self._watch.undrained(agents)
        await self._travel("cancel_drain", lambda: self._inner.cancel_drain(agents))

    async def close(self) -> None:
        """The scheduler goes on without us."""


class SearcherPort:
    """The process in which a generation's searches are made: it takes its time, at times too long, and may die."""

    def __init__(self, generation: Generation, random: Random) -> None:
        self._generation = generation
        self._random = random

    async def __call__(self, search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
        took, dies = self._random.uniform(0.0, 1.1 * LONGEST_SEARCH), self._random.random() < _DIES
        await self._generation.clock.sleep(took)
        if dies:
            raise ConnectionError("the process that searches has died")
        return search(view, policy, now)


class PushedSchedulerPort(SchedulerPort):
    """A scheduler that pushes: what was pushed last is what can be read, and a new generation knows nothing."""

    def __init__(
        self, inner: Scheduler, generation: Generation, watch: Watch, clock: Clock, *, latency: float = 0.0
    ) -> None:
        super().__init__(inner, generation, watch, clock, latency=latency)
        self.poll_period = 3600.0
        self._info: ScalingInfo | None = None

    def push(self, info: ScalingInfo) -> bool:
        """Hand over a new view; False when it equals the last one."""
        if info == self._info:
            return False
        self._info = info
        return True

    async def setup(self) -> None:
        """Nothing to connect to."""

    async def scaling_info(self) -> ScalingInfo | None:
        self._generation.check()
        return self._info
