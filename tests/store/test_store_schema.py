"""The migrations make the tables that the code expects, and both are fit for PostgreSQL too."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table, create_engine, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from store_values import Opener

from slotsmith.store import migrations
from slotsmith.store.schema import metadata
from slotsmith.store.sql import SqlStore
from slotsmith.store.write import Write

TABLES = metadata.sorted_tables


def test_migrations_make_the_schema(store: SqlStore, path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_revisions_are_named_in_order() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [each.revision for each in script.walk_revisions()]
    assert tuple(reversed(found)) == migrations.REVISIONS


def test_records_of_an_older_store_are_kept(path: Path, opened: Opener) -> None:
    """A store of the first revision, which knew no activity."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrations.migrate(connection, "0001")
        connection.exec_driver_sql("INSERT INTO pools (name, owns) VALUES ('gpu', 1)")
        connection.exec_driver_sql(
            "INSERT INTO instances (pool, id, state, launched_at, agent_name, token, offering, detail, first_seen, "
            "joined_at, idle_since) VALUES ('gpu', 'i-1', 'running', 1.0, 'i-1', 't', 'o', '', 2.0, 3.0, 4.0)"
        )
    engine.dispose()
    (kept,) = opened().load("gpu").instances
    assert (kept.instance.id, kept.idle_since, kept.activity) == ("i-1", 4.0, None)


def test_every_table_is_named_in_the_store(store: SqlStore) -> None:
    assert {each.name for each in TABLES} == {
        "pools",
        "intents",
        "instances",
        "moves",
        "decisions",
        "launch_failures",
        "join_failures",
        "spans",
        "views",
        "steering",
        "foresight",
        "actions",
        "tokens",
        "lease",
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda each: each.name)
def test_statements_are_fit_for_postgresql(table: Table) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert "DOUBLE PRECISION" in str(CreateTable(table).compile(dialect=dialect))
    columns = [column.name for column in table.columns]
    assert "ON CONFLICT (" in Write(dialect, table, columns).text
    assert "ON CONFLICT" not in Write(dialect, table, columns, log=True).text
    assert table.name in str(insert(table).compile(dialect=dialect))
    assert "FOR UPDATE" in str(select(table).with_for_update().compile(dialect=dialect))
