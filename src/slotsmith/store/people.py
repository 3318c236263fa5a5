"""Who may do what, and who has done what: the tokens of the service and the record of changes by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select, update

from slotsmith.model.steering import Action
from slotsmith.store import codec
from slotsmith.store.schema import actions, tokens
from slotsmith.store.sql import SqlStore
from slotsmith.store.steering import action_of, action_values


class Role(StrEnum):
    """What a token lets do. Each of view, operate and admin may do all that those before it may."""

    VIEW = "view"
    PUSH = "push"
    """Push the view of one pool, and see that pool."""
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the store keeps it: `hash` is the SHA-256 of its secret. Times are epoch seconds, None = never."""

    id: str
    name: str
    role: Role
    hash: str
    created_at: float
    pool: str | None = None
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Whether it lets do anything now."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class People:
    """Reads and writes tokens and actions in a store. Every method may raise `StoreError`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def tokens(self) -> Sequence[Token]:
        """All that were ever made, oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at, tokens.c.id)).all()
        return codec.decoded(_token_of, rows)

    def add_token(self, token: Token, action: Action) -> None:
        """A new token, and who made it."""
        values = {name: getattr(token, name) for name in tokens.c.keys()}  # noqa: SIM118 - columns, not a mapping
        with self._store.writing() as connection:
            connection.execute(insert(tokens), [values | {"role": token.role.value}])
            connection.execute(insert(actions), [action_values(action)])

    def revoke(self, token_id: str, action: Action) -> bool:
        """A token lets do nothing from now on; False = there is none of that id, or it was revoked before."""
        which = (tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        with self._store.writing() as connection:
            done = connection.execute(update(tokens).where(*which).values(revoked_at=action.at)).rowcount > 0
            if done:
                connection.execute(insert(actions), [action_values(action)])
        return done

    def actions(self, pool: str | None = None, *, limit: int = 100) -> Sequence[Action]:
        """The newest changes by hand, newest first; of one pool, or of all and of none."""
        which = [] if pool is None else [actions.c.pool == pool]
        with self._store.reading() as connection:
            rows = connection.execute(select(actions).where(*which).order_by(actions.c.id.desc()).limit(limit)).all()
        return codec.decoded(action_of, rows)


def _token_of(row: Row[Any]) -> Token:
    return Token(row.id, row.name, Role(row.role), row.hash, row.created_at, row.pool, row.expires_at, row.revoked_at)
