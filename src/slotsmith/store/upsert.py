"""Rows that replace those with the same key, in the dialect of the database."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(dialect: str, table: Table, replace: Iterable[str] | None = None) -> Insert:
    """An insert that, where the primary key exists, sets the columns named by `replace` (None = all others)."""
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns if column.name not in keys] if replace is None else replace
    return statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in names})
