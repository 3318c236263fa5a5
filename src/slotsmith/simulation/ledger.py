"""What is on record of one pool, kept beside the store from the same changes, so that looking costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slotsmith.model.decision import Reason, Unmet
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import JoinFailures, LaunchFailures
from slotsmith.model.record import InstanceRecord, Phase, StatisticsSpan
from slotsmith.store.base import Changes

_AT_WORK = (InstanceState.STARTING, InstanceState.RUNNING)
_LIVE = (IntentState.OPEN, IntentState.GRANTED)


class Ledger:
    """The books of a pool as they stand in the store.

    `intents` and `records` hold all there ever were, `live` and `present` those that still matter, `ending` the ids of
    instances with a termination on record. `at_work`: when each went on record as starting or running; `unread`: for
    how long each was on record with a state that cannot be read. `spans` are the statistics by instance. `unmet` is
    what the last recorded decision of this generation left unserved, `decided` why instances were last chosen to end.
    """

    def __init__(self) -> None:
        self.intents: dict[str, LaunchIntent] = {}
        self.live: dict[str, LaunchIntent] = {}
        self.records: dict[str, InstanceRecord] = {}
        self.present: dict[str, InstanceRecord] = {}
        self.ending: dict[str, InstanceRecord] = {}
        self.unread: dict[str, float] = {}
        self._unread_since: dict[str, float] = {}
        self.at_work: dict[str, list[float]] = {}
        self.spans: dict[str, dict[float, StatisticsSpan]] = {}
        self.launch_failures: dict[str, LaunchFailures] = {}
        self.join_failures: JoinFailures | None = None
        self.owns = False
        self.heartbeats: list[float] = []
        self.summary: Mapping[str, Any] | None = None
        self.unmet: tuple[Unmet, ...] = ()
        self.decided: dict[str, Reason] = {}

    def apply(self, changes: Changes) -> None:
        """These are on record now."""
        for intent in changes.intents:
            self.intents[intent.token] = intent
            if intent.state in _LIVE:
                self.live[intent.token] = intent
            else:
                self.live.pop(intent.token, None)
        for record in changes.instances:
            self._put(record)
            self._follow(record, changes.at)
        for span in changes.spans:
            self.spans.setdefault(span.instance_id, {})[span.start] = span
        self.launch_failures.update(changes.launch_failures)
        self.join_failures = changes.join_failures or self.join_failures
        self.owns = self.owns if changes.owns is None else changes.owns
        self.summary = changes.summary or self.summary
        if changes.decision is not None:
            self.unmet = changes.decision.unmet
            self.decided.update((each.id, each.reason) for each in changes.decision.terminations)

    def _follow(self, record: InstanceRecord, at: float) -> None:
        instance_id, state = record.instance.id, record.instance.state
        if state in _AT_WORK and record.gone_at is None:
            self.at_work.setdefault(instance_id, []).append(at)
        if state is InstanceState.UNKNOWN and record.gone_at is None:
            self._unread_since.setdefault(instance_id, at)
        elif instance_id in self._unread_since:
            lasted = at - self._unread_since.pop(instance_id)
            self.unread[instance_id] = self.unread.get(instance_id, 0.0) + lasted

    def _put(self, record: InstanceRecord) -> None:
        instance_id = record.instance.id
        self.records[instance_id] = record
        if record.gone_at is None:
            self.present[instance_id] = record
        else:
            self.present.pop(instance_id, None)
        if record.gone_at is None and record.termination is not None:
            self.ending[instance_id] = record
        else:
            self.ending.pop(instance_id, None)

    def is_told_to_end(self, instance_id: str) -> bool:
        """Whether its termination is past the drain."""
        record = self.ending.get(instance_id)
        return record is not None and record.termination is not None and record.termination.phase is Phase.TERMINATING
