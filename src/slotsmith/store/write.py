"""Statements that write rows, made once and used again.

A pass writes a few rows, and the library's way from a statement to the driver takes several times as long as they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


class Write:
    """Inserts rows that have values for `columns`.

    Unless the table is a `log`, a row whose key exists replaces that one: in the columns named by `replace` (None = all
    others). `text` is the statement.
    """

    def __init__(
        self,
        dialect: Dialect,
        table: Table,
        columns: Sequence[str],
        *,
        log: bool = False,
        replace: Iterable[str] | None = None,
    ) -> None:
        statement = postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
        compiled = (statement if log else _replacing(statement, table, replace)).compile(
            dialect=dialect, column_keys=list(columns)
        )
        self.text = str(compiled)
        self._order = compiled.positiontup
        # What the column types do to a value on its way in, where they do anything.
        found = ((name, table.columns[name].type.bind_processor(dialect)) for name in columns)
        self._processors = [(name, process) for name, process in found if process is not None]

    def __call__(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows, in the transaction of the connection."""
        connection.exec_driver_sql(self.text, [self._parameters(row) for row in rows])

    def _parameters(self, row: Mapping[str, Any]) -> Any:
        values = {**row, **{name: process(row[name]) for name, process in self._processors}}
        return values if self._order is None else tuple(map(values.__getitem__, self._order))


def _replacing(statement: sqlite.Insert | postgresql.Insert, table: Table, replace: Iterable[str] | None) -> Insert:
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns if column.name not in keys] if replace is None else replace
    return statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in names})
