"""One pool's place in a world: its cloud, its scheduler, and what holds them for the generation of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from slotsmith.clock import Clock, Random
from slotsmith.core.rules import RULES, Decide, Rules
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import ProviderContext
from slotsmith.providers.simulated import Cloud, Machine, SimulatedProvider, SimulatedSettings, SimulatedType
from slotsmith.provisioner import Provisioner
from slotsmith.provisioner.recorder import Bookkeeping
from slotsmith.schedulers.simulated import Job, SimulatedScheduler
from slotsmith.simulation.events import EventLog, Field
from slotsmith.simulation.generation import Crashed, Generation
from slotsmith.simulation.invariants_choices import ChoiceChecks
from slotsmith.simulation.invariants_decisions import AlikeChecks, PromptChecks, ReasonChecks, SecretChecks
from slotsmith.simulation.invariants_fleet import KeepingChecks, MemoryChecks, MercyChecks, PatienceChecks
from slotsmith.simulation.invariants_launch import DemandedChecks, LaunchChecks
from slotsmith.simulation.invariants_moves import MoveChecks
from slotsmith.simulation.invariants_overdue import OverdueChecks
from slotsmith.simulation.invariants_serving import AskedChecks, BrakeChecks, LaunchErrorChecks, ServedChecks
from slotsmith.simulation.liveness import Liveness
from slotsmith.simulation.measure import can_run
from slotsmith.simulation.ports import ProviderPort, PushedSchedulerPort, SchedulerPort, SearcherPort
from slotsmith.simulation.scenario import Delivery, Scenario
from slotsmith.simulation.storage import SimulatedRunner, StorePort
from slotsmith.simulation.watch import Watch
from slotsmith.store.base import StoreError

SECOND: Final = "second"
"""The name of the other pool."""
# As in earnest, with fewer signs of life: those would be most of what happens in a quiet hour.
_FULL: Final = Bookkeeping(summary_period=5.0, sign_of_life=300.0)
_LEAN: Final = Bookkeeping(summary_period=3600.0, sign_of_life=3600.0, record_views=False, write_period=600.0)
# Of how many decisions one is made again from a view that was put together in another way.
_DECIDED_AGAIN: Final = 15
_DECIDED_AGAIN_IN_A_TRACE: Final = 200


class Site:
    """A pool with its truth; `provisioner` is that of the present generation."""

    def __init__(
        self, pool: str, scenario: Scenario, clock: Clock, log: EventLog, random: Random, *, prefix: str = "i"
    ) -> None:
        self.pool = pool
        self.jobs = scenario.jobs
        self.provisioner: Provisioner
        self._scenario = scenario
        self._clock = clock
        self._log = log
        self._generation: Generation | None = None
        self._rules = RULES[scenario.rules]
        self.cloud = Cloud(
            scenario.provider,
            clock=clock,
            random=random,
            faults=scenario.cloud_faults,
            tell=self._tell,
            prefix=prefix,
        )
        self.cloud.on_agent = self._agent
        self.cloud.on_change = self._listing_changed
        self._pushes = scenario.delivery is Delivery.PUSH
        self.scheduler = SimulatedScheduler(
            clock,
            seed=scenario.scheduler_seed,
            random=Random(f"{scenario.seed}/{pool} scheduler"),
            faults=scenario.scheduler_faults,
            movable=scenario.movable,
            tell=self._tell,
            on_view=self._push if self._pushes else None,
            wake=self._view_changed,
        )
        self.watch = Watch(pool, self.cloud, self.scheduler, scenario.provider, log)
        self.watch.clock_now = clock.now

    def subscribe(self, random: Random, store_troubled_at: Callable[[], float]) -> None:
        """Check the promises."""
        watch = self.watch
        keeping = KeepingChecks(watch, written_within=self.written_within, sign_of_life=_FULL.sign_of_life)
        checks: list[object] = [LaunchChecks(watch), BrakeChecks(watch), LaunchErrorChecks(watch)]
        checks += [keeping, MercyChecks(watch), MemoryChecks(watch)]
        if self._scenario.summaries:
            # With lean bookkeeping an answer may be told long before it is on record.
            checks += [AskedChecks(watch), SecretChecks(watch)]
        again = _DECIDED_AGAIN if self._scenario.summaries else _DECIDED_AGAIN_IN_A_TRACE
        if self._rules.name == "slotsmith":
            checks += [
                DemandedChecks(watch),
                PatienceChecks(watch),
                ServedChecks(watch),
                ChoiceChecks(watch),
                MoveChecks(watch),
                AlikeChecks(watch, self._rules, random, every=again),
                ReasonChecks(watch, [each.capacity for each in self._scenario.provider.offerings]),
                PromptChecks(watch, "I12" if self.pool == SECOND else "I8", self._rules.tick, store_troubled_at),
            ]
            # With lean bookkeeping, what has been done may be on record only later.
            checks += [OverdueChecks(watch)] if self._scenario.summaries else []
        for check in checks:
            watch.subscribe(check)

    @property
    def written_within(self) -> float:
        """Seconds for which what has happened may wait to be written."""
        return 0.0 if self._scenario.summaries else _LEAN.write_period

    async def flush(self) -> None:
        """Let the program write what it has kept back."""
        if self.written_within and self.watch.up:
            # It may die at this, as at any write, or be refused.
            with suppress(StoreError, Crashed):
                await self.provisioner.flush()

    def _tell(self, what: str, /, **fields: Field) -> None:
        if self.pool == SECOND:
            fields["pool"] = SECOND
        self._log.tell(what, **fields)
        self.watch.event(what, fields)

    # The generations

    def begin(
        self, generation: Generation, store: StorePort, runner: SimulatedRunner, policy: Policy, random: Random
    ) -> None:
        """A new program takes the pool up."""
        if self.pool == SECOND:
            policy = self._scenario.policy
        self._generation = generation
        self.watch.start(policy)
        context = ProviderContext("simulated", self.pool, Path("/nonexistent"), self._clock, lambda: None)
        provider = SimulatedProvider(self._scenario.provider, context, self.cloud)
        port = PushedSchedulerPort if self._pushes else SchedulerPort
        scheduler = port(self.scheduler, generation, self.watch, self._clock, latency=self._scenario.provider.latency)
        self.provisioner = Provisioner(
            self.pool,
            policy,
            provider=generation.held_provider(ProviderPort(provider, generation, self.watch, self._clock)),
            scheduler=generation.held_scheduler(scheduler),
            store=store,
            run_store=runner,
            clock=generation.clock,
            random=random,
            new_id=lambda: f"{self.pool}-{generation.number}-{next(generation.tokens)}",
            telemetry=lambda _: None,
            rules=self._watched_rules(generation),
            bookkeeping=_FULL if self._scenario.summaries else _LEAN,
            searcher=SearcherPort(
                generation, Random(f"{self._scenario.seed}/{self.pool}/{generation.number} searches")
            ),
        )
        if self._pushes:
            # Whoever pushes finds out after a moment that there is somebody new.
            delay = round(random.uniform(0.0, 2.0), 3)
            asyncio.get_running_loop().call_later(delay, self._push_again, generation)

    def _watched_rules(self, generation: Generation) -> Rules:
        def watched(decide: Decide, view: View, policy: Policy, now: float) -> Decision:
            decision = decide(view, policy, now)
            if not generation.leads:
                # It does not know yet that another one leads; nothing of this is written.
                return decision
            if policy.foresight is not None:
                # What it asks for is in force from now on.
                self.watch.policy = policy
            self.watch.decided(view, policy, decision)
            return decision

        rules = self._rules
        search = None if rules.search is None else partial(watched, rules.search)
        return replace(rules, decide=partial(watched, rules.decide), search=search)

    def end(self) -> None:
        """The program is gone."""
        self.watch.death()

    def stop_faults(self) -> None:
        """From now on cloud and scheduler work."""
        self.cloud.stop_faults()
        self.scheduler.stop_faults()

    def has_started_all_until(self, at: float) -> bool:
        """Whether that time has come, and every job from before it that can ever run has started."""
        if self._log.elapsed < at:
            return False
        capacity, most = self._scenario.provider.largest.capacity, self._scenario.highest_maximum
        waiting = self.scheduler.pending.values()
        return not any(state.job.submit_s < at and can_run(state.job, capacity, most) for state in waiting)

    def liveness(self, policy: Policy) -> Liveness:
        """The second phase begins."""
        policy = self._scenario.policy if self.pool == SECOND else policy
        settles = self._scenario.scheduler_faults.settles
        return Liveness(self.watch, policy, self.jobs, settles, begins_at=self._log.elapsed)

    # What it is told of

    @property
    def _alive(self) -> bool:
        return self._generation is not None and self._generation.alive and self._generation.leads

    def _agent(self, machine: Machine, connected: bool) -> None:
        if connected:
            self.scheduler.agent_joined(machine.agent_name, machine.offering.capacity)
        else:
            self.scheduler.agent_left(machine.agent_name)

    def _listing_changed(self) -> None:
        if self._alive:
            self.provisioner.provider_changed()

    def _view_changed(self) -> None:
        if self._alive:
            self.provisioner.scheduler_changed()

    def _push(self, info: ScalingInfo) -> None:
        if self._alive:
            self.watch.viewed(info)
            self.provisioner.update_scaling_info(info)

    def _push_again(self, generation: Generation) -> None:
        if self._alive and generation is self._generation and not self.scheduler.down:
            self._push(self.scheduler.view())


def second_site(scenario: Scenario, clock: Clock, log: EventLog, random: Random) -> Site:
    """A small pool without faults, whose tasks come every now and then."""
    settings = SimulatedSettings.model_validate(
        {
            "type": "simulated",
            "instance_types": (SimulatedType(name="small", slots=1),),
            "boot_time": "20s",
            "join_time": "2s",
            "poll_period": "30s",
        }
    )
    period = max(600.0, scenario.faulty_until / 8)
    jobs = tuple(Job(f"second-{n}", round(100.0 + n * period, 3), 60.0, Resources(1)) for n in range(8))
    calm = Scenario(
        seed=scenario.seed,
        policy=replace(
            scenario.policy,
            min_instances=0,
            max_instances=2,
            max_idle_agent_period=120.0,
            max_slots=None,
            max_dollars_per_hour=None,
            headroom_slots=0,
            foresight=None,
        ),
        provider=settings,
        jobs=jobs,
    )
    return Site(SECOND, calm, clock, log, random, prefix="second")
