"""Frozen values to rows and back, exactly."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from slotsmith.model.decision import Decision, Reason, Unmet
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import ErrorKind, JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering
from slotsmith.model.record import InstanceRecord, Move, Phase, StatisticsSpan, TerminationRecord
from slotsmith.model.resources import Resources
from slotsmith.store import schema
from slotsmith.store.base import Changes, DecisionRow
from slotsmith.store.errors import Unusable
from slotsmith.store.steering import action_values, steering_values

T = TypeVar("T")
Values = dict[str, Any]

# Views are many and alike from line to line; a higher level takes several times as long for a tenth of the size.
_COMPRESSION = 3


def decoded(decode: Callable[[Row[Any]], T], rows: Iterable[Row[Any]]) -> tuple[T, ...]:
    """The values of the rows. Raises `Unusable` when one of them cannot be read."""
    try:
        return tuple(map(decode, rows))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Unusable(
            f"holds a record that this version cannot read ({type(error).__name__}: {error}): "
            "use the version that wrote it, or move the store away"
        ) from error


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# A fleet has few different capacities and many instances: each is written and read once, and shared.
@lru_cache(maxsize=1024)
def _dump_resources(value: Resources) -> str:
    return dump(_resources_body(value))


@lru_cache(maxsize=1024)
def _load_resources(text: str) -> Resources:
    return _resources_of(json.loads(text))


def _resources_body(value: Resources) -> Values:
    body: Values = {"slots": value.slots, "cpus": value.cpus, "mem_gib": value.mem_gib}
    return body | {"extras": dict(value.extras)} if value.extras else body


def _resources_of(body: Mapping[str, Any]) -> Resources:
    return Resources(body["slots"], body["cpus"], body["mem_gib"], tuple(body.get("extras", {}).items()))


def dump_offering(value: Offering) -> str:
    return dump(
        {
            "instance_type": value.instance_type,
            "zone": value.zone,
            "market": value.market,
            "price": value.price,
            "capacity": _resources_body(value.capacity),
        }
    )


def _load_offering(text: str) -> Offering:
    body = json.loads(text)
    capacity = _resources_of(body["capacity"])
    return Offering(body["instance_type"], capacity, body["zone"], body["market"], body["price"])


def _intent_values(intent: LaunchIntent, changed_at: float) -> Values:
    return {
        "token": intent.token,
        "pool": intent.pool,
        "state": intent.state.value,
        "offering": dump_offering(intent.offering),
        "asked": intent.count,
        "granted": intent.granted,
        "answered_at": intent.answered_at,
        "attempts": intent.attempts,
        "created_at": intent.created_at,
        "changed_at": changed_at,
        "reason": intent.reason,
        "error": intent.error,
    }


def intent_of(row: Row[Any]) -> LaunchIntent:
    return LaunchIntent(
        token=row.token,
        pool=row.pool,
        offering=_load_offering(row.offering),
        count=row.asked,
        created_at=row.created_at,
        reason=row.reason,
        state=IntentState(row.state),
        granted=row.granted,
        answered_at=row.answered_at,
        attempts=row.attempts,
        error=row.error,
    )


def _dump_termination(value: TerminationRecord) -> str:
    return dump(
        {
            "reason": value.reason,
            "since": value.since,
            "phase": value.phase,
            "attempts": value.attempts,
            "last_attempt_at": value.last_attempt_at,
            "error": value.error,
        }
    )


def _load_termination(text: str) -> TerminationRecord:
    body = json.loads(text)
    return TerminationRecord(
        reason=Reason(body["reason"]),
        since=body["since"],
        phase=Phase(body["phase"]),
        attempts=body["attempts"],
        last_attempt_at=body["last_attempt_at"],
        error=body["error"],
    )


def _instance_values(pool: str, record: InstanceRecord) -> Values:
    instance, termination = record.instance, record.termination
    return {
        "pool": pool,
        "id": instance.id,
        "state": instance.state.value,
        "launched_at": instance.launched_at,
        "agent_name": instance.agent_name,
        "token": instance.token,
        "offering": instance.offering,
        "capacity": None if instance.capacity is None else _dump_resources(instance.capacity),
        "detail": instance.detail,
        "first_seen": record.first_seen,
        "joined_at": record.joined_at,
        "idle_since": record.idle_since,
        "missing_since": record.missing_since,
        "activity": record.activity,
        "termination": None if termination is None else _dump_termination(termination),
        "gone_at": record.gone_at,
    }


def record_of(row: Row[Any]) -> InstanceRecord:
    return InstanceRecord(
        Instance(
            id=row.id,
            state=InstanceState(row.state),
            launched_at=row.launched_at,
            agent_name=row.agent_name,
            token=row.token,
            offering=row.offering,
            capacity=None if row.capacity is None else _load_resources(row.capacity),
            detail=row.detail,
        ),
        first_seen=row.first_seen,
        joined_at=row.joined_at,
        idle_since=row.idle_since,
        missing_since=row.missing_since,
        activity=row.activity,
        termination=None if row.termination is None else _load_termination(row.termination),
        gone_at=row.gone_at,
    )


def _move_values(pool: str, move: Move) -> Values:
    return {
        "pool": pool,
        "instance_id": move.instance_id,
        "at": move.at,
        "state_before": None if move.before is None else move.before.value,
        "state_after": None if move.after is None else move.after.value,
        "note": move.note,
    }


def _state_of(text: str | None) -> InstanceState | None:
    return None if text is None else InstanceState(text)


def move_of(row: Row[Any]) -> Move:
    return Move(row.instance_id, row.at, _state_of(row.state_before), _state_of(row.state_after), row.note)


def _unmet_body(unmet: Unmet) -> Values:
    return {
        "count": unmet.count,
        "reason": unmet.reason,
        "tasks": None if unmet.tasks is None else str(unmet.tasks),
        "resources": None if unmet.tasks is None else _resources_body(unmet.tasks.resources),
    }


def decision_body(decision: Decision) -> Values | None:
    """What is kept of a decision, JSON-ready; None when it neither does anything nor leaves anything unmet."""
    if not (decision.launches or decision.terminations or decision.unmet):
        return None
    return {
        "launch": [
            {"offering": launch.offering.name, "count": launch.count, "reason": launch.reason}
            for launch in decision.launches
        ],
        "terminate": [{"id": each.id, "reason": each.reason.value} for each in decision.terminations],
        "unmet": [_unmet_body(unmet) for unmet in decision.unmet],
        "desired_new": decision.desired_new,
    }


def _decision_values(pool: str, decision: Decision | None) -> list[Values]:
    body = None if decision is None else decision_body(decision)
    return [] if decision is None or body is None else [{"pool": pool, "at": decision.at, "body": dump(body)}]


def decision_of(row: Row[Any]) -> DecisionRow:
    return DecisionRow(row.pool, row.at, json.loads(row.body), row.id)


def _launch_failures_values(pool: str, offering: str, failures: LaunchFailures) -> Values:
    return {
        "pool": pool,
        "offering": offering,
        "failures": failures.failures,
        "kind": None if failures.kind is None else failures.kind.value,
        "message": failures.message,
        "last_at": failures.last_at,
        "next_attempt_at": failures.next_attempt_at,
    }


def launch_failures_of(row: Row[Any]) -> tuple[str, LaunchFailures]:
    """The offering's name and its failures."""
    kind = None if row.kind is None else ErrorKind(row.kind)
    return row.offering, LaunchFailures(row.failures, kind, row.message, row.last_at, row.next_attempt_at)


def _join_failures_values(pool: str, failures: JoinFailures | None) -> list[Values]:
    if failures is None:
        return []
    return [{"pool": pool, "failures": failures.failures, "retry_at": failures.retry_at, "last_id": failures.last_id}]


def join_failures_of(row: Row[Any]) -> JoinFailures:
    return JoinFailures(row.failures, row.retry_at, row.last_id)


def _span_values(span: StatisticsSpan) -> Values:
    return {
        "pool": span.pool,
        "instance_id": span.instance_id,
        "slots": span.slots,
        "started_at": span.start,
        "ended_at": span.end,
        "price": span.price,
    }


def span_of(row: Row[Any]) -> StatisticsSpan:
    return StatisticsSpan(row.pool, row.instance_id, row.slots, row.started_at, row.ended_at, row.price)


def _view_values(pool: str, at: float, view: Mapping[str, Any] | None) -> list[Values]:
    if view is None:
        return []
    body = zlib.compress(dump(dict(view)).encode(), _COMPRESSION)
    return [{"pool": pool, "at": at, "complete": view.get("complete") is True, "body": body}]


def view_of(row: Row[Any]) -> tuple[float, Mapping[str, Any]]:
    """When it was recorded, and what."""
    return row.at, json.loads(zlib.decompress(row.body))


def _foresight_values(pool: str, at: float, body: Mapping[str, Any] | None) -> list[Values]:
    if body is None:
        return []
    return [{"pool": pool, "changed_at": at, "body": zlib.compress(dump(dict(body)).encode(), _COMPRESSION)}]


def foresight_of(row: Row[Any]) -> Mapping[str, Any]:
    body: Mapping[str, Any] = json.loads(zlib.decompress(row.body))
    return body


def summary_of(row: Row[Any]) -> Mapping[str, Any] | None:
    return None if row.summary is None else json.loads(row.summary)


def pool_values(changes: Changes) -> Values:
    """The columns of `pools` that these changes set; those left out stay as they are."""
    values: Values = {"name": changes.pool, "heartbeat": changes.alive_at}
    if changes.owns is not None:
        values["owns"] = changes.owns
    if changes.summary is not None:
        values["summary"] = dump(dict(changes.summary))
    return values


def rows_of(changes: Changes) -> list[tuple[Table, list[Values]]]:
    """The rows of every table but `pools`, in the order in which they are written."""
    pool, at = changes.pool, changes.at
    failures = changes.launch_failures.items()
    return [
        (schema.intents, [_intent_values(intent, at) for intent in changes.intents]),
        (schema.instances, [_instance_values(pool, record) for record in changes.instances]),
        (schema.moves, [_move_values(pool, move) for move in changes.moves]),
        (schema.decisions, _decision_values(pool, changes.decision)),
        (schema.launch_failures, [_launch_failures_values(pool, name, each) for name, each in failures]),
        (schema.join_failures, _join_failures_values(pool, changes.join_failures)),
        (schema.spans, [_span_values(span) for span in changes.spans]),
        (schema.views, _view_values(pool, at, changes.recorded_view)),
        (schema.steering, steering_values(pool, at, changes.steering)),
        (schema.foresight, _foresight_values(pool, at, changes.foresight)),
        (schema.actions, [action_values(action) for action in changes.actions]),
    ]
