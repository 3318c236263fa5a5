"""The promises about what exists: I2 (nothing is lost), I4 (no work is cut off), I7 (gone is seen), and patience."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import IntentState
from slotsmith.model.policy import Policy
from slotsmith.model.record import Phase, TerminationRecord
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.simulated import Machine
from slotsmith.simulation.events import Field
from slotsmith.simulation.watch import Watch
from slotsmith.store.base import Changes

SLACK: Final = 15.0
"""Seconds for a listing, a pass and a commit that follow one another with nothing in their way."""
ASKED_AGAIN: Final = 300.0 + 60.0
"""Seconds within which an instance that was told to end, and exists, is told again: the longest pause of the retry."""
_COUNTED: Final = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)
_MISSING: Final = (Reason.LONG_DISCONNECTED, Reason.NEVER_JOINED)


class KeepingChecks:
    """I2 and I7: every machine is in the books until it is gone, and not longer.

    `written_within`: seconds for which what was seen may wait to be written.
    """

    def __init__(self, watch: Watch, *, written_within: float = 0.0, sign_of_life: float = 0.0) -> None:
        """`sign_of_life`: seconds after which a summary that could not be written is written again."""
        self._watch = watch
        self._sign_of_life = sign_of_life
        self._asked_at: dict[str, float] = {}
        settings = watch.settings
        self._noticed_within = settings.consistency_window + settings.poll_period + written_within + SLACK

    def on_commit(self, changes: Changes) -> None:
        """What goes on record as gone is gone."""
        for record in changes.instances:
            machine = self._watch.cloud.machines.get(record.instance.id)
            if record.gone_at is not None and machine is not None and machine.alive():
                last = self._watch.ledger.records.get(machine.id)
                if last is None or last.gone_at is None:
                    self._watch.violated("I7", f"{machine.id} is on record as gone and is {machine.state.value}")

    def on_committed(self, changes: Changes) -> None:
        """What is no longer expected is on record, all of it."""
        ledger, cloud = self._watch.ledger, self._watch.cloud
        for intent in changes.intents:
            if intent.state not in (IntentState.CLOSED, IntentState.REFUSED):
                continue
            for created in cloud.creations.get(intent.token, ()):
                for machine_id in created:
                    if cloud.machines[machine_id].alive() and machine_id not in ledger.records:
                        self._watch.violated(
                            "I2", f"{machine_id} exists, its intent {intent.token} is {intent.state.value}, no record"
                        )

    def on_terminate_call(self, instance_ids: Sequence[str]) -> None:
        """Asked (again)."""
        self._asked_at.update(dict.fromkeys(instance_ids, self._watch.now))

    def on_tick(self) -> None:
        """Whatever should have been noticed by now."""
        watch = self._watch
        for machine in watch.alive.values():
            self._check_alive(machine)
        for instance_id in watch.ledger.present:
            machine = watch.cloud.machines[instance_id]
            if machine.gone_at is not None:
                late = watch.calm_for(machine.gone_at) - watch.settings.consistency_window
                if late > self._noticed_within:
                    watch.violated("I7", f"{machine.id} is gone, and on record as there for {late:.0f} s")

    def _check_alive(self, machine: Machine) -> None:
        watch, ledger = self._watch, self._watch.ledger
        if machine.id not in ledger.present and machine.token not in ledger.live:
            since = max(machine.created_at, machine.shown_since or 0.0)
            within = self._noticed_within + (0.0 if ledger.owns else self._sign_of_life)
            if watch.calm_for(since) > within and not self._is_reported(machine):
                watch.violated("I2", f"{machine.id} (token {machine.token!r}) exists and is neither known nor reported")
        record = ledger.ending.get(machine.id)
        if record is not None and record.termination is not None:
            self._check_ending(machine, record.termination)

    def _is_reported(self, machine: Machine) -> bool:
        summary = self._watch.ledger.summary
        return not self._watch.ledger.owns and (summary is None or machine.id in summary["strays"])

    def _check_ending(self, machine: Machine, ending: TerminationRecord) -> None:
        watch = self._watch
        if ending.phase is Phase.TERMINATING:
            calm = watch.calm_for(max(self._asked_at.get(machine.id, 0.0), ending.since))
            if calm > ASKED_AGAIN + SLACK:
                watch.violated("I7", f"{machine.id} is to end and exists, and was not told so for {calm:.0f} s")
        elif machine.agent_name in watch.agents and not watch.scheduler.busy(machine.agent_name):
            held_at = max(watch.idle_broken_at.get(machine.agent_name, 0.0), watch.held_at.get(machine.agent_name, 0.0))
            # What was told to end and is there all the same is drained anew before each repeat.
            calm = watch.calm_for(max(ending.since, held_at, self._asked_at.get(machine.id, 0.0)))
            if calm > ASKED_AGAIN:
                watch.violated("I7", f"{machine.id} is idle and drains for {calm:.0f} s")


class MercyChecks:
    """I4: no call ends an agent that was last reported busy, and no task is killed by us."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._ended_by_us: dict[str, Reason] = {}
        self._used: dict[str, float] = {}
        self._called_at: dict[str, float] = {}
        self._joined_at: dict[str, float] = {}
        self._drained_at: dict[str, float] = {}
        self._taken_in: ScalingInfo | None = None

    def on_start(self) -> None:
        """A new generation has taken in nothing."""
        self._taken_in = None

    def on_decision(self, view: View, _policy: Policy, _decision: Decision) -> None:
        """What the program knows of its agents, it knows from the view of its last pass."""
        self._taken_in = view.info

    def on_terminate_call(self, instance_ids: Sequence[str]) -> None:
        """Each machine that is to end, with the reason on record."""
        for instance_id in instance_ids:
            name = self._watch.cloud.machines[instance_id].agent_name
            # Of an agent that came after the scheduler had said that there is none, only a view can tell.
            asked_at = self._drained_at.get(name, math.inf) if name not in self._watch.agents else math.inf
            self._called_at[instance_id] = min(self._watch.now, asked_at)
            ledger = self._watch.ledger
            record, reason = ledger.records.get(instance_id), ledger.decided.get(instance_id)
            ending = None if record is None else record.termination
            if ending is not None:
                self._ended_by_us[instance_id] = ending.reason
                self._check(instance_id, ending.reason)
            elif reason is not None:
                self._ended_by_us[instance_id] = reason
                self._check(instance_id, reason)
            else:
                # What was decided is on record before anything of it is done.
                self._watch.violated("I4", f"{instance_id} is told to end, and no reason is on record")

    def _check(self, instance_id: str, reason: Reason) -> None:
        watch = self._watch
        machine = watch.cloud.machines[instance_id]
        name = machine.agent_name
        agent, busy = watch.agents.get(name), watch.scheduler.busy(name)
        reported_busy = agent is not None and not agent.idle
        if reason.needs_drain:
            self._check_release(instance_id, name, reason)
        # It follows from what the last pass has taken in.
        known = self._has_taken_in(name)
        if reported_busy and busy and (reason not in _MISSING or known):
            watch.violated("I4", f"{instance_id} is told to end ({reason.value}) and was last reported busy")
        back = agent is not None and not (agent.idle and self._is_told_to_stop(instance_id))
        if reason in _MISSING and known and back and machine.state in _COUNTED:
            watch.violated("I4", f"{instance_id} is told to end ({reason.value}) and its agent is there")

    def _is_told_to_stop(self, instance_id: str) -> bool:
        """Whether it stops as far as is known, so that an idle agent is on its way out."""
        told = (each.state for each in self._watch.listing if each.id == instance_id)
        return next(told, None) is InstanceState.STOPPING

    def _check_release(self, instance_id: str, name: str, reason: Reason) -> None:
        """Each call needs a release of its own: after one without effect the agent may be at work again."""
        released = self._watch.released.get(name)
        if released is None:
            self._watch.violated("I4", f"{instance_id} is told to end ({reason.value}) and was never released")
        elif self._used.get(instance_id) == released:
            self._watch.violated("I4", f"{instance_id} is told to end again ({reason.value}), released only before")
        else:
            self._used[instance_id] = released

    def _has_taken_in(self, name: str) -> bool:
        return self._taken_in is not None and any(agent.name == name for agent in self._taken_in.agents)

    def on_event(self, what: str, fields: dict[str, Field]) -> None:
        """A task was killed: by us?"""
        name = str(fields.get("agent"))
        if what == "scheduler joined":
            self._joined_at[name] = self._watch.now
        if what == "scheduler drain":
            self._drained_at[name] = self._watch.now
        if what != "scheduler killed":
            return
        reason, watch = self._ended_by_us.get(name), self._watch
        machine = watch.cloud.machines.get(name)
        # A machine that is up lost its agent by itself; so has one that somebody else has stopped.
        if reason is None or machine is None or machine.state in _COUNTED or machine.detail:
            return
        # Nobody can know of an agent that comes while the call is on its way, or its drain's answer.
        came_later = self._joined_at.get(name, -math.inf) > self._called_at.get(machine.id, math.inf)
        if reason.needs_drain and name in watch.released and name not in watch.forgotten and not came_later:
            watch.violated("I4", f"{fields['job']} was killed on {name} ({reason.value}), which was released")


class PatienceChecks:
    """No termination before the period that it is named after is over, counted from what views and listings told."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """Every termination of a decision."""
        for termination in decision.terminations:
            row = view.fleet.rows.get(termination.id)
            machine = self._watch.cloud.machines.get(termination.id)
            if row is None or machine is None:
                self._watch.violated("I4", f"{termination.id} is to end and is not listed")
                continue
            told = view.fleet.instances[row]
            wrong = self._wrong(machine, told, termination.reason, policy, decision.at)
            if wrong:
                self._watch.violated("periods", f"{machine.id} is to end ({termination.reason.value}) {wrong}")
        self._check_minimum(view, policy, decision)

    def _wrong(self, machine: Machine, told: Instance, reason: Reason, policy: Policy, now: float) -> str:
        watch, name, state = self._watch, machine.agent_name, told.state
        if reason in (Reason.LONG_IDLE, Reason.REPLACED):
            idle_for = now - watch.idle_broken_at.get(name, now)
            return "" if idle_for > policy.max_idle_agent_period else f"after {idle_for:.3f} s"
        if reason is Reason.LONG_DISCONNECTED:
            missing_for = now - max(watch.last_there.get(name, 0.0), watch.first_told.get(machine.id, 0.0))
            early = missing_for <= policy.max_agent_disconnect_period
            return f"after {missing_for:.3f} s" if early or name in watch.agents else ""
        if reason is Reason.NEVER_JOINED:
            return self._wrong_about_joining(machine, policy, now)
        if reason is Reason.STOPPED:
            return "" if state is InstanceState.STOPPED else f"while it is {state.value}"
        if reason is Reason.NOT_NEEDED:
            if state is not InstanceState.PENDING_REQUEST:
                return f"while it is {state.value}"
            return "while its agent is there" if name in watch.agents else ""
        if reason is Reason.RECLAIMED:
            return "" if told.reclaimed and state in _COUNTED else "and nobody reclaims it"
        return ""

    def _wrong_about_joining(self, machine: Machine, policy: Policy, now: float) -> str:
        watch = self._watch
        if machine.agent_name in watch.agents:
            return "while its agent is there"
        intent = watch.ledger.intents.get(machine.token)
        if intent is None or machine.paid_from is None:
            return ""  # its age is what the cloud says, whose clock may be wrong
        if watch.listings[-1] < machine.paid_from + watch.settings.consistency_window:
            return ""  # nobody has been told that it was started (again)
        if machine.earlier and watch.told_down.get(machine.id, 0.0) < machine.earlier[-1][1]:
            return ""  # no listing has ever shown that it was stopped
        # It cannot be older than what asked for it; for more only the cloud's clock can be asked, if that can be right.
        told = machine.launched_at if machine.launched_at <= watch.first_told.get(machine.id, 0.0) else -math.inf
        age = now - max(intent.created_at, min(told, machine.paid_from))
        return "" if age >= policy.max_agent_starting_period - 0.001 else f"when it is {age:.1f} s old"

    def _check_minimum(self, view: View, policy: Policy, decision: Decision) -> None:
        idle = [
            t.id for t in decision.terminations if t.reason in (Reason.LONG_IDLE, Reason.NOT_NEEDED) or t.reason.is_move
        ]
        if not idle:
            return
        staying = sum(
            instance.state in _COUNTED and instance.id not in view.draining and instance.id not in view.strays
            for instance in view.fleet.instances
        )
        left = staying + view.in_flight_count - len(idle)
        if left < policy.min_instances:
            self._watch.violated("minimum", f"{left} would be left, the minimum is {policy.min_instances}")
        over = [t.id for t in decision.terminations if t.reason is Reason.OVER_MAXIMUM]
        if over and len(view.fleet) <= policy.max_instances:
            self._watch.violated("I4", f"{over[0]} is to end for a maximum that is not exceeded")


class MemoryChecks:
    """I11: what is on record is what a new generation starts from, and the clocks of agents go on."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._moved_at: dict[str, float] = {}
        self._back_at: dict[str, float] = {}

    def on_load(self, books: object) -> None:
        """The books as they are read are those that were written."""
        ledger = self._watch.ledger
        for name, kept in (
            ("intents", {intent.token: intent for intent in books.intents}),  # type: ignore[attr-defined]
            ("records", {record.instance.id: record for record in books.instances}),  # type: ignore[attr-defined]
        ):
            if kept != (ledger.live if name == "intents" else ledger.present):
                self._watch.violated("I11", f"the {name} that were read are not those that were written")
        failures = books.launch_failures  # type: ignore[attr-defined]
        if dict(failures) != ledger.launch_failures:
            self._watch.violated("I11", "the launch failures that were read are not those that were written")

    def on_commit(self, changes: Changes) -> None:
        """A clock that starts anew needs a reason."""
        for move in changes.moves:
            self._moved_at[move.instance_id] = changes.at
        for record in changes.instances:
            last = self._watch.ledger.present.get(record.instance.id)
            if last is None or record.gone_at is not None or record.instance.id in self._moved_at:
                continue
            name = record.instance.agent_name
            broken = max(self._watch.idle_broken_at.get(name, -math.inf), self._unlisted_at(name))
            self._compare("idle", name, last.idle_since, record.idle_since, broken)
            there = self._watch.now if name in self._watch.agents else self._watch.last_there.get(name, -math.inf)
            self._compare("missing", name, last.missing_since, record.missing_since, there)
            if last.joined_at is not None and record.joined_at != last.joined_at:
                self._watch.violated("I11", f"{name} joined at another time than is on record")
        for move in changes.moves:
            if move.after in (InstanceState.STARTING, InstanceState.RUNNING) and move.before is not None:
                self._back_at[move.instance_id] = changes.at

    def _unlisted_at(self, name: str) -> float:
        return self._back_at.get(name, -math.inf)

    def _compare(self, clock: str, name: str, before: float | None, after: float | None, cause: float) -> None:
        if before is None or after is None or before == after:
            return
        if cause < before - 1.0:
            self._watch.violated(
                "I11", f"the {clock} clock of {name} starts anew, {after - before:.1f} s after it began"
            )
