"""What one pool knows: its instances, its launches and terminations under way, its failures.

All changes of a pool's state go through here, one at a time, in the event loop. Each leaves its trace in `pending`,
which is written at the next chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import structlog

from slotsmith.clock import Random
from slotsmith.core.fleet import Fleet, changed_rows, observe, restore
from slotsmith.core.view import OnOffer, View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Promise, Reason
from slotsmith.model.instance import LEGAL_TRANSITIONS, Instance, InstanceState
from slotsmith.model.launch import InFlight, IntentState, LaunchIntent
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.offering import NO_SHORTAGES, Offering, Shortage
from slotsmith.model.record import InstanceRecord, Move, Phase, StatisticsSpan, TerminationRecord
from slotsmith.model.scaling_info import NO_SCALING_INFO, ScalingInfo
from slotsmith.provisioner.absence import Absences
from slotsmith.provisioner.joining import Joining, join_news
from slotsmith.provisioner.moving import Moving
from slotsmith.provisioner.paid_time import PaidTime
from slotsmith.provisioner.pending import Pending
from slotsmith.store.base import PoolBooks

# An agent that the scheduler refused to give up is not asked for again within this time: its next views will show
# what it is doing, and asking more often would only repeat the answer. A shorter idle period makes it shorter.
REFUSAL_HOLDS: Final = 30.0


class Books:
    """The state of one pool between its passes. Times are epoch seconds.

    `on_change` is called when something else than a look at the world has changed what is to be decided: an answer to
    a launch, a termination called off. `held` are instances that people want kept. `lost_agent`: in what was seen
    last, an agent was missing that was there before.
    """

    def __init__(
        self,
        pool: str,
        kept: PoolBooks,
        spans: Iterable[StatisticsSpan],
        *,
        offerings: Sequence[Offering],
        month: float,
        consistency_window: float,
        max_idle_agent_period: float,
        random: Random,
        on_change: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.pending = Pending(pool)
        self.fleet: Fleet = restore(kept.instances)
        self.intents: dict[str, LaunchIntent] = {intent.token: intent for intent in kept.intents}
        self.terminations: dict[str, TerminationRecord] = {
            record.instance.id: record.termination for record in kept.instances if record.termination
        }
        self.launch_failures: dict[str, LaunchFailures] = dict(kept.launch_failures)
        self.owns = kept.owns
        self.strays: frozenset[str] = frozenset()
        self.lost_agent = False
        self.held: frozenset[str] = frozenset()
        self.moving = Moving()
        self._consistency_window = consistency_window
        self._refusal_holds = min(REFUSAL_HOLDS, max_idle_agent_period)
        self._on_change = on_change
        self._log = log
        self._heartbeat = kept.heartbeat or 0.0
        self._paid = PaidTime(pool, self.pending.span)
        self.price(offerings)
        self._paid.resume(spans, self.fleet.rows, month)
        self._refused: dict[str, float] = {}
        self._absences = Absences(consistency_window, self._heartbeat)
        self._joining = Joining(kept.join_failures, random=random, log=log)
        self._seen: dict[str, set[str]] = {}
        self._void_after: dict[str, float] = {}
        self._promised: dict[str, tuple[float, tuple[Promise, ...]]] = {}
        self._first_listing = True
        for record in kept.instances:
            self._note_seen(record.instance)

    @property
    def heartbeat(self) -> float | None:
        """When the pool was last seen alive; None = now.

        What vanishes before the first listing is taken to have ended at the last heartbeat, so that one stays.
        """
        return (self._heartbeat or None) if self._first_listing else None

    # What is seen

    def heard_before(self, there_until: Mapping[str, float]) -> None:
        """Until when agents, by name, were connected before these books were opened."""
        for instance in self.fleet.instances:
            if instance.agent_name in there_until:
                self._absences.lived(instance.id, there_until[instance.agent_name])

    def observe(self, listing: Sequence[Instance], began: float, agents: Sequence[Agent] | None, now: float) -> None:
        """Take in a listing (from a read that began at `began`) and a view of the agents (None = not heard yet)."""
        before, strays = self.fleet, self.strays
        self.lost_agent = False
        merged = self._absences.complete(listing, before, began, now)
        self._settle_ownership(merged)
        launched_within = {i.token: (i.created_at, i.answered_at or now) for i in self.intents.values()}
        self.fleet = after = observe(before, merged, agents, now, launched_within)
        if self._first_listing:
            self._first_listing = False
            self._settle_paid_time(before, now)
        rows = changed_rows(before, after)
        gone = [] if after.rows is before.rows else [i for i in before.instances if i.id not in after.rows]
        for row in rows:
            self._row_changed(before, row, now)
        if agents is not None:
            self._follow_joins(before, rows, [instance for instance in gone if instance.id not in strays], now)
        for instance in gone:
            if instance.id not in strays:
                self._gone(before, instance, now)
        self._close_intents(began)
        self._save(after.instances[row].id for row in rows)

    def hear(self, agents: Sequence[Agent], now: float) -> None:
        """Take in a view of the agents before there is a listing: their clocks must not miss what they do meanwhile."""
        before, self.fleet = self.fleet, observe(self.fleet, self.fleet.instances, agents, now)
        rows = changed_rows(before, self.fleet)
        self._absences.heard(before, self.fleet, now)
        self._follow_joins(before, rows, [], now)
        self._save(self.fleet.instances[row].id for row in rows)

    def _settle_ownership(self, listing: Sequence[Instance]) -> None:
        """Everything listed is ours once the pool has begun with nothing unknown listed, or was told so."""
        if self.owns:
            return
        rows, intents = self.fleet.rows, self.intents
        unknown = {i.id for i in listing if (i.id not in rows or i.id in self.strays) and i.token not in intents}
        if unknown - self.strays:
            self._log.warning(
                "instances are listed that this store does not know; `slotsmith adopt` makes them ours",
                ids=sorted(unknown)[:10],
                count=len(unknown),
            )
        self.strays = frozenset(unknown)
        if not unknown:
            self.owns = self.pending.owns = True

    def adopt(self, now: float) -> None:
        """From now on, whatever is listed under our tags is ours."""
        strays, self.strays = self.strays, frozenset()
        self.owns = self.pending.owns = True
        for instance_id in sorted(strays):
            row = self.fleet.rows[instance_id]
            instance = self.fleet.instances[row]
            self._move(instance_id, now, None, instance.state, "adopted")
            self._paid.follow(instance, float(self.fleet.launched_at[row]), now)
        self._save(sorted(strays))

    def _row_changed(self, before: Fleet, row: int, now: float) -> None:
        instance = self.fleet.instances[row]
        old_row = before.rows.get(instance.id)
        old = None if old_row is None else before.instances[old_row].state
        if old_row is not None and np.isnan(before.missing_since[old_row]):
            self.lost_agent |= bool(np.isfinite(self.fleet.missing_since[row]))
        if old is instance.state or instance.id in self.strays:
            return
        if old is None:
            self._note_seen(instance)
        elif instance.state not in LEGAL_TRANSITIONS[old]:
            self._log.warning("instance moved unexpectedly", id=instance.id, before=old, now=instance.state)
        self._move(instance.id, now, old, instance.state, instance.detail)
        self._paid.follow(instance, float(self.fleet.launched_at[row]), now)

    def _gone(self, before: Fleet, instance: Instance, now: float) -> None:
        ending = self.terminations.pop(instance.id, None)
        self._refused.pop(instance.id, None)
        self._joining.forget(instance.id)
        self._move(
            instance.id, now, instance.state, None, f"terminated: {ending.reason.value}" if ending else "vanished"
        )
        # It was there when its termination was decided, whatever the listings said.
        there_until = max(self._absences.gone(instance.id, now), ending.since if ending else 0.0)
        self._paid.end(instance.id, min(now, there_until))
        self._paid.forget(instance.id)
        self.pending.instance(replace(_record(before, before.rows[instance.id], ending), gone_at=now))

    def _settle_paid_time(self, kept: Fleet, now: float) -> None:
        """At start: end the spans of what nobody knows of, and begin those that are missing (of what was adopted)."""
        fleet = self.fleet
        self._paid.end_unknown((*kept.rows, *fleet.rows), self._heartbeat)
        for row, instance in enumerate(fleet.instances):
            if instance.id not in self.strays:
                self._paid.follow(instance, float(fleet.launched_at[row]), now)

    def _note_seen(self, instance: Instance) -> None:
        if instance.token in self.intents:
            self._seen.setdefault(instance.token, set()).add(instance.id)

    def _move(
        self, instance_id: str, now: float, before: InstanceState | None, after: InstanceState | None, note: str
    ) -> None:
        self.pending.move(Move(instance_id, now, before, after, note))
        details = {"note": note} if note else {}
        names = {"before": before.value if before else "new", "now": after.value if after else "gone"}
        self._log.info("instance", id=instance_id, **names, **details)

    # Joining

    def _follow_joins(self, before: Fleet, rows: list[int], gone: list[Instance], now: float) -> None:
        news = join_news(before, self.fleet, rows, gone)
        by_themselves = [i for i in news.ended if i not in self.terminations and i not in self.strays]
        self._note_joining(self._joining.never_joined(by_themselves, now))
        if news.joined:
            self._note_joining(self._joining.joined(news.joined))

    def _note_joining(self, failures: JoinFailures | None) -> None:
        if failures is not None:
            self.pending.join_failures = failures

    def forgive_joining(self) -> None:
        """Instances that never joined are forgotten, and keep no launch back any more."""
        self._note_joining(self._joining.forgive())

    # Launches

    def add_intents(self, intents: Iterable[LaunchIntent]) -> None:
        """Intents that are on record already."""
        self.intents.update((intent.token, intent) for intent in intents)

    def promise(self, token: str, promises: tuple[Promise, ...], until: float) -> None:
        """Which tasks a launch is for; forgotten after a time, and by a restart, for then all of it can be seen."""
        if promises:
            self._promised[token] = (until, promises)

    def put_intent(self, intent: LaunchIntent) -> None:
        """An intent has moved on."""
        if intent.state in (IntentState.CLOSED, IntentState.REFUSED):
            self.intents.pop(intent.token, None)
            self._seen.pop(intent.token, None)
            self._void_after.pop(intent.token, None)
        else:
            self.intents[intent.token] = intent
        self.pending.intent(intent)
        self._on_change()

    def in_flight(self) -> tuple[InFlight, ...]:
        """What was asked for and has not been listed yet."""
        missing = ((intent, self._missing(intent)) for intent in self.intents.values())
        return tuple(InFlight(i.token, i.offering.name, count, i.created_at) for i, count in missing if count > 0)

    def _missing(self, intent: LaunchIntent) -> int:
        return intent.expected - len(self._seen.get(intent.token, ()))

    def next_deadline(self, now: float) -> float | None:
        """When the first of the refusals that hold now is over, or a look at the provider is due; None = never."""
        # A look that is due already is under way, and its answer wakes the pool.
        times = (*self._refused.values(), *self._looks(), self.moving.next_deadline(now) or 0.0)
        return min((at for at in times if at > now), default=None)

    def listing_is_due(self, now: float) -> bool:
        """Whether a listing made now would tell that something which is absent is gone, or why an agent was lost."""
        return self.lost_agent or any(now > at for at in self._looks())

    def _looks(self) -> Iterator[float]:
        """When a listing is awaited."""
        yield from self._absences.looks()
        yield from self._void_after.values()

    @property
    def awaits_listing(self) -> bool:
        """Whether a listing that shows nothing new would still tell something: that it has been so for long enough."""
        return bool(self._absences or self._void_after) or any(
            i.state is IntentState.GRANTED for i in self.intents.values()
        )

    def _close_intents(self, began: float) -> None:
        """A granted launch is done when all of it has been listed, or can no longer turn up late."""
        for intent in [i for i in self.intents.values() if i.state is IntentState.GRANTED]:
            missing = self._missing(intent)
            answered = intent.created_at if intent.answered_at is None else intent.answered_at
            if missing > 0 and began <= answered + self._consistency_window:
                continue
            if missing > 0:
                self._log.warning("instances were granted and never listed", token=intent.token, missing=missing)
            self.put_intent(replace(intent, state=IntentState.CLOSED))
        for token in [token for token, at in self._void_after.items() if began > at and token in self.intents]:
            self.put_intent(replace(self.intents[token], state=IntentState.CLOSED))

    def leave_to_listing(self, token: str, after: float) -> None:
        """Nobody asks for this intent any more: what a listing that begins after that time lacks of it is void."""
        self._void_after[token] = after
        self._on_change()

    def put_failures(self, offering: Offering, failures: LaunchFailures) -> None:
        """What back-off knows of an offering has changed."""
        self.launch_failures[offering.name] = failures
        self.pending.launch_failures(offering.name, failures)
        self._on_change()

    def failures_of(self, offering: Offering) -> LaunchFailures:
        """The consecutive failures of an offering."""
        return self.launch_failures.get(offering.name, NO_LAUNCH_FAILURES)

    # Terminations

    def begin_terminations(self, decision: Decision, *, drain: bool = True) -> None:
        """The terminations of a decision are under way; where an agent may be at work, its drain comes first."""
        for termination in decision.terminations:
            phase = Phase.DRAINING if drain and termination.reason.needs_drain else Phase.TERMINATING
            self.put_termination(termination.id, TerminationRecord(termination.reason, decision.at, phase))
        unjoined = [t.id for t in decision.terminations if t.reason is Reason.NEVER_JOINED]
        self._note_joining(self._joining.never_joined(unjoined, decision.at))

    def put_termination(self, instance_id: str, record: TerminationRecord | None) -> None:
        """A termination has moved on, or (None) is called off."""
        if instance_id not in self.fleet.rows:
            return
        if record is None:
            self.terminations.pop(instance_id, None)
        else:
            self.terminations[instance_id] = record
        self._save((instance_id,))

    def told_to_end(self, instance_id: str, at: float) -> None:
        """The provider has taken a termination on."""
        self._absences.told_to_end(instance_id, at)

    def keep_instance(self, instance_id: str, why: str, now: float) -> None:
        """A termination is called off (the scheduler keeps the agent), and not tried again for a while."""
        self._refused[instance_id] = now + self._refusal_holds
        if instance_id in self.terminations:
            self.moving.in_vain(instance_id, self.terminations[instance_id], now)
        row = self.fleet.rows.get(instance_id)
        if row is not None:
            state = self.fleet.instances[row].state
            self._move(instance_id, now, state, state, f"kept: {why}")
        self.put_termination(instance_id, None)
        self._on_change()

    # For the decision

    def price(self, offerings: Iterable[Offering]) -> None:
        """What instances that come up from now on cost; what is not on offer any more keeps its last price."""
        self._paid.price({each.name: each.price for each in offerings if each.price is not None})

    def spent_this_month(self, month: float, now: float) -> float:
        """Dollars since the month began, at `month`."""
        return self._paid.spent(month, now)

    def view(
        self,
        offerings: Sequence[Offering],
        info: ScalingInfo | None,
        *,
        blind: bool,
        now: float,
        month: float | None = None,
        shortages: Mapping[str, Shortage] = NO_SHORTAGES,
    ) -> View:
        """All that the next decision is made from; `month`: since when what is spent is to be told."""
        self._refused = {i: until for i, until in self._refused.items() if until > now}
        self._promised = {token: kept for token, kept in self._promised.items() if kept[0] > now}
        offering, *others = offerings
        return View(
            fleet=self.fleet,
            info=info or NO_SCALING_INFO,
            offering=offering,
            in_flight=self.in_flight(),
            draining=frozenset(self.terminations),
            strays=self.strays,
            kept=frozenset(self._refused) | self.held,
            launch_failures=self.failures_of(offering),
            join_failures=self._joining.failures,
            blind=blind,
            others=tuple(OnOffer(each, self.failures_of(each)) for each in others),
            shortages={name: each for name, each in shortages.items() if now < each.until},
            promised={token: promises for token, (_, promises) in self._promised.items()},
            moves=self.moving.known(self.terminations, now),
            # Rounded up to a cent, so that it is not another view with every second.
            spent_this_month=0.0 if month is None else math.ceil(self._paid.spent(month, now) * 100) / 100,
        )

    def _save(self, instance_ids: Iterable[str]) -> None:
        for instance_id in instance_ids:
            if instance_id not in self.strays:
                ending = self.terminations.get(instance_id)
                self.pending.instance(_record(self.fleet, self.fleet.rows[instance_id], ending))


def _record(fleet: Fleet, row: int, ending: TerminationRecord | None) -> InstanceRecord:
    def clock(column: np.typing.NDArray[np.float64]) -> float | None:
        value = float(column[row])
        return None if np.isnan(value) else value

    return InstanceRecord(
        # What the cloud says of its plans is not kept: the next listing says it again.
        instance=fleet.instances[row]._replace(launched_at=float(fleet.launched_at[row]), reclaimed=False),
        first_seen=float(fleet.first_seen[row]),
        joined_at=clock(fleet.joined_at),
        idle_since=clock(fleet.idle_since),
        missing_since=clock(fleet.missing_since),
        activity=fleet.activity_of(row),
        termination=ending,
    )
