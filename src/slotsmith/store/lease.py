"""The lease in the store, and the fence that keeps a replica which does not lead any more from writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql

from slotsmith.model.lease import Claim, Lease
from slotsmith.store.base import StoreError
from slotsmith.store.postgresql import cut_off_writers
from slotsmith.store.schema import lease
from slotsmith.store.sql import SqlStore

_ONLY = "leader"
"""The name of the one lease there is."""


class SqlLeases:
    """The lease of a store that several processes share. Its writes wait for no other write of this process."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def read(self) -> Lease | None:
        """The lease; None = nobody has ever had it."""
        with self._store.apart() as connection:
            row = connection.execute(select(lease).where(lease.c.name == _ONLY)).one_or_none()
        return None if row is None else _lease_of(row)

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        """Take the lease if it still is as it was seen; None = it is not.

        Waits for writes under the old fence that are under way, and any later one finds the new fence. One that takes
        too long is that of a process which stands still, and its connection is ended.
        """
        taken = Lease((seen.fence if seen else 0) + 1, 0, claim.holder, claim.address, claim.secret, now)
        if seen is not None and not seen.free:
            with self._store.apart() as connection:
                cut_off_writers(connection)
        values = {"name": _ONLY, **{name: getattr(taken, name) for name in Lease.__dataclass_fields__}}
        with self._store.apart() as connection:
            if seen is None:
                insert = postgresql.insert(lease).values(values).on_conflict_do_nothing().returning(lease.c.fence)
                return taken if connection.scalar(insert) is not None else None
            row = connection.execute(select(lease).where(lease.c.name == _ONLY).with_for_update()).one()
            if (row.fence, row.beat, row.holder) != (seen.fence, seen.beat, seen.holder):
                return None
            connection.execute(update(lease).where(lease.c.name == _ONLY).values(values))
        return taken

    def renew(self, mine: Lease) -> bool:
        """A sign of life; False = the lease has been taken."""
        with self._store.apart() as connection:
            return connection.execute(_of(mine).values(beat=lease.c.beat + 1)).rowcount == 1

    def release(self, mine: Lease) -> None:
        """Give it up, if it has not been taken."""
        with self._store.apart() as connection:
            connection.execute(_of(mine).values(holder="", address="", secret=""))

    def guard(self, mine: Callable[[], Lease | None]) -> Callable[[Connection], None]:
        """For `SqlStore.guard`: nothing is written unless `mine` is the lease, and is it until the transaction ends.

        Raises:
            StoreError: there is no such lease, or another replica has taken it.
        """

        def check(connection: Connection) -> None:
            held = mine()
            # Other writes, and signs of life, go on meanwhile; who takes the lease waits.
            query = select(lease.c.fence).where(lease.c.name == _ONLY).with_for_update(read=True, key_share=True)
            if held is None or connection.scalar(query) != held.fence:
                raise StoreError(f"{self._store} takes no writes of a replica that does not lead")

        return check


def _of(mine: Lease) -> Any:
    return update(lease).where(lease.c.name == _ONLY, lease.c.fence == mine.fence, lease.c.holder == mine.holder)


def _lease_of(row: Row[Any]) -> Lease:
    return Lease(row.fence, row.beat, row.holder, row.address, row.secret, row.since)
