"""Pools side by side: one pool's trouble is its own."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from slotsmith.cli import daemon
from slotsmith.cli.daemon import Daemon, Plan
from slotsmith.clock import SystemClock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from waiting import PATIENCE, until


class Pool:
    """A runner that works until it is stopped, unless told to fail."""

    def __init__(self, *, setup_error: Exception | None = None, run_error: Exception | None = None) -> None:
        self.setup_error = setup_error
        self.run_error = run_error
        self.calls: list[str] = []
        self._stopped = asyncio.Event()

    async def setup(self) -> None:
        self.calls.append("setup")
        if self.setup_error:
            raise self.setup_error

    async def run(self) -> None:
        self.calls.append("run")
        if self.run_error:
            raise self.run_error
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    async def close(self) -> None:
        self.calls.append("close")


INVALID = ProviderError(ErrorKind.INVALID, "no such program")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "FIRST_PAUSE", 0.01)


def one(pool: Pool) -> Plan:
    return Plan(None, lambda: pool)


async def run_until(subject: Daemon, condition: Callable[[], bool]) -> dict[str, str]:
    running = asyncio.create_task(subject.run())
    await until(condition, what="the condition")
    subject.stop()
    return await asyncio.wait_for(running, PATIENCE)


def test_pools_run_until_they_are_stopped() -> None:
    async def scenario() -> None:
        pools = {"a": Pool(), "b": Pool()}
        subject = Daemon({name: one(pool) for name, pool in pools.items()}, SystemClock())
        assert await run_until(subject, lambda: all(pool.calls[-1:] == ["run"] for pool in pools.values())) == {}
        assert [pool.calls for pool in pools.values()] == [["setup", "run", "close"]] * 2

    asyncio.run(scenario())


def test_a_pool_that_fails_is_started_anew_and_the_others_go_on() -> None:
    async def scenario() -> None:
        good = Pool()
        made = [Pool(run_error=ZeroDivisionError()), Pool(run_error=KeyError("x")), Pool()]
        rest = iter(made)
        subject = Daemon({"bad": Plan(None, lambda: next(rest)), "good": one(good)}, SystemClock())
        await run_until(subject, lambda: made[2].calls == ["run"])
        assert made[0].calls == ["setup", "run", "close"]
        assert made[1].calls == ["run", "close"]
        assert good.calls == ["setup", "run", "close"]

    asyncio.run(scenario())


def test_a_pool_that_cannot_be_made_is_tried_again() -> None:
    async def scenario() -> None:
        pool, tries = Pool(), 0

        def make() -> Pool:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise RuntimeError("not yet")
            return pool

        await run_until(Daemon({"a": Plan(None, make)}, SystemClock()), lambda: "run" in pool.calls)
        assert tries == 3

    asyncio.run(scenario())


def test_when_every_provider_refuses_its_settings_there_is_nothing_to_wait_for() -> None:
    async def scenario() -> None:
        pools = {"a": Pool(setup_error=INVALID), "b": Pool(setup_error=INVALID)}
        subject = Daemon({name: one(pool) for name, pool in pools.items()}, SystemClock())
        refused = await asyncio.wait_for(subject.run(), PATIENCE)
        assert refused == {"a": "no such program", "b": "no such program"}
        assert all(pool.calls[-1] == "close" for pool in pools.values())

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "other", [None, ProviderError(ErrorKind.TRANSIENT, "no route"), TimeoutError(), ZeroDivisionError()]
)
def test_one_provider_that_refuses_is_waited_for_when_another_may_work(other: Exception | None) -> None:
    async def scenario() -> None:
        pools = {"a": Pool(setup_error=INVALID), "b": Pool(setup_error=other)}
        subject = Daemon({name: one(pool) for name, pool in pools.items()}, SystemClock())
        assert await run_until(subject, lambda: all("run" in pool.calls for pool in pools.values())) == {}

    asyncio.run(scenario())


def test_a_set_up_that_hangs_does_not_keep_it_from_ending() -> None:
    class Hanging(Pool):
        async def setup(self) -> None:
            await super().setup()
            await asyncio.Event().wait()

    async def scenario() -> None:
        pool = Hanging()
        await run_until(Daemon({"a": one(pool)}, SystemClock()), lambda: pool.calls == ["setup"])
        assert pool.calls == ["setup", "close"]

    asyncio.run(scenario())


def test_connections_that_do_not_close_do_not_keep_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "CLOSE_DEADLINE", 0.01)

    class Sticky(Pool):
        async def close(self) -> None:
            await asyncio.Event().wait()

    async def scenario() -> None:
        pool = Sticky()
        await run_until(Daemon({"a": one(pool)}, SystemClock()), lambda: pool.calls == ["setup", "run"])

    asyncio.run(scenario())


def test_the_first_signal_stops_and_the_second_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []

    class Slow(Pool):
        def stop(self) -> None:
            """It takes its time."""

    async def scenario() -> None:
        pool = Slow()
        subject = Daemon({"a": one(pool)}, SystemClock())
        running = asyncio.create_task(subject.run())
        await until(lambda: pool.calls == ["setup", "run"], what="the start")
        monkeypatch.setattr(os, "_exit", lambda status: (ends.append(status), Pool.stop(pool)))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(running, PATIENCE)

    asyncio.run(scenario())
    assert ends in ([130], [143])


def test_a_reload_begins_ends_and_changes_pools_and_leaves_the_others() -> None:
    made: list[str] = []

    def plan(name: str, settings: int) -> Plan:
        def make() -> Pool:
            made.append(f"{name}{settings}")
            return Pool()

        return Plan(settings, make)

    plans: dict[str, Plan] | None = {"a": plan("a", 1), "b": plan("b", 1), "c": plan("c", 1)}
    first = plans

    async def check() -> None:
        subject = Daemon(first or {}, SystemClock(), lambda: plans)
        running = asyncio.create_task(subject.run())
        await until(lambda: len(made) == 3, what="three pools")
        nonlocal_plans({"a": plan("a", 1), "b": plan("b", 2), "d": plan("d", 1)})
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(made) == 5, what="a changed and a new one")
        nonlocal_plans(None)
        os.kill(os.getpid(), signal.SIGHUP)
        nonlocal_plans({"c": plan("c", 3)})
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "c3" in made, what="the one that came back")
        assert not running.done()
        subject.stop()
        assert await running == {}

    def nonlocal_plans(new: dict[str, Plan] | None) -> None:
        nonlocal plans
        plans = new

    asyncio.run(check())
    assert sorted(made) == ["a1", "b1", "b2", "c1", "c3", "d1"]


def test_pools_rest_until_they_are_told_to_begin() -> None:
    async def scenario() -> None:
        made: list[Pool] = []

        def make() -> Pool:
            made.append(Pool())
            return made[-1]

        subject = Daemon({"a": Plan(None, make)}, SystemClock(), resting=True)
        running = asyncio.create_task(subject.run())
        for round_ in (1, 2):
            await asyncio.sleep(0)
            assert len(made) == round_ - 1
            subject.begin()
            subject.begin()
            await until(lambda: len(made) == round_ and made[-1].calls == ["setup", "run"], timeout=30)  # noqa: B023
            await subject.rest()
            assert made[-1].calls == ["setup", "run", "close"]
        assert not running.done()
        subject.stop()
        assert await asyncio.wait_for(running, 30) == {}
        subject.begin()
        assert len(made) == 2

    asyncio.run(scenario())
