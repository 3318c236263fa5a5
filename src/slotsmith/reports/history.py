"""What a pool did and what is on its way, from its record."""

from __future__ import annotations

from typing import Any

from slotsmith.store.base import Store


def history(store: Store, pool: str, last: int) -> dict[str, Any]:
    """The newest decisions and moves, the launches on the way and the failures, JSON-ready."""
    books = store.load(pool)
    return {
        "decisions": [{"at": row.at, **row.body} for row in store.decisions(pool, limit=last)],
        "moves": [
            {"at": move.at, "id": move.instance_id, "before": move.before, "after": move.after, "note": move.note}
            for move in store.moves(pool, limit=last)
        ],
        "intents": [
            {
                "token": intent.token,
                "offering": intent.offering.name,
                "count": intent.count,
                "state": intent.state,
                "asked_at": intent.created_at,
                "reason": intent.reason,
                "error": intent.error or None,
            }
            for intent in books.intents
        ],
        "launch_failures": {
            offering: {"failures": each.failures, "error": each.message, "next_attempt_at": each.next_attempt_at}
            for offering, each in books.launch_failures.items()
            if each.failures
        },
    }
