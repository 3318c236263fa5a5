"""What people do by hand as rows, and back."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import Row

from slotsmith.model.steering import Action, Pause, Steering

Values = dict[str, Any]


def steering_values(pool: str, at: float, value: Steering | None) -> list[Values]:
    """The row of what is set by hand; none when it has not changed."""
    if value is None:
        return []
    pause = value.pause
    body = {
        "pause": pause and {"since": pause.since, "who": pause.who, "why": pause.why},
        "limits": dict(value.limits),
        # JSON has no infinity.
        "kept": {i: None if math.isinf(until) else until for i, until in value.kept.items()},
        "forced": sorted(value.forced),
    }
    return [{"pool": pool, "changed_at": at, "body": json.dumps(body)}]


def steering_of(row: Row[Any]) -> Steering:
    body = json.loads(row.body)
    kept = {i: math.inf if until is None else until for i, until in body["kept"].items()}
    forced = frozenset(body.get("forced", ()))
    return Steering(Pause(**body["pause"]) if body["pause"] else None, body["limits"], kept, forced)


def action_values(action: Action) -> Values:
    return {
        "pool": action.pool,
        "at": action.at,
        "who": action.who,
        "what": action.what,
        "why": action.why,
        "details": json.dumps(dict(action.details)),
    }


def action_of(row: Row[Any]) -> Action:
    return Action(row.at, row.pool, row.who, row.what, row.why, json.loads(row.details))
