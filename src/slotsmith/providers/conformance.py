"""What every provider must do, as tests to run against it.

A test module subclasses `ProviderConformance` and says how its providers are made:

    pytest.register_assert_rewrite("slotsmith.providers.conformance")  # before the import; gives better messages

    class TestMine(ProviderConformance):
        def harness(self, directory: Path) -> Harness:
            return MyHarness(directory)

The suite knows nothing of any provider, and asks of one only what `slotsmith.providers.base` promises. Where that
allows time (a listing may lag behind), so does the suite.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest import SkipTest

from slotsmith.clock import Clock, SystemClock, system_ids
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderError

T = TypeVar("T")
S = TypeVar("S", bound="ProviderConformance")

_ALIVE = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)
_GOING = (InstanceState.STOPPING, InstanceState.TERMINATING)


class Harness(ABC):
    """The world of one test: a place where providers launch, and a way to end all that is left there."""

    unknown_id = "no-such-instance"
    """An id that is well formed and was never given to an instance."""
    patience = 15.0
    """Seconds for which a state is waited for."""
    look_again = 0.01
    """Seconds between two looks."""
    settle = 0.1
    """Seconds within which an instance that should not exist would show."""
    cancel_after: Iterable[float] = (0.0, 0.001, 0.004, 0.012, 0.03)
    """After how many seconds launches are cancelled; from before the first step to after the last one."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()

    @abstractmethod
    def provider(self, pool: str = "one") -> Provider:
        """A new provider object of this pool, not set up yet. The second one is what a restart would make."""

    @abstractmethod
    def finish(self) -> None:
        """End all instances of all pools. Called once, after `run`, whatever happened there."""

    def new_token(self) -> str:
        """A token never used before."""
        return system_ids()

    async def restrict(self, provider: Provider, count: int) -> bool:
        """Let this provider launch only `count` more instances; False = that cannot be arranged."""
        del provider, count
        return False

    def run(self, check: Coroutine[Any, Any, None]) -> None:
        """Run one test; a provider that lives in virtual time does it there."""
        asyncio.run(check)

    async def until(self, condition: Callable[[], Awaitable[T]], what: str) -> T:
        """The first true value of `condition`. Raises AssertionError: there is none for `patience` seconds."""
        deadline = self.clock.now() + self.patience
        while not (value := await condition()):
            assert self.clock.now() < deadline, f"{what}: not within {self.patience:g} s"
            await self.clock.sleep(self.look_again)
        return value

    @asynccontextmanager
    async def opened(self, pool: str = "one") -> AsyncIterator[Provider]:
        """A provider that is set up, and closed at the end."""
        provider = self.provider(pool)
        try:
            await provider.setup()
            yield provider
        finally:
            await provider.close()


def _case(check: Callable[[S, Harness], Coroutine[Any, Any, None]]) -> Callable[[S, Path], None]:
    """Make a check that takes a harness into a test that takes a directory."""

    def test(self: S, tmp_path: Path) -> None:
        harness = self.harness(tmp_path)
        try:
            harness.run(check(self, harness))
        finally:
            harness.finish()

    # Not functools.wraps: a test runner would take the check's parameters for those of the test.
    test.__name__ = check.__name__
    test.__qualname__ = check.__qualname__
    test.__doc__ = check.__doc__
    return test


class ProviderConformance:
    """The suite. Every test gets a directory of its own and has a harness made for it."""

    def harness(self, directory: Path) -> Harness:
        """A new, empty world, which may keep files in `directory`."""
        raise NotImplementedError

    @_case
    async def test_offerings_are_known_after_setup(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            names = [offering.name for offering in provider.offerings()]
            assert names
            assert len(set(names)) == len(names)
            assert provider.poll_period > 0
            assert provider.consistency_window >= 0
            assert provider.token_lifetime > 0
            assert list(await provider.list_instances()) == []

    @_case
    async def test_a_launch_is_listed_with_its_token_and_offering(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            before = harness.clock.now()
            token = harness.new_token()
            result = await _launch(provider, token, 2)
            assert result.shortfall is None
            assert len(set(result.instance_ids)) == 2
            listed = await _listed(harness, provider, result.instance_ids)
            offering = provider.offerings()[0]
            for instance in listed:
                assert (instance.token, instance.offering) == (token, offering.name)
                assert instance.state in _ALIVE
                assert instance.agent_name
                assert before - 1 <= instance.launched_at <= harness.clock.now() + 1
                assert instance.capacity in (None, offering.capacity)
            assert len({instance.agent_name for instance in listed}) == 2

    @_case
    async def test_an_instance_comes_to_run(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            await _launch(provider, harness.new_token(), 1)
            await _in_state(harness, provider, InstanceState.RUNNING, 1)

    @_case
    async def test_the_same_token_launches_once(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            token = harness.new_token()
            first = await _launch(provider, token, 2)
            again = await _launch(provider, token, 2)
            assert set(again.instance_ids) == set(first.instance_ids)
            await _listed(harness, provider, first.instance_ids)
            await _stays(harness, provider, first.instance_ids)

    @_case
    async def test_the_same_token_at_the_same_time_launches_once(self, harness: Harness) -> None:
        async with harness.opened() as provider, harness.opened() as other:
            token = harness.new_token()
            results = await asyncio.gather(*(_launch(each, token, 2) for each in (provider, other, provider)))
            assert len({frozenset(result.instance_ids) for result in results}) == 1
            await _listed(harness, provider, results[0].instance_ids)
            await _stays(harness, provider, results[0].instance_ids)

    @_case
    async def test_another_token_launches_more(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            results = [await _launch(provider, harness.new_token(), 1) for _ in range(3)]
            ids = [instance_id for result in results for instance_id in result.instance_ids]
            assert len(set(ids)) == 3
            await _listed(harness, provider, ids)

    @_case
    async def test_a_launch_of_none_launches_none(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 0)
            assert result.instance_ids == ()
            await _stays(harness, provider, ())

    @_case
    async def test_a_shortfall_says_why_and_keeps_what_was_launched(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            if not await harness.restrict(provider, 1):
                raise SkipTest("this provider cannot be made to launch fewer than it was asked for")
            result = await _launch(provider, harness.new_token(), 3)
            assert len(result.instance_ids) == 1
            assert result.shortfall is not None
            assert result.shortfall.kind is not ErrorKind.TRANSIENT
            await _listed(harness, provider, result.instance_ids)
            await _stays(harness, provider, result.instance_ids)

    @_case
    async def test_a_launch_that_gives_nothing_is_an_error(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            if not await harness.restrict(provider, 0):
                raise SkipTest("this provider cannot be made to launch fewer than it was asked for")
            error = await _launch_error(provider, LaunchRequest(harness.new_token(), provider.offerings()[0], 2))
            assert error.kind in (ErrorKind.CAPACITY, ErrorKind.QUOTA)
            await _stays(harness, provider, ())

    @_case
    async def test_an_unknown_offering_is_refused(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            unknown = replace(provider.offerings()[0], instance_type="no-such-type")
            error = await _launch_error(provider, LaunchRequest(harness.new_token(), unknown, 1))
            assert error.kind is ErrorKind.INVALID
            await _stays(harness, provider, ())

    @_case
    async def test_a_terminated_instance_is_no_longer_listed_in_the_end(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 3)
            await _listed(harness, provider, result.instance_ids)
            gone, *rest = result.instance_ids
            assert await provider.terminate([gone]) == {}
            for instance in await provider.list_instances():
                assert instance.id != gone or instance.state in _GOING
            await _listed(harness, provider, rest)
            await _stays(harness, provider, rest)

    @_case
    async def test_terminating_twice_is_no_failure(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 2)
            ids = [*result.instance_ids, *result.instance_ids]
            assert await provider.terminate(ids) == {}
            _check_failures(await provider.terminate(ids), ids)
            await _listed(harness, provider, ())
            _check_failures(await provider.terminate(ids), ids)

    @_case
    async def test_a_bad_id_fails_no_other(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 2)
            failures = await provider.terminate([harness.unknown_id, "", *result.instance_ids, harness.unknown_id])
            _check_failures(failures, ["", harness.unknown_id])
            await _listed(harness, provider, ())

    @_case
    async def test_terminating_nothing_does_nothing(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 1)
            assert await provider.terminate([]) == {}
            await _listed(harness, provider, result.instance_ids)

    @_case
    async def test_the_token_of_what_is_gone_launches_nothing(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            token = harness.new_token()
            result = await _launch(provider, token, 2)
            # A listing that lags lacks them at first, too.
            await _listed(harness, provider, result.instance_ids)
            await provider.terminate(result.instance_ids)
            await _listed(harness, provider, ())
            # Naming them again and refusing are both definite answers.
            with suppress(ProviderError):
                again = await _launch(provider, token, 2)
                assert set(again.instance_ids) <= set(result.instance_ids)
            await _stays(harness, provider, ())

    @_case
    async def test_the_listing_has_each_once_in_a_stable_order(self, harness: Harness) -> None:
        async with harness.opened() as provider, harness.opened() as other:
            ids: list[str] = []
            order: list[str] = []
            for count in (2, 1, 2):
                ids.extend((await _launch(provider, harness.new_token(), count)).instance_ids)
                await _listed(harness, provider, ids)
                await _listed(harness, other, ids)
                now = [instance.id for instance in await provider.list_instances()]
                assert len(set(now)) == len(now) == len(ids)
                assert now == [instance.id for instance in await other.list_instances()]
                assert [instance_id for instance_id in now if instance_id in order] == order
                order = now

    @_case
    async def test_a_restarted_provider_finds_and_ends_what_the_last_one_launched(self, harness: Harness) -> None:
        token = harness.new_token()
        async with harness.opened() as provider:
            first = await _launch(provider, token, 2)
            before = await _listed(harness, provider, first.instance_ids)
        async with harness.opened() as provider:
            after = await _listed(harness, provider, first.instance_ids)
            assert [_lasting(instance) for instance in after] == [_lasting(instance) for instance in before]
            again = await _launch(provider, token, 2)
            assert set(again.instance_ids) == set(first.instance_ids)
            assert await provider.terminate(first.instance_ids) == {}
            await _listed(harness, provider, ())

    @_case
    async def test_a_termination_goes_on_after_a_restart(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 2)
            await _in_state(harness, provider, InstanceState.RUNNING, 2)
            assert await provider.terminate(result.instance_ids) == {}
        async with harness.opened() as provider:
            await _listed(harness, provider, ())

    @_case
    async def test_closing_leaves_the_instances(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            result = await _launch(provider, harness.new_token(), 1)
            await _in_state(harness, provider, InstanceState.RUNNING, 1)
            await provider.close()
        async with harness.opened() as provider:
            (instance,) = await _listed(harness, provider, result.instance_ids)
            assert instance.state is InstanceState.RUNNING

    @_case
    async def test_pools_do_not_see_each_other(self, harness: Harness) -> None:
        async with harness.opened("one") as one, harness.opened("two") as two:
            in_one = (await _launch(one, harness.new_token(), 1)).instance_ids
            in_two = (await _launch(two, harness.new_token(), 2)).instance_ids
            assert not set(in_one) & set(in_two)
            await _listed(harness, one, in_one)
            await _listed(harness, two, in_two)
            assert await two.terminate(in_two) == {}
            await _listed(harness, two, ())
            await _stays(harness, one, in_one)

    @_case
    async def test_a_cancelled_launch_asked_again_launches_once(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            ids: list[str] = []
            for seconds in harness.cancel_after:
                token = harness.new_token()
                attempt = asyncio.ensure_future(_launch(provider, token, 2))
                await harness.clock.sleep(seconds)
                attempt.cancel()
                await asyncio.wait([attempt])
                result = await _launch(provider, token, 2)
                assert len(result.instance_ids) == 2
                ids.extend(result.instance_ids)
                listed = await _listed(harness, provider, ids)
                assert sum(instance.token == token for instance in listed) == 2
            await _stays(harness, provider, ids)

    @_case
    async def test_calls_may_overlap(self, harness: Harness) -> None:
        async with harness.opened() as provider:
            first = await _launch(provider, harness.new_token(), 2)
            second, third, failures, _ = await asyncio.gather(
                _launch(provider, harness.new_token(), 1),
                _launch(provider, harness.new_token(), 1),
                provider.terminate(first.instance_ids),
                provider.list_instances(),
            )
            assert failures == {}
            await _listed(harness, provider, [*second.instance_ids, *third.instance_ids])


async def _launch(provider: Provider, token: str, count: int) -> LaunchResult:
    return await provider.launch(LaunchRequest(token, provider.offerings()[0], count))


async def _launch_error(provider: Provider, request: LaunchRequest) -> ProviderError:
    try:
        result = await provider.launch(request)
    except ProviderError as error:
        return error
    raise AssertionError(f"expected an error, got {result}")


async def _listed(harness: Harness, provider: Provider, ids: Iterable[str]) -> list[Instance]:
    """The listing, as soon as it has these ids and no others."""
    wanted = sorted(ids)
    listed: list[Instance] = []

    async def complete() -> bool:
        listed[:] = await provider.list_instances()
        return sorted(instance.id for instance in listed) == wanted

    try:
        await harness.until(complete, f"a listing of {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}; the last one was {listed}") from None
    return listed


async def _stays(harness: Harness, provider: Provider, ids: Iterable[str]) -> None:
    """Nothing else comes into being, even when the provider is given some time for what it should not do."""
    wanted = set(ids)
    deadline = harness.clock.now() + harness.settle
    while harness.clock.now() < deadline:
        assert {instance.id for instance in await provider.list_instances()} <= wanted
        await harness.clock.sleep(harness.look_again)
    await _listed(harness, provider, wanted)


async def _in_state(harness: Harness, provider: Provider, state: InstanceState, count: int) -> None:
    async def reached() -> bool:
        return sum(instance.state is state for instance in await provider.list_instances()) == count

    await harness.until(reached, f"{count} instances {state}")


def _check_failures(failures: Mapping[str, ProviderError], allowed: Iterable[str]) -> None:
    """What does not exist may be called gone, and nothing else may fail."""
    assert set(failures) <= set(allowed)
    assert all(error.kind is ErrorKind.GONE for error in failures.values())


def _lasting(instance: Instance) -> tuple[object, ...]:
    """What no restart changes."""
    return instance.id, instance.token, instance.offering, instance.launched_at, instance.agent_name, instance.capacity
