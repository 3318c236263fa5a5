"""The promises about launches: I1, I3, and that a refusal is not answered by asking again at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from slotsmith.core.demand import demand
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.policy import Policy
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.providers.simulated import Machine
from slotsmith.simulation.events import Field
from slotsmith.simulation.liveness import most_warm
from slotsmith.simulation.watch import Watch
from slotsmith.store.base import Changes

_SHORTEST: Final[Mapping[ErrorKind, tuple[float, float]]] = MappingProxyType(
    {
        ErrorKind.CAPACITY: (15.0, 900.0),
        ErrorKind.QUOTA: (30.0, 900.0),
        ErrorKind.DENIED: (7.5, 300.0),
        ErrorKind.INVALID: (7.5, 300.0),
        ErrorKind.GONE: (7.5, 300.0),
    }
)
"""Seconds that must pass after a first refusal, doubling with each, and the most that is asked for."""
_SHORTEST_RETRY: Final = 0.5
_CENT: Final = 0.01

_COMING: Final = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Refusals in a row of one offering: how many, the last one's kind and time, and until when it is left alone."""

    count: int
    kind: ErrorKind
    at: float
    until: float


class LaunchChecks:
    """I1 and I3 at every intent, every call and every machine that comes to be."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._limits: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._called_at: dict[str, float] = {}
        self._refusals: dict[str, _Refusals] = {}

    def on_start(self) -> None:
        """What is not on record, a new generation does not know. A higher maximum holds for what is open, too."""
        self._called_at.clear()
        self._refusals.clear()
        most = self._watch.policy.max_instances
        self._limits = {token: max(limit, most) for token, limit in self._limits.items()}

    # The record

    def on_commit(self, changes: Changes) -> None:
        """New intents, and answers."""
        known = self._watch.ledger.intents
        states = {intent.token: intent for intent in changes.intents}
        for intent in changes.intents:
            if intent.token not in known and intent.state is IntentState.OPEN:
                self._limits[intent.token] = self._watch.policy.max_instances
                self._check_room(intent, states)
                self._check_limits(intent, states)
                self._check_pause(intent, changes)
            elif intent.state is IntentState.GRANTED:
                self._check_grant(intent)

    def _check_room(self, intent: LaunchIntent, states: Mapping[str, LaunchIntent]) -> None:
        watch = self._watch
        ours = [m for m in watch.alive.values() if self._counts(m, intent)]
        live = {**watch.ledger.live, **states}.values()
        open_tokens = [i for i in live if i.state is IntentState.OPEN and not watch.cloud.creations.get(i.token)]
        asked = sum(i.count for i in open_tokens)
        most = watch.policy.max_instances
        if len(ours) + asked > most:
            watch.violated(
                "I1",
                f"{len(ours)} exist and {asked} are asked for with {intent.count} more, the maximum is {most}",
            )

    def _check_limits(self, intent: LaunchIntent, states: Mapping[str, LaunchIntent]) -> None:
        """The limits in slots and dollars, for all that exists and is asked for."""
        watch, policy = self._watch, self._watch.policy
        ours = [m.offering for m in watch.alive.values() if self._counts(m, intent)]
        live = {**watch.ledger.live, **states}.values()
        for each in live:
            if each.state is IntentState.OPEN and not watch.cloud.creations.get(each.token):
                ours += [each.offering] * each.count
        dollars, slots = sum(each.price or 0.0 for each in ours), sum(each.capacity.slots for each in ours)
        if policy.max_dollars_per_hour is not None and dollars > policy.max_dollars_per_hour + _CENT:
            watch.violated("I1", f"${dollars:.2f} per hour, the maximum is ${policy.max_dollars_per_hour:.2f}")
        if policy.max_slots is not None and slots > policy.max_slots:
            watch.violated("I1", f"{slots} slots, the maximum is {policy.max_slots}")

    def _counts(self, machine: Machine, intent: LaunchIntent) -> bool:
        """Ours, or somebody else's that had been listed when this was decided."""
        watch = self._watch
        if machine.token in watch.ledger.intents:
            return True
        return watch.first_told.get(machine.id, intent.created_at) < intent.created_at

    def _check_pause(self, intent: LaunchIntent, changes: Changes) -> None:
        offering = intent.offering.name
        failures = self._watch.ledger.launch_failures.get(offering)
        if any(each.state is IntentState.GRANTED and each.offering.name == offering for each in changes.intents):
            return  # it goes on record with this that there is room again
        if failures is not None and intent.created_at < failures.next_attempt_at:
            early = failures.next_attempt_at - intent.created_at
            self._watch.violated("back-off", f"{offering} is tried {early:.1f} s before the time on record")
        refused = self._refusals.get(offering)
        # One that was decided before the refusal came may go on record after it.
        if refused is not None and refused.at < intent.created_at < refused.until - 0.001:
            after = intent.created_at - refused.at
            self._watch.violated(
                "back-off", f"{offering} is tried {after:.1f} s after refusal {refused.count} ({refused.kind.value})"
            )

    def _check_grant(self, intent: LaunchIntent) -> None:
        told = self._answers.get(intent.token)
        if told is not None and intent.granted != told:
            self._watch.violated("I3", f"{told} were granted for {intent.token}, on record are {intent.granted}")

    # The calls

    def on_launch_call(self, request: LaunchRequest) -> None:
        """A call must be for what is open on record, and not follow the last one at once."""
        watch = self._watch
        intent = watch.ledger.intents.get(request.token)
        if intent is None:
            watch.violated("I3", f"launch {request.token} is asked for and not on record")
        elif intent.state is not IntentState.OPEN:
            watch.violated("I3", f"launch {request.token} is asked for and {intent.state.value} on record")
        elif (intent.offering, intent.count) != (request.offering, request.count):
            watch.violated("I3", f"launch {request.token} asks for something else than is on record")
        last = self._called_at.get(request.token)
        if last is not None and watch.now < last + _SHORTEST_RETRY:
            watch.violated("back-off", f"launch {request.token} is asked for again after {watch.now - last:.3f} s")
        self._called_at[request.token] = watch.now

    def on_launch_answer(self, request: LaunchRequest, result: LaunchResult) -> None:
        """A definite answer."""
        self._answers[request.token] = len(result.instance_ids)
        last = self._refusals.pop(request.offering.name, None)
        if result.shortfall is not None:
            # What could not be had now is not asked for again at once, however much could.
            self._refused(request, result.shortfall, 0 if last is None else last.count, pauses=1)

    def on_launch_error(self, request: LaunchRequest, error: Exception) -> None:
        """A refusal, or no answer."""
        if isinstance(error, ProviderError):
            last = self._refusals.get(request.offering.name)
            count = 1 if last is None else last.count + 1
            self._refused(request, error, count, pauses=count)

    def _refused(self, request: LaunchRequest, error: ProviderError, count: int, *, pauses: int) -> None:
        if error.kind in _SHORTEST:
            first, most = _SHORTEST[error.kind]
            until = self._watch.now + min(most, first * 2.0 ** (pauses - 1))
            self._refusals[request.offering.name] = _Refusals(count, error.kind, self._watch.now, until)

    def on_event(self, what: str, fields: dict[str, Field]) -> None:
        """Machines come to be."""
        if what == "cloud launched":
            self._check_creations(str(fields.get("token", "")))

    def _check_creations(self, token: str) -> None:
        watch, intent = self._watch, self._watch.ledger.intents.get(token)
        if intent is None:
            return
        created = [machines for machines in watch.cloud.creations.get(token, ()) if machines]
        if len(created) > 1:
            watch.violated("I3", f"{token} was launched {len(created)} times")
        if sum(map(len, created)) > intent.count:
            watch.violated("I3", f"{sum(map(len, created))} machines exist for {token}, {intent.count} were asked for")
        ours = sum(m.token in watch.ledger.intents for m in watch.alive.values())
        if ours > self._limits.get(token, watch.policy.max_instances):
            watch.violated("I1", f"{ours} machines exist, the maximum is {self._limits[token]}")


_AT_ONCE: Final = 0.2
"""Seconds from a decision to its commit, unless the disk hangs."""


class DemandedChecks:
    """No launch without a need: what is coming already is counted, and while nobody has spoken, only the minimum is."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._decided: tuple[View, Policy, Decision] | None = None
        self._is_old = False

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """Its launches come to be when they are on record."""
        self._decided = (view, policy, decision)
        self._is_old = self._watch.info not in (None, view.info)

    def on_commit(self, changes: Changes) -> None:
        """Every decision that launches."""
        if self._decided is None or changes.decision is not self._decided[2] or not changes.decision.launches:
            return
        view, policy, decision = self._decided
        if self._is_old:
            self._watch.violated("I3", "launches that were searched for go on record, and the scheduler has news")
        if self._watch.now > decision.at + _AT_ONCE:
            return  # what was so then has changed since
        told = {instance.id: instance.state for instance in view.fleet.instances}
        if InstanceState.UNKNOWN in told.values():
            return  # what cannot be read may count or not
        known = self._watch.ledger.intents
        before = {i.token: i for i in changes.intents if i.token in known}
        ending = {record.instance.id for record in changes.instances if record.termination is not None}
        ending |= set(view.fleet.ids(view.fleet.reclaimed))
        coming, there = self._supply(told, policy, ending | {each.id for each in decision.terminations}, before)
        # What takes the place of others is launched without a need, see `invariants_moves`.
        count = sum(launch.count for launch in decision.launches if not launch.replaces)
        for_minimum = policy.min_instances - coming - there
        if count <= for_minimum or not count:
            return
        if self._watch.info is None:
            self._watch.violated("blind", f"{count} are launched, {for_minimum} for the minimum, and nobody has spoken")
            return
        # Of several kinds, what is coming may be of no use to what is pending now.
        counts = 0 if view.others else coming
        if counts + count > self._needed(view, policy):
            self._watch.violated(
                "I3",
                f"{count} are launched and {coming} are coming, all that is pending needs {self._needed(view, policy)}",
            )

    def _needed(self, view: View, policy: Policy) -> int:
        """How many instances the pending tasks would take if there were none, and the headroom."""
        least = max(1, min(each.offering.capacity.slots for each in view.on_offer))
        warm = most_warm(view, policy)
        if not view.info.tasks:
            return warm
        if view.others:
            # No instance is launched that holds nothing of what is pending.
            return warm + sum(
                kind.count * kind.gang * (math.ceil(kind.resources.slots / least) if kind.spans else 1)
                for kind in view.info.tasks
            )
        return (
            warm
            + demand(
                view.info.tasks,
                view.info.groups,
                [],
                view.offering,
                max_instances=policy.max_instances,
                max_zero_slot_tasks=policy.max_zero_slot_tasks_per_agent,
            ).new_instances
        )

    def _supply(
        self,
        told: Mapping[str, InstanceState],
        policy: Policy,
        leaving: set[str],
        before: Mapping[str, LaunchIntent],
    ) -> tuple[int, int]:
        """How many instances are coming and how many are there, of those that the program can count on."""
        watch, coming, there = self._watch, 0, 0
        for machine in watch.alive.values():
            record = watch.ledger.records.get(machine.id)
            if machine.id in leaving or (record is not None and record.termination is not None):
                continue
            if told.get(machine.id, InstanceState.STARTING) not in _COMING or machine.state not in _COMING:
                continue
            intent = watch.ledger.intents.get(machine.token)
            if machine.agent_name in watch.agents:
                # What is not known to be ours fills the pool, and counts for nothing else.
                there += intent is not None or record is not None
            elif machine.agent_name not in watch.first_heard and intent is not None:
                coming += watch.now < intent.created_at + policy.max_agent_starting_period
        live = {**watch.ledger.live, **before}.values()
        asked = [i for i in live if i.state is IntentState.OPEN and not watch.cloud.creations.get(i.token)]
        return coming + sum(i.count for i in asked), there
