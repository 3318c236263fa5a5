"""A world: one program with its pools, their clouds and schedulers, in virtual time, from a scenario."""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Final

from slotsmith.clock import Random
from slotsmith.providers.base import ProviderError
from slotsmith.providers.simulated import Machine
from slotsmith.schedulers.simulated import JobState
from slotsmith.simulation.events import EventLog, Violation
from slotsmith.simulation.generation import FAULT_STOP, LONGEST_STOP, NO_CRASHES, CrashFaults, Generation, current
from slotsmith.simulation.invariants_books import check_books
from slotsmith.simulation.liveness import Liveness
from slotsmith.simulation.logs import captured_logs
from slotsmith.simulation.loop import EPOCH, VirtualClock, run_virtually
from slotsmith.simulation.replicas import Replicas
from slotsmith.simulation.scenario import Scenario
from slotsmith.simulation.site import Site, second_site
from slotsmith.simulation.storage import Disk, SimulatedRunner, StorePort, fresh_store
from slotsmith.store.base import Changes, StoreError

MAIN: Final = "main"
"""The name of the pool that a scenario is about."""
_TICK: Final = 30.0
_SLOW_TICK: Final = 600.0


def collect_rarely() -> None:
    """For a process that does nothing but run worlds: let the garbage collector look less often, and at less.

    What is imported by now stays for as long as the process does, and a world keeps most of what it makes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario.

    `digest` is that of all `events`; `timeline` has them as lines, when it was kept. `coverage` counts the faults that
    fired and the moves of instances and intents. `ended_at` is in seconds since the start. `machines`, `jobs` and
    `calls` are the main pool's, for whoever measures.
    """

    seed: int
    digest: str
    events: int
    violations: tuple[Violation, ...]
    coverage: Counter[str]
    ended_at: float
    generations: int
    decisions: int
    timeline: tuple[str, ...] = ()
    machines: tuple[Machine, ...] = ()
    jobs: tuple[JobState, ...] = ()
    calls: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    met_after: float | None = None
    fallen_after: float | None = None


def run_scenario(
    scenario: Scenario,
    *,
    timeline: bool = False,
    until_violation: bool = True,
    most_events: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run a scenario to its end.

    With `until_violation` it ends at the first broken promise, and with `most_events` after so many events.
    `progress` is told how much of the work has come, from 0 to 1.
    """

    async def main(clock: VirtualClock) -> Outcome:
        log = EventLog(clock, keep=timeline)
        with captured_logs(log if timeline else None):
            world = World(scenario, clock, log, until_violation=until_violation, most_events=most_events)
            world.progress = progress
            return await world.run()

    return run_virtually(main)


class World:
    """Everything there is in one run."""

    def __init__(
        self,
        scenario: Scenario,
        clock: VirtualClock,
        log: EventLog,
        *,
        until_violation: bool = True,
        most_events: int | None = None,
    ) -> None:
        self.progress: Callable[[float], None] | None = None
        self._scenario = scenario
        self._clock = clock
        self._log = log
        self._until_violation = until_violation
        self._most_events = most_events
        self._loop = asyncio.get_running_loop()
        self._store = fresh_store()
        if scenario.learned is not None:
            self._store.commit(Changes(MAIN, clock.now(), foresight=scenario.learned))
        self._disk = Disk(scenario.store_faults, self._random("store"), log)
        self._crash_random = self._random("crash")
        self._crashes: CrashFaults = scenario.crashes
        self._policy = scenario.policy
        self._over = asyncio.Event()
        self._calm = False
        self._generation: Generation | None = None
        self._generations = 0
        self._ended = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._to_adopt = False
        self._liveness: list[Liveness] = []
        wanted_until = math.inf if scenario.wanted_until is None else scenario.wanted_until
        self._to_replay = sum(job.submit_s < wanted_until for job in scenario.jobs)
        self._main = Site(MAIN, scenario, clock, log, self._random("cloud"))
        self._sites = [self._main]
        if scenario.second_pool:
            self._sites.append(second_site(scenario, clock, log, self._random("second")))
        self._watches = {site.pool: site.watch for site in self._sites}
        self._replicas: Replicas | None = None
        if scenario.replicas:
            self._replicas = Replicas(
                self._sites,
                clock=clock,
                log=log,
                random=self._random("replicas"),
                disk=self._disk,
                new_generation=self._new_generation,
                take_up=self._take_up,
                pause=self._pause,
            )
        self._disk.watches = self._watches
        for site in self._sites:
            if scenario.watched:
                site.subscribe(self._random(f"shuffle {site.pool}"), lambda: self._disk.troubled_at)
        log.listeners.append(self._heard)

    def _random(self, what: str) -> Random:
        # A stream of its own for each part: what one of them draws changes nothing for the others.
        return Random(f"{self._scenario.seed}/{what}")

    async def run(self) -> Outcome:
        """From the first start to the end."""
        scenario = self._scenario
        for site in self._sites:
            site.scheduler.replay(site.jobs)
        for at in scenario.strays:
            self._loop.call_later(at, self._add_stray)
        for at, policy in scenario.policies:
            self._loop.call_later(at, self._change_policy, policy)
        self._loop.call_later(scenario.faulty_until, self._stop_faults)
        if scenario.ends_at is not None:
            self._loop.call_later(scenario.ends_at, self._over.set)
        self._loop.call_later(self._tick_period, self._tick)
        keeper = asyncio.create_task(self._replicas.run() if self._replicas else self._keep_running())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait((keeper, over), return_when=asyncio.FIRST_COMPLETED)
        if keeper.done():
            keeper.result()
        return await self._finish(keeper)

    async def _finish(self, keeper: asyncio.Task[None]) -> Outcome:
        for site in self._sites:
            await site.flush()
        keeper.cancel()
        if not self._violations and self._scenario.watched:
            for site in self._sites:
                check_books(site.watch, written_within=site.written_within)
        outcome = self._outcome()
        if self._generation is not None:
            self._generation.end()
        if self._replicas is not None:
            self._replicas.end()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        _, left = await asyncio.wait(others, timeout=1000.0) if others else ((), ())
        if left:
            stuck = Violation("I8", outcome.ended_at, outcome.events, f"{len(left)} tasks do not end when cancelled")
            return replace(outcome, violations=(*outcome.violations, stuck))
        return outcome

    # The life of the program

    async def _keep_running(self) -> None:
        """Start it, wait until it dies or is to stop, and start it again."""
        while True:
            generation = self._begin()
            stopping = asyncio.create_task(self._stop_asked.wait())
            ended = asyncio.create_task(self._ended.wait())
            await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
            if not self._ended.is_set():
                await self._stop(generation)
            stopping.cancel()
            ended.cancel()
            self._stop_asked.clear()
            generation.end()
            for site in self._sites:
                site.end()
            await self._clock.sleep(self._pause())

    def _pause(self) -> float:
        longest = 5.0 if self._calm else self._scenario.crashes.longest_pause
        share = self._crash_random.random()
        # Mostly short, sometimes long.
        return round(0.1 + longest * share * share * share, 3)

    def _begin(self) -> Generation:
        self._ended.clear()
        generation = self._generation = self._new_generation(self._died)
        self._take_up(generation, SimulatedRunner(generation, self._disk, self._clock))
        context = copy_context()
        context.run(current.set, generation)
        generation.main = self._loop.create_task(self._live(generation), context=context)
        self._plan_ends(generation)
        return generation

    def _new_generation(self, on_death: Callable[[], None]) -> Generation:
        self._generations += 1
        number = self._generations
        faults = NO_CRASHES if number > self._crashes.most else self._crashes
        self._log.tell("world start", generation=number, maximum=self._policy.max_instances)
        return Generation(number, faults, self._crash_random, self._log, self._clock, on_death)

    def _take_up(self, generation: Generation, runner: SimulatedRunner) -> None:
        """It runs the pools from now on."""
        store = StorePort(self._store, generation, self._disk, self._watches)
        for site in self._sites:
            site.begin(generation, store, runner, self._policy, self._random(f"jitter {generation.number} {site.pool}"))

    def _plan_ends(self, generation: Generation) -> None:
        faults = generation.faults
        for mean, act in ((faults.mean_life, self._kill), (faults.mean_stop, self._ask_to_stop)):
            if mean:
                wait = round(self._crash_random.expovariate(1 / mean), 3)
                self._loop.call_later(wait, act, generation)

    def _kill(self, generation: Generation) -> None:
        generation.die("crash_any")

    def _ask_to_stop(self, generation: Generation) -> None:
        if generation.alive and not self._calm:
            self._log.tell(FAULT_STOP, generation=generation.number)
            self._stop_asked.set()

    def _died(self) -> None:
        self._ended.set()

    async def _live(self, generation: Generation) -> None:
        """What the process does; a fault of its own that ends it is a broken promise."""
        try:
            if self._to_adopt:
                self._to_adopt = not await self._adopt()
            await asyncio.gather(*(site.provisioner.run() for site in self._sites))
        except Exception as error:  # noqa: BLE001 - whatever it is, the program has failed
            if generation.alive:
                self._main.watch.violated("crash", f"the program has failed: {type(error).__name__}: {error}")
                self._log.note(_trace(error))
                self._ended.set()

    async def _adopt(self) -> bool:
        """What `slotsmith adopt` does, before the pool goes on."""
        provisioner = self._main.provisioner
        try:
            await provisioner.setup()
            count = await provisioner.adopt()
        except (ProviderError, StoreError):
            self._stop_asked.set()
            return False
        self._log.tell("world adopted", count=count)
        return True

    async def _stop(self, generation: Generation) -> None:
        for site in self._sites:
            site.watch.told_to_stop = True
            site.provisioner.stop()
        assert generation.main is not None
        done, _ = await asyncio.wait(
            (generation.main, asyncio.ensure_future(self._ended.wait())),
            timeout=LONGEST_STOP,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done:
            self._main.watch.violated("I8", f"a stop takes longer than {LONGEST_STOP} s")

    # What happens in the world

    def _add_stray(self) -> None:
        machine = self._main.cloud.add_stray()
        self._log.tell("world stray", id=machine.id)

    def _change_policy(self, policy: object) -> None:
        """The program is stopped, its file is changed, and it is started again."""
        self._policy = policy  # type: ignore[assignment]
        self._log.tell("world policy", maximum=self._policy.max_instances, minimum=self._policy.min_instances)
        if self._generation is not None and self._generation.alive:
            self._stop_asked.set()
        if self._replicas is not None:
            self._replicas.restart()

    def _stop_faults(self) -> None:
        """The second phase begins."""
        self._log.tell("world calm")
        self._calm = True
        self._crashes = NO_CRASHES
        self._disk.stop_faults()
        if self._generation is not None:
            self._generation.stop_faults()
        if self._replicas is not None:
            self._replicas.stop_faults()
        for site in self._sites:
            site.stop_faults()
            self._liveness.append(site.liveness(self._policy))
        if self._scenario.adopt and self._scenario.strays and not self._main.watch.ledger.owns:
            self._to_adopt = True
            self._stop_asked.set()

    def _heard(self, what: str, _fields: object) -> None:
        if what == "world violation" and self._until_violation:
            self._over.set()
        if self._most_events is not None and self._log.count >= self._most_events:
            self._over.set()

    @property
    def _tick_period(self) -> float:
        return _TICK if self._scenario.summaries else _SLOW_TICK

    def _tick(self) -> None:
        for site in self._sites:
            site.watch.tick()
        for each in self._liveness:
            each.on_tick()
        scenario = self._scenario
        if scenario.ends_at is None and self._liveness and all(each.done for each in self._liveness):
            self._over.set()
        if scenario.wanted_until is not None and self._main.has_started_all_until(scenario.wanted_until):
            self._over.set()
        if self.progress is not None and self._to_replay:
            self.progress(min(1.0, len(self._main.scheduler.jobs) / self._to_replay))
        self._loop.call_later(self._tick_period, self._tick)

    # The end

    @property
    def _violations(self) -> tuple[Violation, ...]:
        found = [violation for site in self._sites for violation in site.watch.violations]
        return tuple(sorted(found, key=lambda violation: violation.event))

    def _outcome(self) -> Outcome:
        main, liveness = self._main, self._liveness[0] if self._liveness else None
        coverage = self._log.coverage + main.watch.coverage
        calm_at = self._scenario.faulty_until
        return Outcome(
            seed=self._scenario.seed,
            digest=self._log.digest,
            events=self._log.count,
            violations=self._violations,
            coverage=coverage,
            ended_at=self._clock.now() - EPOCH,
            generations=self._generations,
            decisions=sum(site.watch.decisions for site in self._sites),
            timeline=tuple(self._log.timeline),
            machines=tuple(main.cloud.machines.values()),
            jobs=tuple(main.scheduler.jobs),
            calls=Counter(main.cloud.calls),
            killed=main.scheduler.killed,
            met_after=None if liveness is None or liveness.met_at is None else liveness.met_at - calm_at,
            fallen_after=None if liveness is None or liveness.fallen_at is None else liveness.fallen_at - calm_at,
        )


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
