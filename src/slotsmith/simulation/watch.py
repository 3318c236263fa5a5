"""What is known of one pool from outside: the truth about it, what the program was told, and what it wrote.

A watch sees every call through the ports and every commit. The checks (`invariants_*`) subscribe to it; each is told
of what concerns it by the methods that it has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from slotsmith.core.fleet import changed_positions
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.policy import Policy
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult
from slotsmith.providers.simulated import Cloud, Machine, SimulatedSettings
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.schedulers.simulated import SimulatedScheduler
from slotsmith.simulation.events import EventLog, Field, Violation
from slotsmith.simulation.ledger import Ledger
from slotsmith.store.base import Changes, PoolBooks

HOOKS: Final = (
    "on_listing",
    "on_view",
    "on_decision",
    "on_launch_call",
    "on_launch_answer",
    "on_launch_error",
    "on_terminate_call",
    "on_commit",
    "on_committed",
    "on_load",
    "on_start",
    "on_death",
    "on_event",
    "on_tick",
)
"""What a check can be told of, by the name of its method."""

DEADLINES: Final[Mapping[str, float]] = MappingProxyType(
    {"setup": 60.0, "list": 60.0, "launch": 120.0, "terminate": 60.0, "view": 30.0, "drain": 60.0, "cancel_drain": 60.0}
)
"""Seconds for which each call may last, as promised."""

_UP: Final = (InstanceState.STARTING, InstanceState.RUNNING)

SOON: Final = 5.0
"""Seconds for which a call may last without being trouble."""

STORE_SETTLES: Final = 60.0
"""Seconds after trouble with the store within which all that could not be written is written."""

MOST_IN_A_SECOND: Final = 120
"""Decisions, or calls of one kind, within a second: beyond that they feed on themselves."""


class Watch:
    """One pool, seen from outside. Times are epoch seconds, as the program's own.

    `agents` are those of the last view that this generation has heard, `listing` is what it was listed last. By agent:
    `idle_broken_at` is when a view last told that it was busy, at work since the view before, or not there;
    `first_heard` when a view first had it (`unknown`: those heard of that are not on record); `last_there` when one
    first lacked it again, and `there_from` since when views had had it until then; `released` when the scheduler gave
    it up (`held_at`: when it last did not), and `forgotten` those of them that it no longer knows of. `alive` are the
    machines that exist.
    `first_told`: when a listing first had the instance; `not_before`: when the last one began that lacked it;
    `told_down`: when one last had it in a state in which it is not at work.
    `listings` are the times at which listings began, `delivered` those at which they came, and `told_to` the
    generations that heard them; `starts`: when each generation began, `died_at` when it ended. `troubled_at`: when
    something last kept the program from doing its work. `blind`: the scheduler has said nothing yet, or cannot be
    heard now; `sighted_at`: when that was last over.
    """

    def __init__(
        self, pool: str, cloud: Cloud, scheduler: SimulatedScheduler, settings: SimulatedSettings, log: EventLog
    ) -> None:
        self.pool = pool
        self.cloud = cloud
        self.scheduler = scheduler
        self.settings = settings
        self.log = log
        self.ledger = Ledger()
        self.policy = Policy()
        self.up = False
        self.told_to_stop = False
        self.started_at = -math.inf
        self.starts: list[float] = []
        self.died_at: dict[int, float] = {}
        self.troubled_at = -math.inf
        self.listing: Sequence[Instance] = ()
        self.listings: list[float] = []
        self.delivered: list[float] = []
        self.told_to: list[int] = []
        self.generation = 0
        self.info: ScalingInfo | None = None
        self.blind = True
        self.sighted_at = -math.inf
        self.agents: dict[str, Agent] = {}
        self.idle_broken_at: dict[str, float] = {}
        self._changed: dict[str, float] = {}
        self._activities: dict[str, int] = {}
        self._decided_at = -math.inf
        self._there_since: dict[str, float] = {}
        self.last_there: dict[str, float] = {}
        self.there_from: dict[str, float] = {}
        self.first_heard: dict[str, float] = {}
        self.unknown: set[str] = set()
        self.first_told: dict[str, float] = {}
        self.not_before: dict[str, float] = {}
        self.told_down: dict[str, float] = {}
        self.released: dict[str, float] = {}
        self.forgotten: set[str] = set()
        self.held_at: dict[str, float] = {}
        self.alive: dict[str, Machine] = {}
        self.violations: list[Violation] = []
        self.coverage: Counter[str] = Counter()
        self.clock_now: Callable[[], float] = lambda: 0.0
        self.decisions = 0
        self.store_troubles: list[tuple[float, float]] = []
        self.open_calls: dict[int, tuple[str, float]] = {}
        self._calls = 0
        self._list_fails = False
        self._second = -math.inf
        self._in_second: Counter[str] = Counter()
        self._hooks: dict[str, list[Callable[..., None]]] = {name: [] for name in HOOKS}

    def subscribe(self, check: object) -> None:
        """Let a check hear what it has methods for."""
        for name, hooks in self._hooks.items():
            method = getattr(check, name, None)
            if method is not None:
                hooks.append(method)

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.clock_now()

    def calm_for(self, since: float) -> float:
        """For how long nothing has kept the program from its work, as far as that is after `since`."""
        if not self.up or self._list_fails or any(began < self.now - SOON for _, began in self.open_calls.values()):
            return 0.0
        return self.now - max(since, self.troubled_at, self.started_at)

    def violated(self, promise: str, text: str) -> None:
        """A promise is broken, now."""
        self.violations.append(Violation(promise, round(self.log.elapsed, 3), self.log.count, f"{self.pool}: {text}"))
        self.log.tell("world violation", promise=promise, text=text)

    def troubled(self, seconds: float = 0.0) -> None:
        """Something keeps the program from its work, until now or for so many seconds more."""
        self.troubled_at = max(self.troubled_at, self.now + seconds)

    def store_troubled(self, seconds: float) -> None:
        """The store fails, or hangs for so many seconds."""
        self.troubled(seconds)
        self.store_troubles.append((self.now, self.now + seconds))

    @property
    def store_is_settled(self) -> bool:
        """Whether trouble with the store is so long ago that all that could not be written then is on record."""
        return not self.store_troubles or self.now >= self.store_troubles[-1][1] + STORE_SETTLES

    def call_began(self, point: str) -> int:
        """A call has left; the number that it ends with."""
        self._calls += 1
        self.open_calls[self._calls] = (point, self.now)
        return self._calls

    def call_ended(self, number: int, *, failed: bool) -> None:
        """A call has ended, however it did."""
        point, began = self.open_calls.pop(number)
        lasted = self.now - began
        is_set_up = bool(self.told_to) and self.told_to[-1] == self.generation
        # After a failure the program waits before it asks again: the trouble lasts until it has been answered.
        recovered = False
        if point == "list" or (point == "setup" and not is_set_up):
            # There is no listing before the provider is ready.
            recovered = self._list_fails and not failed
            self._list_fails = failed
        if failed or recovered or lasted > SOON:
            self.troubled()
        if self.up and lasted > DEADLINES[point] + 1.0:
            self.violated("I8", f"a {point} call lasted {lasted:.1f} s, its deadline is {DEADLINES[point]:g} s")

    # The life of the program

    def start(self, policy: Policy) -> None:
        """A generation begins with nothing but what is on record."""
        self.policy, self.up, self.started_at = policy, True, self.now
        self.told_to_stop = False
        self.generation += 1
        self.starts.append(self.now)
        self.info, self.listing, self.agents = None, (), {}
        self._there_since.clear()
        self._decided_at = -math.inf
        self.blind = True
        for name, at in self._changed.items():
            # A program that died before it decided has heard of it all the same.
            self.idle_broken_at.setdefault(name, at)
        self._changed.clear()
        self._activities.clear()
        for record in self.ledger.present.values():
            # What a dead program had heard and not written, nobody knows.
            name = record.instance.agent_name
            if record.idle_since is not None:
                self.idle_broken_at[name] = min(self.idle_broken_at.get(name, math.inf), record.idle_since)
            if record.missing_since is not None:
                self.last_there[name] = min(self.last_there.get(name, math.inf), record.missing_since)
        self.ledger.unmet = ()
        self._tell("on_start")

    def death(self) -> None:
        """A generation has ended."""
        self.up = self._list_fails = False
        self.died_at[self.generation] = self.now
        self.open_calls.clear()
        self.troubled()
        self._tell("on_death")

    # What it was told

    def listed(self, listing: Sequence[Instance], began: float) -> None:
        """A listing was answered."""
        if listing is not self.listing:
            for instance in listing:
                if instance.id not in self.first_told:
                    self.first_told[instance.id] = self.now
                    self.not_before[instance.id] = self.listings[-1] if self.listings else -math.inf
                if instance.state not in (*_UP, InstanceState.UNKNOWN):
                    self.told_down[instance.id] = self.now
        self.listings.append(began)
        self.delivered.append(self.now)
        self.told_to.append(self.generation)
        self.listing = listing
        self._tell("on_listing", listing, began)

    def viewed(self, info: ScalingInfo) -> None:
        """A view has come."""
        before, self.info = self.info, info
        if self.blind:
            self.blind, self.sighted_at = False, self.now
        changed = None if before is None else changed_positions(before.agents, info.agents)
        if changed is None:
            self._all_heard(info)
        else:
            for position in changed:
                self._heard(info.agents[position])
        self._tell("on_view", info, before)

    def unheard(self) -> None:
        """The scheduler cannot be heard."""
        self.blind = True

    def _all_heard(self, info: ScalingInfo) -> None:
        names = {agent.name for agent in info.agents}
        for name in [name for name in self.agents if name not in names]:
            del self.agents[name]
            since = self._there_since.pop(name)
            if since <= self._decided_at:
                # What came and went between two passes, none of them has taken in.
                self.last_there[name], self.there_from[name] = self.now, since
        for record in self.ledger.present.values():
            if record.instance.agent_name not in names:
                self._changed.setdefault(record.instance.agent_name, self.now)
        for agent in info.agents:
            self._heard(agent)

    def _heard(self, agent: Agent) -> None:
        last = self.agents.get(agent.name)
        if last is agent:
            return
        self._changed.setdefault(agent.name, self.now)
        if agent.name not in self.ledger.records:
            self.unknown.add(agent.name)
        self.first_heard.setdefault(agent.name, self.now)
        self._there_since.setdefault(agent.name, self.now)
        self.agents[agent.name] = agent

    def decided(self, view: View, policy: Policy, decision: Decision) -> None:
        """The rules were asked."""
        self.decisions += 1
        if not self.told_to or self.told_to[-1] != self.generation:
            self.violated("I1", "it decides before the cloud has told what there is")
        is_first, self._decided_at = self._decided_at == -math.inf, self.now
        self.busy_with("decisions")
        for name, at in self._changed.items():
            self._taken_in(name, at, is_first=is_first)
        self._changed.clear()
        self._tell("on_decision", view, policy, decision)

    def _taken_in(self, name: str, changed_at: float, *, is_first: bool) -> None:
        """A pass sees how an agent is, and what it has done since the pass before; before that, its record tells."""
        agent, record = self.agents.get(name), self.ledger.present.get(name)
        if agent is None:
            self._activities.pop(name, None)
            self.idle_broken_at[name] = self.now
            return
        before = self._activities.get(name, None if record is None else record.activity)
        worked = before is not None and before != agent.activity
        # A program that has only just started takes in how things are, not what came before.
        is_new = self.first_heard[name] >= changed_at and not (is_first and name in self.idle_broken_at)
        if not agent.idle or worked or is_new:
            # Before the first listing every view is taken in as it comes.
            self.idle_broken_at[name] = changed_at if is_first else self.now
        self._activities[name] = agent.activity

    def busy_with(self, what: str) -> None:
        """Something was done that must not be done without end at one time."""
        if self.now >= self._second + 1.0:
            self._second = self.now
            self._in_second.clear()
        self._in_second[what] += 1
        if self._in_second[what] == MOST_IN_A_SECOND:
            self.violated("livelock", f"{MOST_IN_A_SECOND} {what} within a second")

    # What it asked for

    def launching(self, request: LaunchRequest) -> None:
        """A launch is about to be sent."""
        self.log.tell("provisioner launch", pool=self.pool, token=request.token, count=request.count)
        self._tell("on_launch_call", request)

    def launched(self, request: LaunchRequest, result: LaunchResult) -> None:
        """A launch was answered."""
        self._tell("on_launch_answer", request, result)

    def launch_failed(self, request: LaunchRequest, error: Exception) -> None:
        """A launch was refused, or its answer is lost."""
        self.troubled()
        self._tell("on_launch_error", request, error)

    def terminating(self, instance_ids: Sequence[str]) -> None:
        """A termination is about to be sent."""
        self.log.tell("provisioner terminate", pool=self.pool, ids=",".join(instance_ids))
        self._tell("on_terminate_call", instance_ids)

    def drained(self, answers: Mapping[str, DrainAnswer]) -> None:
        """The scheduler has answered a drain."""
        for name, answer in answers.items():
            if answer.outcome is DrainOutcome.RELEASED:
                self.released[name] = self.now
                self.forgotten.discard(name)
            else:
                self.released.pop(name, None)
                self.held_at[name] = self.now

    def undrained(self, agents: Sequence[str]) -> None:
        """The scheduler is asked to give these agents work again."""
        for name in agents:
            self.released.pop(name, None)

    # What it wrote

    def loaded(self, books: PoolBooks) -> None:
        """The books were read."""
        self._tell("on_load", books)

    def committed(self, changes: Changes) -> None:
        """This is in the store now."""
        self._count(changes)
        self._show(changes)
        self._tell("on_commit", changes)
        self.ledger.apply(changes)
        if self.unknown:
            self.unknown -= self.ledger.records.keys()
        if self.up:
            self.ledger.heartbeats.append(changes.alive_at)
        self._tell("on_committed", changes)

    def _count(self, changes: Changes) -> None:
        for move in changes.moves:
            before = "new" if move.before is None else move.before.value
            after = "gone" if move.after is None else move.after.value
            self.coverage[f"instance {before} -> {after}"] += 1
        for intent in changes.intents:
            last = self.ledger.intents.get(intent.token)
            if last is not None and last.state is not intent.state:
                self.coverage[f"intent {last.state.value} -> {intent.state.value}"] += 1

    def _show(self, changes: Changes) -> None:
        for intent in changes.intents:
            last = self.ledger.intents.get(intent.token)
            if last is None or last.state is not intent.state:
                self._wrote("intent", token=intent.token, state=intent.state.value, count=intent.count)
        for move in changes.moves:
            after = "gone" if move.after is None else move.after.value
            self._wrote("instance", id=move.instance_id, state=after, note=move.note)
        for record in changes.instances:
            ending, last_record = record.termination, self.ledger.records.get(record.instance.id)
            before = None if last_record is None else last_record.termination
            if ending is not None and (before is None or before.phase is not ending.phase):
                self._wrote("termination", id=record.instance.id, reason=ending.reason.value, phase=ending.phase.value)

    def _wrote(self, what: str, **fields: Field) -> None:
        self.log.tell(f"store {what}", pool=self.pool, **fields)

    def event(self, what: str, fields: dict[str, Field]) -> None:
        """Something happened in this pool's part of the world."""
        if what == "cloud launched":
            machine = self.cloud.machines[str(fields["id"])]
            self.alive[machine.id] = machine
        elif what == "cloud gone":
            self.alive.pop(str(fields["id"]), None)
        elif what == "fault forgets":
            self.forgotten.update(self.released)
        self._tell("on_event", what, fields)

    def tick(self) -> None:
        """Time has passed."""
        for point, began in self.open_calls.values():
            if self.now > began + DEADLINES[point] + 1.0:
                self.violated("I8", f"a {point} call lasts for {self.now - began:.1f} s")
        self._tell("on_tick")

    def _tell(self, hook: str, *args: Any) -> None:
        for call in self._hooks[hook]:
            call(*args)
