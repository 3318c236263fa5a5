"""What a replica that is not sure of its lease may still ask for, and when its pools begin and rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from provisioner.world import FakeProvider
from slotsmith.clock import SystemClock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.lease import Claim, Lease
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import NO_MARKET, LaunchRequest, Market, ProviderError, market_of
from slotsmith.replicas.candidate import Candidate
from slotsmith.replicas.guarded import GuardedProvider, guarded_scheduler
from slotsmith.replicas.turns import Turns
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, SchedulerContext, SchedulerError
from slotsmith.schedulers.push import PushScheduler
from slotsmith.store.base import StoreError
from slotsmith.store.writer import InlineRunner
from waiting import until


def test_without_the_lease_it_looks_and_asks_for_nothing() -> None:
    async def main() -> None:
        leads = False
        provider = FakeProvider(SystemClock())  # type: ignore[arg-type]
        guarded = GuardedProvider(provider, lambda: leads)
        await guarded.setup()
        offering = guarded.offerings()[0]
        assert await guarded.list_instances() == []
        for call in (
            lambda: guarded.launch(LaunchRequest("t", offering, 1)),
            lambda: guarded.terminate(["i-1"]),
        ):
            with pytest.raises(ProviderError, match="cannot say that it still leads") as error:
                await call()
            # It may have happened: an earlier call, or another replica, may have asked for it.
            assert error.value.kind is ErrorKind.TRANSIENT
        leads = True
        assert len((await guarded.launch(LaunchRequest("t", offering, 1))).instance_ids) == 1

    asyncio.run(main())


def test_it_knows_the_market_as_well() -> None:
    market = Market(priced_at=5.0)

    class Selling(FakeProvider):
        def market(self) -> Market:
            return market

    assert market_of(GuardedProvider(Selling(SystemClock()), lambda: True)) is market  # type: ignore[arg-type]
    assert market_of(GuardedProvider(FakeProvider(SystemClock()), lambda: True)) == NO_MARKET  # type: ignore[arg-type]


class Asked:
    """A scheduler that gives up whatever it is asked for."""

    poll_period = 1.0

    async def setup(self) -> None: ...

    async def scaling_info(self) -> ScalingInfo | None:
        return None

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        return {name: DrainAnswer(DrainOutcome.RELEASED) for name in agents}

    async def cancel_drain(self, agents: Sequence[str]) -> None: ...

    async def close(self) -> None: ...


def test_schedulers_are_asked_for_agents_by_the_leader_alone() -> None:
    async def main() -> None:
        leads = False
        guarded = guarded_scheduler(Asked(), lambda: leads)
        await guarded.scaling_info()
        with pytest.raises(SchedulerError, match="cannot say that it still leads"):
            await guarded.drain(["a"], when_done=False)
        with pytest.raises(SchedulerError, match="cannot say that it still leads"):
            await guarded.cancel_drain(["a"])
        leads = True
        assert list(await guarded.drain(["a"], when_done=False)) == ["a"]
        pushes = PushScheduler(SchedulerContext("p", SystemClock(), lambda: None))
        assert guarded_scheduler(pushes, lambda: leads) is pushes

    asyncio.run(main())


class Leases:
    """A lease that is had and lost as the test says."""

    def __init__(self) -> None:
        self.mine = True

    def read(self) -> Lease | None:
        return None if self.mine else Lease(2, 0, "other")

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        return Lease(1, 0, claim.holder) if self.mine and seen is None else None

    def renew(self, lease: Lease) -> bool:
        return self.mine

    def release(self, lease: Lease) -> None:
        raise AssertionError("it has been taken")


class Pools:
    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self) -> None:
        self.told.append("begin")

    async def rest(self) -> None:
        self.told.append("rest")


class Quick(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(0.001)


def test_pools_run_while_it_leads_and_rest_when_it_is_lost() -> None:
    async def main() -> None:
        leases, pools, clock, writes = Leases(), Pools(), Quick(), [0]

        async def run_store(call: Callable[[], Any]) -> Any:
            writes[0] += 1
            if writes[0] == 1:
                raise StoreError("the last write still hangs")
            return call()

        candidate = Candidate(leases, InlineRunner(), clock, Claim("me"))
        turns = asyncio.create_task(
            Turns(candidate, pools, run_store, clock, lambda: pools.told.append("cleared")).take()  # type: ignore[arg-type]
        )
        await until(lambda: pools.told == ["begin"], timeout=30)
        leases.mine = False
        # It does not stand again before all that was begun under the old lease has been written or refused.
        await until(lambda: pools.told == ["begin", "rest", "cleared"], timeout=30)
        assert writes == [2]
        leases.mine = True
        await until(lambda: pools.told == ["begin", "rest", "cleared", "begin"], timeout=30)
        turns.cancel()
        await asyncio.gather(turns, return_exceptions=True)

    asyncio.run(main())
