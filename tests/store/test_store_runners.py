"""Calls of the store from coroutines: in order, to their end, and never on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from store_values import Opener, changes, intent

from slotsmith.store.base import StoreError, StoreRunner
from slotsmith.store.writer import InlineRunner, ThreadRunner
from waiting import PATIENCE


@pytest.fixture
def runner() -> Iterator[ThreadRunner]:
    made = ThreadRunner()
    yield made
    made.close()


def fail(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("make", [ThreadRunner, InlineRunner])
def test_results_and_errors_reach_the_caller(make: Callable[[], StoreRunner]) -> None:
    runner = make()

    async def main() -> None:
        assert await runner(lambda: 42) == 42
        for error in (StoreError("full"), TimeoutError("of the call itself"), KeyError("x")):
            with pytest.raises(type(error)) as caught:
                await runner(fail(error))
            assert caught.value is error
        assert await runner(lambda: "still at work") == "still at work"

    asyncio.run(main())
    runner.close()


def test_inline_calls_run_where_they_are_made() -> None:
    assert asyncio.run(InlineRunner()(threading.current_thread)) is threading.main_thread()


def test_the_event_loop_goes_on_while_the_disk_works(runner: ThreadRunner) -> None:
    """I8: the call ends only when the loop does something else in the meantime."""

    async def main() -> None:
        go_on = threading.Event()
        call = asyncio.create_task(runner(lambda: go_on.wait(PATIENCE)))
        await asyncio.to_thread(lambda: None)
        go_on.set()
        assert await call is True

    asyncio.run(main())


def test_calls_run_in_the_order_in_which_they_are_made(runner: ThreadRunner) -> None:
    order: list[tuple[int, str]] = []

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(runner(lambda n=number: order.append((n, threading.current_thread().name))))

    asyncio.run(main())
    assert order == [(number, "slotsmith-store") for number in range(200)]


def test_a_cancelled_call_keeps_its_place_and_is_carried_out(runner: ThreadRunner) -> None:
    order: list[int] = []

    async def main() -> None:
        started, go_on = threading.Event(), threading.Event()

        def first() -> None:
            started.set()
            go_on.wait(PATIENCE)
            order.append(1)

        calls = [asyncio.create_task(runner(first))]
        calls += [asyncio.create_task(runner(lambda n=number: order.append(n))) for number in (2, 3)]
        await asyncio.to_thread(started.wait, PATIENCE)
        # One at work, one still waiting for its turn.
        for call in calls[:2]:
            call.cancel()
        await asyncio.wait(calls[:2])
        assert [call.cancelled() for call in calls] == [True, True, False]
        assert order == []
        go_on.set()
        await calls[2]

    asyncio.run(main())
    assert order == [1, 2, 3]


def test_a_call_that_takes_too_long_is_told_and_still_carried_out() -> None:
    order: list[int] = []
    go_on = threading.Event()
    runner = ThreadRunner(deadline=0.05)

    def slow() -> None:
        go_on.wait(PATIENCE)
        order.append(1)

    async def main() -> None:
        with pytest.raises(StoreError, match=r"the store has not answered for 0\.05 s, and what was to be written may"):
            await runner(slow)
        go_on.set()

    asyncio.run(main())
    # Not within the short deadline of this runner, but until it is done.
    runner.close()
    runner._thread.join(PATIENCE)
    assert order == [1]


def test_an_error_that_nobody_waits_for_any_more_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    runner = ThreadRunner()
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go_on.wait(PATIENCE)
        raise StoreError("too late")

    async def main() -> None:
        call = asyncio.create_task(runner(slow))
        await asyncio.to_thread(started.wait, PATIENCE)
        call.cancel()
        await asyncio.wait([call])

    asyncio.run(main())
    # Its loop is closed by now.
    go_on.set()
    assert asyncio.run(runner(lambda: 1)) == 1
    runner.close()
    assert not caplog.records


def test_closing_finishes_what_was_asked_for() -> None:
    done: list[int] = []
    runner = ThreadRunner()

    async def main() -> None:
        calls = [asyncio.create_task(runner(lambda n=number: done.append(n))) for number in range(50)]
        await asyncio.sleep(0)
        runner.close()
        runner.close()
        await asyncio.gather(*calls)
        with pytest.raises(StoreError, match="the store is closed"):
            await runner(lambda: done.append(99))

    asyncio.run(main())
    assert done == list(range(50))


def test_a_store_behind_a_thread(opened: Opener, runner: ThreadRunner) -> None:
    async def main() -> None:
        store = await runner(opened)
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                what = changes(float(number), intents=(intent(f"{number:02}"),))
                tasks.create_task(runner(lambda what=what: store.commit(what)))
        books = await runner(lambda: store.load("gpu"))
        assert [each.token for each in books.intents] == [f"{number:02}" for number in range(20)]
        assert books.heartbeat == 19.0
        await runner(store.close)

    asyncio.run(main())
