"""Several processes of the program over one store: one leads, and each may die, be stopped, or stand still for a while.

The lease is kept by the program's own `Candidate` and `Turns`. A process that stands still is one that was sent
SIGSTOP, or whose machine swaps: none of its tasks goes on, until another process leads and some time beyond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from slotsmith.clock import Clock, Random
from slotsmith.model.lease import Claim
from slotsmith.replicas.candidate import Candidate
from slotsmith.replicas.turns import Turns
from slotsmith.schedulers.base import Scheduler, TakesViews
from slotsmith.simulation.events import FAULT, EventLog
from slotsmith.simulation.generation import FAULT_STOP, LONGEST_STOP, Generation, current
from slotsmith.simulation.held import HeldClock, HeldProvider, HeldPushScheduler, HeldScheduler
from slotsmith.simulation.leases import LeasePort, SimulatedLeases
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.site import Site
from slotsmith.simulation.storage import Disk, SimulatedRunner

PROCESSES: Final = 2
LEASE_DEADLINE: Final = 5.0
"""Seconds for one look at the lease, or one sign of life; as in earnest."""
_SHARE: Final = 0.06
"""Of all seeds, those with several processes."""
_LONGEST_STILL: Final = 30.0
"""Seconds for which a process stands still beyond the moment from which another leads, at most."""

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "still": "the process that leads stands still, goes on when another leads, and believes that it leads itself",
        "still_launch": "the same, with a launch about to leave",
    }
)
"""The catalogue: name -> what happens."""


def with_replicas(scenario: Scenario) -> Scenario:
    """The same world, in some seeds with several processes; drawn after all else so that others stay as they are."""
    random = Random(f"slotsmith {scenario.seed} processes")
    if random.random() >= _SHARE:
        return scenario
    crashes = scenario.crashes
    if scenario.faulty_until and random.random() < 0.9:
        crashes = replace(
            crashes,
            mean_still=random.choice((0.0, 300.0, 1200.0)),
            still=random.choice((0.0, 0.3, 0.8)),
            longest_pause=min(60.0, crashes.longest_pause),
            most=max(6, crashes.most),
        )
    return replace(scenario, replicas=True, crashes=crashes, second_pool=False, strays=())


class Replicas:
    """Keeps the processes running. `new_generation` begins a process, and `take_up` gives it the pools to run."""

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        clock: Clock,
        log: EventLog,
        random: Random,
        disk: Disk,
        new_generation: Callable[[Callable[[], None]], Generation],
        take_up: Callable[[Generation, SimulatedRunner], None],
        pause: Callable[[], float],
    ) -> None:
        self.sites = sites
        self.clock = clock
        self.log = log
        self.random = random
        self.disk = disk
        self.new_generation = new_generation
        self.take_up = take_up
        self.leases = SimulatedLeases()
        self.calm = False
        self._pause = pause
        self._leader: Process | None = None
        self._processes: list[Process] = []

    async def run(self) -> None:
        """Start each, wait until it has ended, and start it again."""
        await asyncio.gather(*(self._keep() for _ in range(PROCESSES)))

    def restart(self) -> None:
        """Each is stopped in good order, and started again."""
        for process in self._processes:
            process.stop_asked.set()

    def stop_faults(self) -> None:
        """From now on none of them dies or stands still anew."""
        self.calm = True
        for process in self._processes:
            process.generation.stop_faults()

    def end(self) -> None:
        """The end of the world."""
        for process in self._processes:
            process.end()

    async def _keep(self) -> None:
        while True:
            process = Process(self)
            self._processes.append(process)
            process.start()
            await process.until_end()
            self.leads_no_more(process)
            self._processes.remove(process)
            await self.clock.sleep(self._pause())

    def leads(self, process: Process) -> None:
        """It has the lease now, whatever another one believes."""
        if self._leader is not None:
            self.leads_no_more(self._leader)
        self._leader = process
        process.generation.leads = True
        for other in self._processes:
            if other is not process and other.generation.still:
                wait = round(self.random.uniform(0.0, _LONGEST_STILL), 3)
                asyncio.get_running_loop().call_later(wait, other.go_on)

    def leads_no_more(self, process: Process) -> None:
        """It has ended, stands still, or another one leads. What it does from now on is not the pools' doing."""
        if self._leader is process:
            self._leader = None
            process.generation.leads = False
            for site in self.sites:
                site.end()

    @property
    def others_wait(self) -> bool:
        """Whether another process would take over soon."""
        return sum(each.generation.alive and not each.generation.still for each in self._processes) > 1


class Process:
    """One of the processes, from its start to its death."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._ended = asyncio.Event()
        self.stop_asked = asyncio.Event()
        self.generation = generation = replicas.new_generation(self._ended.set)
        generation.leads = False
        generation.held_provider = lambda port: HeldProvider(port, self._may_act, generation)
        generation.held_scheduler = self._held_scheduler
        generation.fence = self._fence
        generation.stands_still = self._stand_still
        generation.clock = HeldClock(replicas.clock, generation)
        self._runner = SimulatedRunner(generation, replicas.disk, replicas.clock)
        lease_runner = SimulatedRunner(generation, replicas.disk, replicas.clock, deadline=LEASE_DEADLINE)
        self._candidate = Candidate(
            LeasePort(replicas.leases, generation, replicas.disk),
            lease_runner,
            generation.clock,
            Claim(f"replica {generation.number}"),
        )
        self._running: asyncio.Task[None] | None = None
        self._stops: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to wait for the lease."""
        turns = Turns(self._candidate, self, self._runner, self.generation.clock)
        context = copy_context()
        context.run(current.set, self.generation)
        self.generation.main = asyncio.get_running_loop().create_task(turns.take(), context=context)
        self._plan_ends()

    async def until_end(self) -> None:
        """Return when it has died or was stopped."""
        stopping = asyncio.create_task(self.stop_asked.wait())
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
        if not self._ended.is_set():
            # A signal is heard when the process goes on.
            await self.generation.going_on()
            await self._stop(ended)
        stopping.cancel()
        ended.cancel()
        self.end()

    def end(self) -> None:
        """Cut it off from the world."""
        self.generation.end()
        if self._running is not None:
            self._running.cancel()

    # What its turns begin and end: see `slotsmith.replicas.turns.Pools`

    def begin(self) -> None:
        lease = self._candidate.lease
        self._replicas.log.tell(
            "world leads", generation=self.generation.number, fence=0 if lease is None else lease.fence
        )
        self._replicas.leads(self)
        self._replicas.take_up(self.generation, self._runner)
        provisioners = [site.provisioner for site in self._replicas.sites]
        self._stops = [provisioner.stop for provisioner in provisioners]
        self._running = asyncio.create_task(self._run([provisioner.run for provisioner in provisioners]))

    async def rest(self) -> None:
        for stop in self._stops:
            stop()
        if self._running is not None:
            await asyncio.wait([self._running])
        self._replicas.leads_no_more(self)

    async def _run(self, runs: Sequence[Callable[[], object]]) -> None:
        try:
            await asyncio.gather(*(run() for run in runs))  # type: ignore[call-overload]
        except Exception as error:  # noqa: BLE001 - whatever it is, the program has failed
            if self.generation.alive:
                text = f"the program has failed: {type(error).__name__}: {error}"
                self._replicas.sites[0].watch.violated("crash", text)
                self._ended.set()

    async def _stop(self, ended: asyncio.Task[bool]) -> None:
        if self.generation.leads:
            for site in self._replicas.sites:
                site.watch.told_to_stop = True
        stopping = asyncio.create_task(self._stop_in_order())
        done, _ = await asyncio.wait((stopping, ended), timeout=LONGEST_STOP, return_when=asyncio.FIRST_COMPLETED)
        if not done and not self.generation.still:
            self._replicas.sites[0].watch.violated("I8", f"a stop takes longer than {LONGEST_STOP} s")
        stopping.cancel()

    async def _stop_in_order(self) -> None:
        """The pools end, then the lease is given up."""
        await self.rest()
        assert self.generation.main is not None
        self.generation.main.cancel()
        await asyncio.wait([self.generation.main])
        await self._candidate.resign()

    # What the generation asks, and what happens to it

    def _held_scheduler(self, port: Scheduler) -> Scheduler:
        held = HeldPushScheduler if isinstance(port, TakesViews) else HeldScheduler
        return held(port, self._may_act, self.generation)

    def _may_act(self) -> bool:
        return self._candidate.may_act()

    def _fence(self) -> None:
        self._replicas.leases.guard(self._candidate.lease)

    def _stand_still(self, fault: str) -> bool:
        """Whether it does from now on."""
        generation, replicas = self.generation, self._replicas
        if not generation.leads or generation.still or replicas.calm or not replicas.others_wait:
            return False
        replicas.log.tell(FAULT + fault, generation=generation.number)
        generation.stand_still()
        replicas.leads_no_more(self)
        return True

    def go_on(self) -> None:
        """What was to be done is done now, by a process that believes that it leads."""
        if self.generation.alive and self.generation.still:
            self._replicas.log.tell("world goes on", generation=self.generation.number)
            self.generation.go_on()

    def _plan_ends(self) -> None:
        faults, random, loop = self.generation.faults, self._replicas.random, asyncio.get_running_loop()
        acts: tuple[tuple[float, Callable[[], object]], ...] = (
            (faults.mean_life, lambda: self.generation.die("crash_any")),
            (faults.mean_stop, self._ask_to_stop),
            (faults.mean_still, lambda: self._stand_still("still")),
        )
        for mean, act in acts:
            if mean:
                loop.call_later(round(random.expovariate(1 / mean), 3), act)

    def _ask_to_stop(self) -> None:
        if self.generation.alive and not self._replicas.calm:
            self._replicas.log.tell(FAULT_STOP, generation=self.generation.number)
            self.stop_asked.set()
