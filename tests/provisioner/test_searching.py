"""Launches that wait for cheaper ones: what is found is launched while nothing has changed, and nobody else waits."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import psutil
import pytest
import structlog

from provisioner.test_several_offerings import SeveralProvider, push
from provisioner.world import World
from slotsmith.core.fleet import EMPTY_FLEET
from slotsmith.core.rules import SLOTSMITH, Decide
from slotsmith.core.view import OnOffer, View
from slotsmith.model.decision import Decision, Launch, Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.provisioner.operating import By
from slotsmith.provisioner.searching import LONGEST_SEARCH, Searcher, Searching
from slotsmith.provisioner.worker_process import WorkerProcess
from slotsmith.simulation.loop import VirtualClock, run_virtually
from waiting import until

OFFERINGS = (
    Offering("three", Resources(3), price=4.1),
    Offering("four", Resources(4), price=4.5),
    Offering("eight", Resources(8), price=8.4),
)
PUZZLE = tuple(TaskClass(Resources(slots), count) for slots, count in ((7, 2), (5, 1), (4, 1), (3, 2), (2, 2), (1, 2)))
"""The first plan for these takes four eights and a four, and with a three in its place they are cheaper."""
POLICY = Policy(max_instances=20)
VIEW = View(EMPTY_FLEET, ScalingInfo((), PUZZLE), OFFERINGS[0], others=tuple(map(OnOffer, OFFERINGS[1:])))


def decision(dollars: float, excess: float = 0.0, unmet: tuple[Unmet, ...] = ()) -> Decision:
    launch = Launch(replace(OFFERINGS[0], price=dollars), 1, "")
    return Decision(1.0, (launch,), unmet=unmet, excess=excess)


def finds(found: Decision | Exception, *, after: float = 0.0) -> Searcher:
    async def search(_search: Decide, _view: View, _policy: Policy, _now: float) -> Decision:
        await asyncio.sleep(after)
        if isinstance(found, Exception):
            raise found
        return found

    return search


def searching(searcher: Searcher | None, news: asyncio.Event | None = None) -> Searching:
    assert SLOTSMITH.search is not None
    search = None if searcher is None else partial(searcher, SLOTSMITH.search)
    return Searching(search, news or asyncio.Event(), structlog.get_logger())


def test_a_search_finds_cheaper_launches_for_the_same_tasks() -> None:
    first = SLOTSMITH.decide(VIEW, POLICY, 1.0)
    assert SLOTSMITH.search is not None
    found = SLOTSMITH.search(VIEW, POLICY, 1.0)
    assert (first.dollars_per_hour, found.dollars_per_hour) == (pytest.approx(38.1), pytest.approx(37.7))
    assert first.dollars_per_hour - first.excess <= found.dollars_per_hour
    assert (first.unmet, found.unmet) == ((), ())
    assert found.excess == 0.0


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        ({}, 1.3),
        ({"max_instances": 4}, 0.0),
        ({"max_slots": 30}, 0.0),
        ({"max_dollars_per_hour": 30.0}, 0.0),
    ],
)
def test_what_limits_decide_is_not_searched_for(limits: dict[str, float], excess: float) -> None:
    made = SLOTSMITH.decide(VIEW, Policy(**{"max_instances": 20, **limits}), 1.0)  # type: ignore[arg-type]
    assert made.launches
    assert made.excess == pytest.approx(excess, abs=1e-3)


def test_only_what_may_be_far_too_dear_is_searched_for() -> None:
    some = searching(finds(decision(1.0)))
    assert some.pays(decision(100.0, 1.1))
    assert not some.pays(decision(100.0, 0.9))
    assert not some.pays(replace(decision(100.0, 50.0), launches=())), "a pool that is paused launches nothing"
    assert not searching(None).pays(decision(100.0, 50.0))


def test_the_cheaper_one_is_taken() -> None:
    async def main(_: VirtualClock) -> None:
        first, cheaper, dearer = decision(10.0), decision(9.0), decision(11.0)
        partly = decision(5.0, unmet=(Unmet(1, "some are left out"),))
        for found, best in ((cheaper, cheaper), (dearer, first), (partly, first), (decision(10.0), first)):
            assert await searching(finds(found)).better(VIEW, POLICY, first) is best

    run_virtually(main)


def test_news_end_the_wait() -> None:
    async def main(clock: VirtualClock) -> None:
        news = asyncio.Event()
        some = searching(finds(decision(9.0), after=1.0), news)
        began = clock.now()
        asyncio.get_running_loop().call_later(0.25, news.set)
        assert await some.better(VIEW, POLICY, decision(10.0)) is None
        assert clock.now() - began == pytest.approx(0.25)
        assert some.waited == pytest.approx(0.25)
        assert await some.better(VIEW, POLICY, decision(10.0)) is None, "it has not been taken in yet"
        news.clear()
        found = await some.better(VIEW, POLICY, decision(10.0))
        assert found is not None
        assert found.dollars_per_hour == 9.0

    run_virtually(main)


def test_nobody_waits_for_long_nor_for_a_search_that_fails() -> None:
    async def main(clock: VirtualClock) -> None:
        began = clock.now()
        assert await searching(finds(decision(9.0), after=60.0)).better(VIEW, POLICY, decision(10.0)) is None
        assert clock.now() - began == pytest.approx(LONGEST_SEARCH)
        with structlog.testing.capture_logs() as logs:
            assert await searching(finds(OSError("no process"))).better(VIEW, POLICY, decision(10.0)) is None
        (line,) = logs
        assert (line["log_level"], line["error"]) == ("warning", "OSError: no process")

    run_virtually(main)


def test_what_came_of_searches_is_told() -> None:
    async def main(_: VirtualClock) -> None:
        news = asyncio.Event()
        found: list[tuple[Decision | Exception, float]] = [
            (decision(9.0), 0.5),
            (decision(8.5), 0.0),
            (decision(10.0), 0.0),
            (decision(9.0), 60.0),
            (OSError("no process"), 0.0),
        ]

        async def search(_search: Decide, view: View, policy: Policy, now: float) -> Decision:
            result, after = found.pop(0)
            return await finds(result, after=after)(_search, view, policy, now)

        some = searching(search, news)
        assert some.summary() is None
        for _ in range(5):
            await some.better(VIEW, POLICY, decision(10.0))
        news.set()
        found.append((decision(9.0), 0.0))
        await some.better(VIEW, POLICY, decision(10.0))
        told = some.summary()
        assert told is not None
        assert told["outcomes"] == {"cheaper": 2, "none_cheaper": 1, "news": 1, "late": 1, "failed": 1}
        assert told["saved_dollars_per_hour"] == pytest.approx(2.5)
        assert told["waited_seconds"] == pytest.approx(0.5 + LONGEST_SEARCH)

    run_virtually(main)


# In a pool


def launched(world: World) -> dict[str, int]:
    return {request.offering.instance_type: request.count for request in world.provider.made("launch")}  # type: ignore[attr-defined]


def in_a_pool(searcher: Callable[[World], Searcher | None], check: Callable[[World], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        world = World(clock=clock, max_instances=20)  # type: ignore[arg-type]
        world.provider = SeveralProvider(world.clock)
        world.provider.on_offer = OFFERINGS
        world.searcher = searcher(world)
        world.pool = world.provisioner()
        await world.pool.setup()
        push(world, PUZZLE)
        await check(world)

    run_virtually(main)


async def inline(search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
    await asyncio.sleep(0.75)
    return search(view, policy, now)


def test_a_pool_launches_what_a_search_has_found() -> None:
    async def check(world: World) -> None:
        await world.pool.provision()
        assert launched(world) == {"three": 1, "eight": 4}
        summary = await world.pool.summary()
        assert summary is not None
        narrated = world.narrated(summary)
        index = narrated.index(
            "  Launches have waited for a search for cheaper ones 1 time, 1s in all, since the daemon began:"
        )
        assert narrated[index + 1] == "    1 time it found some, $0.40 per hour cheaper in all."

    in_a_pool(lambda _: inline, check)


def test_a_pool_without_one_launches_at_once() -> None:
    async def check(world: World) -> None:
        await world.pool.provision()
        assert launched(world) == {"four": 1, "eight": 4}

    in_a_pool(lambda _: None, check)


def test_what_comes_meanwhile_is_decided_upon_at_once() -> None:
    def interrupted(world: World) -> Searcher:
        async def search(search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
            await asyncio.sleep(0.25)
            push(world, (TaskClass(Resources(2), 1),))
            return search(view, policy, now)

        return search

    async def check(world: World) -> None:
        began = world.clock.now()
        await world.pool.provision()
        assert launched(world) == {"three": 1}, "the others are not asked for any more"
        assert world.clock.now() - began == pytest.approx(0.25)

    in_a_pool(interrupted, check)


def test_a_pool_that_is_paused_meanwhile_launches_nothing() -> None:
    def interrupted(world: World) -> Searcher:
        async def search(search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
            await world.pool.operating.pause(By("ann", "maintenance"))
            return search(view, policy, now)

        return search

    async def check(world: World) -> None:
        await world.pool.provision()
        assert launched(world) == {}

    in_a_pool(interrupted, check)


# The process


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_searches_are_made_in_a_process_that_ends_with_the_program() -> None:
    async def main() -> set[int]:
        before = children()
        worker = WorkerProcess()
        assert SLOTSMITH.search is not None
        for _ in range(2):
            assert await worker(SLOTSMITH.search, VIEW, POLICY, 1.0) == SLOTSMITH.search(VIEW, POLICY, 1.0)
        (begun,) = children() - before
        assert psutil.Process(begun).nice() == min(19, psutil.Process().nice() + 10)
        os.kill(begun, signal.SIGINT)
        assert await worker(SLOTSMITH.search, VIEW, POLICY, 1.0), "an interrupt is for the program that it serves"
        os.kill(begun, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(begun) or psutil.Process(begun).status() == psutil.STATUS_ZOMBIE)
        with structlog.testing.capture_logs() as logs:
            while await searching(worker).better(VIEW, POLICY, decision(1e6)) is None:
                pass
        assert sum(line["log_level"] == "warning" for line in logs) <= 1, "one search was lost at most"
        return children() - before

    left = asyncio.run(main())
    assert all(not psutil.pid_exists(pid) for pid in left)


def test_who_gives_up_neither_ends_the_process_nor_leaves_one_behind() -> None:
    async def main() -> set[int]:
        before = children()
        worker = WorkerProcess()
        assert SLOTSMITH.search is not None
        begun = set()
        for patience in (0.001, 0.001, 60.0, 0.001, 0.001, 60.0):
            # Given up while it starts, then while it searches, and by several at once.
            searches = [worker(SLOTSMITH.search, VIEW, POLICY, 1.0) for _ in range(2)]
            try:
                async with asyncio.timeout(patience):
                    await asyncio.gather(*searches)
                begun |= children() - before
            except TimeoutError:
                assert patience < 1
        assert len(begun) == 1
        return begun

    left = asyncio.run(main())
    assert all(not psutil.pid_exists(pid) for pid in left)
