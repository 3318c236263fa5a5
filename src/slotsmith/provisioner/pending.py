"""What has changed in a pool and is not on record yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slotsmith.model.launch import LaunchIntent
from slotsmith.model.launch_error import JoinFailures, LaunchFailures
from slotsmith.model.record import InstanceRecord, Move, StatisticsSpan
from slotsmith.store.base import Changes


class Pending:
    """Gathers changes until they are taken to be written; of rows with one key the newest stands.

    Writes are carried out in the order in which they are taken. One that hangs may yet succeed, or fail, when later
    ones have been taken. So what is taken beside a write under way holds all of that one too, and whatever becomes of
    either, an old row never replaces a newer one, and nothing is on record without what belongs to it: a launch that
    was given up, say, as open beside the next one.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._under_way: Changes | None = None
        self._clear()

    def _clear(self) -> None:
        self._intents: dict[str, LaunchIntent] = {}
        self._instances: dict[str, InstanceRecord] = {}
        self._moves: list[Move] = []
        self._launch_failures: dict[str, LaunchFailures] = {}
        self._spans: dict[tuple[str, float], StatisticsSpan] = {}
        self.join_failures: JoinFailures | None = None
        self.owns: bool | None = None
        self.foresight: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        rows = (self._intents, self._instances, self._moves, self._launch_failures, self._spans)
        return any(rows) or any(each is not None for each in (self.join_failures, self.owns, self.foresight))

    def intent(self, intent: LaunchIntent) -> None:
        self._intents[intent.token] = intent

    def instance(self, record: InstanceRecord) -> None:
        self._instances[record.instance.id] = record

    def move(self, move: Move) -> None:
        self._moves.append(move)

    def launch_failures(self, offering: str, failures: LaunchFailures) -> None:
        self._launch_failures[offering] = failures

    def span(self, span: StatisticsSpan) -> None:
        self._spans[_span_key(span)] = span

    def take(self, now: float) -> Changes:
        """All of it as one value, to be told of by `written` or `put_back`; nothing is pending afterwards."""
        if self._under_way is not None:
            self._add_below(replace(self._under_way, moves=()))
        self._under_way = Changes(
            self._pool,
            now,
            intents=tuple(self._intents.values()),
            instances=tuple(self._instances.values()),
            moves=tuple(self._moves),
            launch_failures=self._launch_failures,
            join_failures=self.join_failures,
            spans=tuple(self._spans.values()),
            owns=self.owns,
            foresight=self.foresight,
        )
        self._clear()
        return self._under_way

    def written(self, changes: Changes) -> None:
        """These are on record."""
        if changes is self._under_way:
            self._under_way = None

    def put_back(self, changes: Changes) -> None:
        """These could not be written, or it is not known: what nothing taken since holds is pending again."""
        if changes is self._under_way:
            self._under_way = None
            self._add_below(changes)
        else:
            self._moves = [*changes.moves, *self._moves]

    def _add_below(self, older: Changes) -> None:
        """Rows from before those that are pending."""
        self._intents = {intent.token: intent for intent in older.intents} | self._intents
        self._instances = {record.instance.id: record for record in older.instances} | self._instances
        self._moves = [*older.moves, *self._moves]
        self._launch_failures = {**older.launch_failures, **self._launch_failures}
        self._spans = {_span_key(span): span for span in older.spans} | self._spans
        self.join_failures = older.join_failures if self.join_failures is None else self.join_failures
        self.owns = older.owns if self.owns is None else self.owns
        self.foresight = older.foresight if self.foresight is None else self.foresight


def _span_key(span: StatisticsSpan) -> tuple[str, float]:
    return span.instance_id, span.start
