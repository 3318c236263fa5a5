"""What has changed in a pool and is not on record yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from slotsmith.model.launch import LaunchIntent
from slotsmith.model.launch_error import JoinFailures, LaunchFailures
from slotsmith.model.record import InstanceRecord, Move, StatisticsSpan
from slotsmith.store.base import Changes

T = TypeVar("T")


class Pending:
    """Gathers changes until they are taken to be written; of rows with one key the newest stands."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._taken: list[Changes] = []
        self._settled: list[Changes] = []
        self._clear()

    def _clear(self) -> None:
        self._intents: dict[str, LaunchIntent] = {}
        self._instances: dict[str, InstanceRecord] = {}
        self._moves: list[Move] = []
        self._launch_failures: dict[str, LaunchFailures] = {}
        self._spans: dict[tuple[str, float], StatisticsSpan] = {}
        self.join_failures: JoinFailures | None = None
        self.owns: bool | None = None

    def __bool__(self) -> bool:
        rows = (self._intents, self._instances, self._moves, self._launch_failures, self._spans)
        return any(rows) or self.join_failures is not None or self.owns is not None

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
        """All of it as one value, to be told of by `written` or `put_back`; nothing is pending afterwards.

        What a write under way holds is written once more (but for the history): that one may fail when this one has
        worked, and a launch that was given up must not be on record as open beside the next one.
        """
        intents: dict[str, LaunchIntent] = {}
        instances: dict[str, InstanceRecord] = {}
        spans: dict[tuple[str, float], StatisticsSpan] = {}
        launch_failures: dict[str, LaunchFailures] = {}
        join_failures, owns = self.join_failures, self.owns
        for earlier in self._taken:
            intents |= {intent.token: intent for intent in earlier.intents}
            instances |= {record.instance.id: record for record in earlier.instances}
            spans |= {_span_key(span): span for span in earlier.spans}
            launch_failures |= earlier.launch_failures
        for earlier in reversed(self._taken):
            join_failures = earlier.join_failures if join_failures is None else join_failures
            owns = earlier.owns if owns is None else owns
        changes = Changes(
            self._pool,
            now,
            intents=tuple((intents | self._intents).values()),
            instances=tuple((instances | self._instances).values()),
            moves=tuple(self._moves),
            launch_failures=launch_failures | self._launch_failures,
            join_failures=join_failures,
            spans=tuple((spans | self._spans).values()),
            owns=owns,
        )
        self._clear()
        self._taken.append(changes)
        return changes

    def written(self, changes: Changes) -> None:
        """These are on record."""
        self._settled.append(changes)
        # What was taken behind a write that is not settled yet is needed to tell old rows from new ones.
        while self._taken and any(self._taken[0] is each for each in self._settled):
            first = self._taken.pop(0)
            self._settled = [each for each in self._settled if each is not first]

    def put_back(self, changes: Changes) -> None:
        """These could not be written, or it is not known: they are pending again, where nothing newer has come since.

        A write that hangs may fail when later ones have long been taken, and its rows must not replace theirs.
        """
        position = next(number for number, each in enumerate(self._taken) if each is changes)
        newer = self._taken[position + 1 :]

        def left(rows: Iterable[T], key: Callable[[T], object], of: Callable[[Changes], Iterable[T]]) -> list[T]:
            known = {key(row) for later in newer for row in of(later)}
            return [row for row in rows if key(row) not in known]

        intents = left(changes.intents, lambda intent: intent.token, lambda later: later.intents)
        instances = left(changes.instances, lambda record: record.instance.id, lambda later: later.instances)
        spans = left(changes.spans, _span_key, lambda later: later.spans)
        failures = left(
            changes.launch_failures.items(), lambda item: item[0], lambda later: later.launch_failures.items()
        )
        self._intents = {intent.token: intent for intent in intents} | self._intents
        self._instances = {record.instance.id: record for record in instances} | self._instances
        self._moves = [*changes.moves, *self._moves]
        self._launch_failures = {**dict(failures), **self._launch_failures}
        self._spans = {_span_key(span): span for span in spans} | self._spans
        if self.join_failures is None and all(later.join_failures is None for later in newer):
            self.join_failures = changes.join_failures
        if self.owns is None and all(later.owns is None for later in newer):
            self.owns = changes.owns
        self.written(changes)


def _span_key(span: StatisticsSpan) -> tuple[str, float]:
    return span.instance_id, span.start
