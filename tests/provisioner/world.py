"""A pool whose provider and scheduler do what a test tells them, with a real store in memory and a clock by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from slotsmith.core.rules import SLOTSMITH
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.provisioner import Provisioner
from slotsmith.provisioner.searching import Searcher
from slotsmith.reports.narrative import narrate
from slotsmith.reports.report import PoolReport
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, SchedulerContext
from slotsmith.schedulers.push import PushScheduler
from slotsmith.store.sql import SqlStore, open_store
from slotsmith.store.writer import InlineRunner

T = TypeVar("T")

OFFERING = Offering("test", Resources(slots=2, cpus=2, mem_gib=4), price=1.0)


class HandClock:
    """Time stands still until it is set; sleeping lets the others run and costs nothing."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


@dataclass
class FakeProvider:
    """Launches at once and honours tokens. What is put in `launch_answers` and so on comes instead, once each."""

    clock: HandClock
    poll_period: float = 3600.0
    consistency_window: float = 0.0
    token_lifetime: float = 86400.0
    instances: dict[str, Instance] = field(default_factory=dict)
    by_token: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: list[tuple[str, object]] = field(default_factory=list)
    launch_faults: list[Exception | str] = field(default_factory=list)
    list_faults: list[Exception] = field(default_factory=list)
    terminate_faults: list[Exception | Mapping[str, ProviderError]] = field(default_factory=list)
    grant_at_most: int = 1000
    hidden: set[str] = field(default_factory=set)
    hang: asyncio.Event | None = None
    closed: bool = False

    async def setup(self) -> None:
        self.calls.append(("setup", None))

    def offerings(self) -> Sequence[Offering]:
        return (OFFERING,)

    async def list_instances(self) -> Sequence[Instance]:
        self.calls.append(("list", None))
        if self.list_faults:
            raise self.list_faults.pop(0)
        return [i for i in self.instances.values() if i.id not in self.hidden]

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        self.calls.append(("launch", request))
        fault = self.launch_faults.pop(0) if self.launch_faults else None
        if isinstance(fault, Exception):
            raise fault
        if self.hang is not None:
            await self.hang.wait()
        if request.token not in self.by_token:
            count = min(request.count, self.grant_at_most)
            self.by_token[request.token] = tuple(f"{request.token}-{n}" for n in range(count))
            for instance_id in self.by_token[request.token]:
                self.add(instance_id, token=request.token)
        if fault == "lost answer":
            raise ProviderError(ErrorKind.TRANSIENT, "the answer was lost")
        ids = self.by_token[request.token]
        short = ProviderError(ErrorKind.CAPACITY, "no more of them") if len(ids) < request.count else None
        return LaunchResult(ids, short)

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        self.calls.append(("terminate", tuple(instance_ids)))
        fault = self.terminate_faults.pop(0) if self.terminate_faults else {}
        if isinstance(fault, Exception):
            raise fault
        for instance_id in instance_ids:
            if instance_id not in fault:
                self.instances.pop(instance_id, None)
        return fault

    async def close(self) -> None:
        self.closed = True

    def add(self, instance_id: str, state: InstanceState = InstanceState.RUNNING, token: str = "") -> None:
        self.instances[instance_id] = Instance(
            instance_id, state, self.clock.now(), instance_id, token, OFFERING.name, OFFERING.capacity
        )

    def set_state(self, instance_id: str, state: InstanceState) -> None:
        self.instances[instance_id] = self.instances[instance_id]._replace(state=state)

    def made(self, name: str) -> list[object]:
        return [argument for call, argument in self.calls if call == name]


class Queue(PushScheduler):
    """Notes which drains are cancelled."""

    undrained: list[str]

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        self.undrained.extend(agents)


class _Disk(InlineRunner):
    """Each call lasts as many seconds as is put in `takes`, once each."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.takes: list[float] = []

    async def __call__(self, call: Callable[[], T]) -> T:
        if self.takes:
            await self._clock.sleep(self.takes.pop(0))
        return call()


class World:
    """One pool and everything around it."""

    def __init__(self, store: SqlStore | None = None, clock: HandClock | None = None, **limits: Any) -> None:
        self.clock = clock or HandClock()
        self.store = store or open_store("sqlite://")
        self.provider = FakeProvider(self.clock)
        self.disk = _Disk(self.clock)
        self.drains: list[tuple[tuple[str, ...], bool]] = []
        self.refusing: dict[str, DrainAnswer] = {}
        self.drain_takes: list[float] = []
        self.undrained: list[str] = []
        self.searcher: Searcher | None = None
        self.rules = SLOTSMITH
        self.ids = 0
        self.policy = Policy(**{"max_instances": 4, **limits})
        self.pool = self.provisioner()

    def provisioner(self) -> Provisioner:
        """A new provisioner on the same store, provider and clock: what a restart gives."""
        self.scheduler = Queue(SchedulerContext("p", self.clock, lambda: None), self.drain)
        self.scheduler.undrained = self.undrained
        return Provisioner(
            "p",
            self.policy,
            provider=self.provider,
            scheduler=self.scheduler,
            store=self.store,
            run_store=self.disk,
            clock=self.clock,
            random=Random(1),
            new_id=self.new_id,
            telemetry=lambda event: None,
            rules=self.rules,
            searcher=self.searcher,
        )

    def narrated(self, summary: Mapping[str, Any]) -> list[str]:
        """What `explain` says of the pool, without its history."""
        report, nothing = PoolReport("p", True, summary), {"intents": [], "decisions": [], "moves": []}
        return list(narrate(report, nothing, self.clock.now()))

    def new_id(self) -> str:
        self.ids += 1
        return f"t{self.ids}"

    async def drain(self, agents: Sequence[str], when_done: bool) -> Mapping[str, DrainAnswer]:
        self.drains.append((tuple(agents), when_done))
        answers = {name: self.refusing.get(name, DrainAnswer(DrainOutcome.RELEASED)) for name in agents}
        if self.drain_takes:
            # Given at once, and long on its way.
            await self.clock.sleep(self.drain_takes.pop(0))
        return answers

    def push(self, desired: int | None = None, *, busy: Sequence[str] = (), idle: Sequence[str] = ()) -> None:
        agents = [Agent(name, False) for name in busy] + [Agent(name, True) for name in idle]
        self.pool.update_scaling_info(ScalingInfo(tuple(agents), desired_new=desired))

    async def passes(self, count: int = 1, step: float = 1.0) -> None:
        for _ in range(count):
            await self.pool.provision()
            self.clock.at += step
