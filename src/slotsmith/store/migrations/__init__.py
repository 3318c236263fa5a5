"""How the tables came to be, step by step; run when a store is opened.

To change the schema: add a revision under `versions/`, name it at the end of `REVISIONS`, and change `schema.py` to
match. A revision that was released is never changed.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from slotsmith.store.errors import Unusable

VERSION_TABLE = "slotsmith_version"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""From the oldest to the newest. Kept here too, so that a store that is up to date is opened without Alembic."""

# Alembic keeps the migration under way in a global of the process.
_one_at_a_time = threading.Lock()


def lacks_migrations(connection: Connection) -> bool:
    """Whether a database is empty or of an older version. Raises `Unusable` when it is of a newer one, or not ours."""
    names = inspect(connection).get_table_names()
    if VERSION_TABLE not in names:
        if names:
            raise Unusable("is the database of another program: name another file")
        return True
    version = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    # None: no revision is recorded, as after a downgrade by hand to before the first.
    if version is not None and version not in REVISIONS:
        raise Unusable(
            f"was written by a newer version of slotsmith (its schema is {version}, this version knows "
            f"{REVISIONS[-1]}): install that version, or use another store"
        )
    return version != REVISIONS[-1]


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring a database to that revision (the newest one), within the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, revision)
