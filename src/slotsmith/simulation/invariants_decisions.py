"""The promises about decisions: I6 (every unmet demand has a reason), I9 (the same inputs decide alike), I8 and I12."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from slotsmith.clock import Random
from slotsmith.core.fleet import EMPTY_FLEET, observe, restore
from slotsmith.core.rules import Rules
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Policy
from slotsmith.model.record import InstanceRecord
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.simulation.events import Field
from slotsmith.simulation.ports import SECRET
from slotsmith.simulation.watch import Watch
from slotsmith.store.base import Changes

REACTION: Final = 1.0
"""Seconds within which a new view is decided upon, whatever the cloud does."""
_SUMMARIES: Final = 3


class AlikeChecks:
    """I9: a decision does not depend on when it is made, nor on how the fleet was built up or listed."""

    def __init__(self, watch: Watch, rules: Rules, random: Random, *, every: int) -> None:
        self._watch = watch
        self._decide = rules.decide
        self._search = rules.search
        self._random = random
        self._every = every
        self._count = 0

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """Some decisions are made again."""
        self._count += 1
        if self._count % self._every:
            return
        decide = self._decide
        if decide(view, policy, decision.at) != decision:
            # It may be what a search has found.
            decide = self._search or decide
            if decide(view, policy, decision.at) != decision:
                self._watch.violated("I9", "the same view is decided in another way")
        if view.blind or not view.fleet.settled:
            return
        again = decide(self._shuffled(view, decision.at), policy, decision.at)
        if not _alike(again, decision):
            self._watch.violated("I9", f"a fleet in another order is decided in another way: {again} and {decision}")

    def _shuffled(self, view: View, now: float) -> View:
        """The same fleet, built from its records, in another order."""
        fleet = view.fleet
        rows = list(range(len(fleet)))
        self._random.shuffle(rows)
        records = []
        for row in rows:
            instance = fleet.instances[row]._replace(launched_at=float(fleet.launched_at[row]))
            clocks = (fleet.first_seen[row], fleet.joined_at[row], fleet.idle_since[row], fleet.missing_since[row])
            first, joined, idle, missing = (None if value != value else float(value) for value in clocks)
            assert first is not None
            records.append(InstanceRecord(instance, first, joined, idle, missing))
        agents = list(view.info.agents)
        self._random.shuffle(agents)
        info = ScalingInfo(tuple(agents), view.info.tasks, view.info.groups, view.info.desired_new)
        built = restore(records) if records else EMPTY_FLEET
        built = observe(built, [record.instance for record in records], info.agents, now)
        return View(
            fleet=built,
            info=info,
            offering=view.offering,
            in_flight=view.in_flight[::-1],
            draining=view.draining,
            strays=view.strays,
            kept=view.kept,
            launch_failures=view.launch_failures,
            join_failures=view.join_failures,
            others=view.others[::-1],
            promised=view.promised,
            spent_this_month=view.spent_this_month,
            moves=view.moves,
        )


def _alike(one: Decision, other: Decision) -> bool:
    return (
        one.launches == other.launches
        and one.terminations == other.terminations
        and sorted(map(str, one.unmet)) == sorted(map(str, other.unmet))
        and one.desired_new == other.desired_new
        and one.next_deadline == other.next_deadline
        and one.proposals == other.proposals
    )


class ReasonChecks:
    """I6: what is not served has a reason; what can never be served is told, and nothing waits without a word."""

    def __init__(self, watch: Watch, capacities: Sequence[Resources]) -> None:
        self._watch = watch
        self._capacities = capacities
        self._capacity = watch.settings.largest.capacity
        self._silent = 0
        self._impossible_since: float | None = None

    def on_start(self) -> None:
        """A new generation begins anew."""
        self._silent, self._impossible_since = 0, None

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """Every reason is a text."""
        for unmet in decision.unmet:
            if not unmet.reason.strip() or unmet.count < 1:
                self._watch.violated("I6", f"{unmet.count} stay unmet for the reason {unmet.reason!r}")
        if decision.desired_new > decision.launch_count and not decision.unmet:
            self._watch.violated("I6", f"{decision.desired_new} are wanted and fewer launched, and nothing says why")
        if len(view.fleet) + view.in_flight_count > policy.max_instances:
            return  # what is there after a maximum was lowered may still be used
        impossible = [kind for kind in view.info.tasks if self._is_impossible(kind.resources, kind.spans, policy)]
        told = [unmet.tasks.resources for unmet in decision.unmet if unmet.tasks is not None]
        for kind in impossible:
            if kind.resources not in told:
                self._watch.violated("I6", f"{kind} can never run here, and nothing says so")

    def on_committed(self, changes: Any) -> None:
        """What people are shown: reasons that were decided are on record, and whoever waits is told of."""
        summary = changes.summary
        if summary is None or summary.get("stopped") or summary["provider"]["at"] is None:
            return
        if not self._watch.store_is_settled:
            self._silent = 0  # nothing is launched while the store fails, and the store cannot be told so
            return
        coming = any(each["state"] in ("pending-request", "starting") for each in summary["instances"])
        idle = any(each["agent"] in ("idle", "starting") for each in summary["instances"])
        if not summary["pending_tasks"] or summary["in_flight"] or coming or idle or summary["unmet"]:
            self._silent = 0
            return
        self._silent += 1
        if self._silent > _SUMMARIES and not self._could_be_placed():
            self._watch.violated(
                "I6", f"{summary['pending_tasks']} tasks wait, nothing is coming, and no reason is told"
            )
            self._silent = 0

    def _could_be_placed(self) -> bool:
        """Whether an agent that is partly free could take one of what waits, which is the scheduler's to do."""
        info = self._watch.info
        if info is None:
            return True
        for kind in info.tasks:
            for agent in info.agents:
                if agent.draining:
                    continue
                room = (agent.capacity or self._capacity) - (agent.used or Resources())
                if kind.resources.fits_in(room):
                    return True
        return False

    def _is_impossible(self, asked: Resources, spans: bool, policy: Policy) -> bool:
        return all(self._is_impossible_on(each, asked, spans, policy) for each in self._capacities)

    def _is_impossible_on(self, capacity: Resources, asked: Resources, spans: bool, policy: Policy) -> bool:
        if asked.slots <= capacity.slots or not capacity.slots:
            return asked.slots > capacity.slots
        count, rest = divmod(asked.slots, capacity.slots)
        return not spans or bool(rest) or count > policy.max_instances


class SecretChecks:
    """I10: a password that an error tells goes neither on record nor into anything that is told."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_event(self, _what: str, fields: dict[str, Field]) -> None:
        """What is told of."""
        if any(isinstance(value, str) and SECRET in value for value in fields.values()):
            self._watch.violated("I10", "a password is told")

    def on_commit(self, changes: Changes) -> None:
        """What goes on record, and from there to people."""
        summary = changes.summary or {}
        shown = [summary.get(name) for name in ("provider", "scheduler", "launch_error", "unmet")]
        texts = [intent.error for intent in changes.intents]
        texts += [failures.message for failures in changes.launch_failures.values()]
        texts += [record.termination.error for record in changes.instances if record.termination]
        texts += [move.note for move in changes.moves]
        texts += [unmet.reason for unmet in changes.decision.unmet] if changes.decision else []
        if SECRET in "".join(texts) or SECRET in str(shown):
            self._watch.violated("I10", "a password is on record")


class PromptChecks:
    """I8, and I12 for another pool: a new view is decided upon at once, whatever the cloud or another pool does."""

    def __init__(self, watch: Watch, promise: str, tick: float, store_troubled_at: Callable[[], float]) -> None:
        self._watch = watch
        self._promise = promise
        self._reaction = REACTION + tick
        self._store_troubled_at = store_troubled_at
        self._waiting: asyncio.TimerHandle | None = None

    def on_view(self, info: ScalingInfo, before: ScalingInfo | None) -> None:
        """Something new: a pass must follow."""
        listed = self._watch.listings and self._watch.listings[-1] >= self._watch.started_at
        if info == before or self._waiting is not None or not listed:
            return
        self._waiting = asyncio.get_running_loop().call_later(self._reaction, self._late, self._watch.log.elapsed)

    def on_decision(self, _view: View, _policy: Policy, _decision: Decision) -> None:
        """Decided."""
        self._stop()

    def on_death(self) -> None:
        """The dead owe nothing."""
        self._stop()

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self, since: float) -> None:
        self._waiting = None
        # A decision goes on record before the next is made: one that hangs at the disk holds it up, and is told.
        # Who is told to stop finishes what is under way, and decides nothing more.
        at_work = self._watch.up and not self._watch.told_to_stop
        if at_work and self._store_troubled_at() < since - 150.0:
            self._watch.violated(self._promise, f"a view of {since:.3f} s is not decided upon after {self._reaction} s")
