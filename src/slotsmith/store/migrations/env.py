"""Run by Alembic for each migration, on the connection that it is handed."""

from alembic import context

from slotsmith.store.migrations import VERSION_TABLE
from slotsmith.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # True of SQLite too, since we begin its transactions ourselves: a migration happens whole or not at all.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
