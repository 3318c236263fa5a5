"""The store in a SQL database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    StaticPool,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    true,
)

from slotsmith.model.launch import INTENT_TRANSITIONS, IntentState, LaunchIntent
from slotsmith.model.launch_error import NO_JOIN_FAILURES
from slotsmith.model.record import Move, StatisticsSpan
from slotsmith.model.steering import UNSTEERED
from slotsmith.store import codec
from slotsmith.store.base import Changes, DecisionRow, PoolBooks, StoreError
from slotsmith.store.connect import Access, prepare_file, sqlite_engine, transactions
from slotsmith.store.errors import told
from slotsmith.store.lock import StoreLock
from slotsmith.store.migrations import lacks_migrations, migrate
from slotsmith.store.place import Place
from slotsmith.store.postgresql import check_server, check_unused, server_engine
from slotsmith.store.schema import (
    actions,
    decisions,
    foresight,
    instances,
    intents,
    join_failures,
    launch_failures,
    moves,
    pools,
    spans,
    steering,
    views,
)
from slotsmith.store.steering import steering_of
from slotsmith.store.write import Write

# A status page reads while the daemon writes and nobody waits; what does wait is another program that holds the file
# (a backup, somebody's shell), and five seconds of it are well within the deadline of a write.
PATIENCE = 5.0

# Made once, as making one takes longer than asking it.
_ASKED = select(intents).where(intents.c.token.in_(bindparam("tokens", expanding=True))).with_for_update()
_SUMMARY = select(pools.c.summary).where(pools.c.name == bindparam("pool"))

_LOGS = (moves, decisions, views, actions)
"""Tables of which no row is ever replaced."""

_LIVE = (IntentState.OPEN.value, IntentState.GRANTED.value)
# Databases limit the parameters of one statement; the smallest limit still in use is 999.
_TOKENS_PER_QUERY = 500


def open_store(url: str, *, create: bool = True, read_only: bool = False, patience: float = PATIENCE) -> SqlStore:
    """Open the store at `url`: `sqlite:///PATH`, `sqlite://` for one in memory, or `postgresql+psycopg://...`.

    A missing SQLite database is made if `create`, and an older one is brought up to date. With `read_only` the
    database is opened as it is, for a reader beside the daemon. `patience`: seconds to wait for another program's lock.

    Raises:
        StoreError: it cannot be opened, is of a newer version, or (`read_only`) missing or of an older one.
    """
    place = Place.of(url)
    if place.path is not None:
        prepare_file(place, create=create and not read_only)
    if place.server is not None:
        engine = server_engine(place, patience=patience)
    else:
        engine = sqlite_engine(place, read_only=read_only, patience=patience)
    store = SqlStore(engine, place, read_only=read_only)
    try:
        store.bring_up_to_date(patience)
    except BaseException:
        store.close()
        raise
    return store


class SqlStore:
    """A `slotsmith.store.base.Store` in a SQL database, made by `open_store`. May be used from any thread.

    `on_commit` is told of all that is committed, in the thread that did it. `guard` is called within each transaction
    that writes a pool's books, and keeps it from happening by raising `StoreError`.
    """

    def __init__(self, engine: Engine, place: Place, *, read_only: bool = False) -> None:
        self._place = place
        self._read_only = read_only
        self.on_commit: Callable[[Changes], None] = lambda _: None
        self.guard: Callable[[Connection], None] = lambda _: None
        self._closed = False
        self._engine = engine
        self._engines = {access: transactions(engine, access) for access in Access}
        # A database in memory has one connection, hence one transaction at a time.
        self._shared = isinstance(engine.pool, StaticPool)
        self._turn = threading.Lock()
        # Kept open, as taking one out of the pool costs more than what most transactions write.
        self._writers: dict[Access, Connection] = {}
        self._writes: dict[tuple[str, ...], Write] = {}

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return str(self._place)

    def close(self) -> None:
        """Let go of the database. Further calls raise `StoreError`."""
        self._closed = True
        with told(self._place):
            # A write that hangs keeps its connection; nobody waits for it.
            if self._turn.acquire(blocking=False):
                for writer in self._writers.values():
                    writer.close()
                self._turn.release()
            self._engine.dispose()

    def lock(self) -> StoreLock:
        """The exclusive ownership that `slotsmith run` takes (`with store.lock(): ...`); readers need none."""
        return StoreLock(self._place)

    def bring_up_to_date(self, patience: float) -> None:
        """Run the migrations that the database lacks. Raises `StoreError`."""
        with self._transaction(Access.READ) as connection:
            if self._place.server is not None:
                check_server(connection)
            if not lacks_migrations(connection):
                return
        if self._read_only:
            raise StoreError(f"{self._place} is empty or of an older version: start slotsmith run, which sets it up")
        # A daemon of an older version may be at work on it, and would not know its tables again.
        with StoreLock(self._place, patience=patience), self._transaction(Access.DURABLE) as connection:
            if lacks_migrations(connection):
                if self.shared:
                    check_unused(connection)
                migrate(connection)

    def load(self, pool: str) -> PoolBooks:
        """The books of one pool, to start from; empty ones when it has none."""
        with self._transaction(Access.READ) as connection:
            head = connection.execute(select(pools).where(pools.c.name == pool)).one_or_none()
            live = _rows(connection, intents, pool)
            present = _rows(connection, instances, pool)
            launch = _rows(connection, launch_failures, pool)
            join = _rows(connection, join_failures, pool)
            steered = _rows(connection, steering, pool)
            learned = _rows(connection, foresight, pool)
            return PoolBooks(
                intents=tuple(
                    sorted(codec.decoded(codec.intent_of, live), key=lambda each: (each.created_at, each.token))
                ),
                instances=codec.decoded(codec.record_of, present),
                launch_failures=dict(codec.decoded(codec.launch_failures_of, launch)),
                join_failures=next(iter(codec.decoded(codec.join_failures_of, join)), NO_JOIN_FAILURES),
                owns=head is not None and head.owns,
                heartbeat=None if head is None else head.heartbeat,
                steering=next(iter(codec.decoded(steering_of, steered)), UNSTEERED),
                foresight=next(iter(codec.decoded(codec.foresight_of, learned)), None),
            )

    def commit(self, changes: Changes) -> None:
        """Write all of it, or nothing; on disk for good when `changes.must_be_durable`. Also moves the heartbeat.

        Raises:
            StoreError: it cannot be written, or an intent would make a move that `INTENT_TRANSITIONS` does not have,
                or would ask for something else under the same token.
        """
        pool = codec.pool_values(changes)
        tables = codec.rows_of(changes)
        with self._transaction(Access.DURABLE if changes.must_be_durable else Access.WRITE) as connection:
            self.guard(connection)
            self._check_intents(connection, changes.intents)
            self._write(connection, pools, [{"owns": False} | pool], [name for name in pool if name != "name"])
            for table, rows in tables:
                if rows:
                    self._write(connection, table, rows)
        self.on_commit(changes)

    def pools(self) -> Sequence[str]:
        """The pools that have books, by name."""
        with self._transaction(Access.READ) as connection:
            return connection.scalars(select(pools.c.name).order_by(pools.c.name)).all()

    def summary(self, pool: str) -> Mapping[str, Any] | None:
        """The last summary written for a pool; None when there is none."""
        with self._transaction(Access.READ) as connection:
            rows = connection.execute(_SUMMARY, {"pool": pool}).all()
            return next(iter(codec.decoded(codec.summary_of, rows)), None)

    def summary_marks(self) -> Mapping[str, str]:
        """Something that changes with each pool's summary, by pool; with a server only."""
        query = select(pools.c.name, func.md5(pools.c.summary)).where(pools.c.summary.is_not(None))
        with self._transaction(Access.READ) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def moves(self, pool: str, *, instance_id: str | None = None, limit: int = 100) -> Sequence[Move]:
        """The newest lines of history, oldest first."""
        which = [] if instance_id is None else [moves.c.instance_id == instance_id]
        with self._transaction(Access.READ) as connection:
            return codec.decoded(codec.move_of, _newest(connection, moves, limit, moves.c.pool == pool, *which))

    def decisions(
        self, pool: str, *, since: float = 0.0, limit: int = 100, before: int | None = None
    ) -> Sequence[DecisionRow]:
        """The newest decisions that did something or left something unmet, oldest first.

        `before`: only those with a lower number.
        """
        which = and_(decisions.c.pool == pool, decisions.c.at >= since)
        if before is not None:
            which = and_(which, decisions.c.id < before)
        with self._transaction(Access.READ) as connection:
            return codec.decoded(codec.decision_of, _newest(connection, decisions, limit, which))

    def spans(self, pool: str, start: float, end: float) -> Sequence[StatisticsSpan]:
        """Statistics spans that overlap [start, end), oldest first."""
        ends_after = or_(spans.c.ended_at.is_(None), spans.c.ended_at > start)
        query = select(spans).where(spans.c.pool == pool, spans.c.started_at < end, ends_after)
        with self._transaction(Access.READ) as connection:
            rows = connection.execute(query.order_by(spans.c.started_at, spans.c.instance_id))
            return codec.decoded(codec.span_of, rows)

    def recorded_views(self, pool: str, *, since: float = 0.0) -> Sequence[tuple[float, Mapping[str, Any]]]:
        """Recorded view changes, oldest first, from the last complete one at or before `since` on.

        From the first complete one when there is none so old: changes to a view that is not known tell nothing.
        """
        complete = and_(views.c.pool == pool, views.c.complete.is_(True))
        with self._transaction(Access.READ) as connection:
            first = connection.scalar(select(func.max(views.c.id)).where(complete, views.c.at <= since))
            if first is None:
                first = connection.scalar(select(func.min(views.c.id)).where(complete))
            if first is None:
                return ()
            query = select(views).where(views.c.pool == pool, views.c.id >= first).order_by(views.c.id)
            return codec.decoded(codec.view_of, connection.execute(query))

    def prune(self, before: float) -> None:
        """Forget what ended before `before` (epoch seconds): decisions, history, views, gone instances, their intents.

        Statistics stay. So do the intents of instances that are not gone, and the views that later ones build on.
        """
        present = exists().where(instances.c.token == intents.c.token, instances.c.gone_at.is_(None))
        with self._transaction(Access.WRITE) as connection:
            self.guard(connection)
            connection.execute(delete(moves).where(moves.c.at < before))
            connection.execute(delete(decisions).where(decisions.c.at < before))
            connection.execute(delete(instances).where(instances.c.gone_at < before))
            connection.execute(
                delete(intents).where(intents.c.state.not_in(_LIVE), intents.c.changed_at < before, ~present)
            )
            for pool in connection.scalars(select(pools.c.name)).all():
                _prune_views(connection, pool, before)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads, for the queries that other modules of the store make."""
        with self._transaction(Access.READ) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on disk when it ends, for what other modules of the store write."""
        with self._transaction(Access.DURABLE) as connection:
            yield connection

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """As `writing`, on a connection of its own: it waits for no other write of this process. With a server only."""
        with self._transaction(Access.APART) as connection:
            yield connection

    @property
    def shared(self) -> bool:
        """Whether several processes may work on it at once, so that one of them must lead."""
        return self._place.server is not None

    def _write(
        self, connection: Connection, table: Table, rows: Sequence[codec.Values], replace: Sequence[str] | None = None
    ) -> None:
        """Insert rows, all with the same columns; where their key exists, set the columns named by `replace`."""
        key = (table.name, *(replace or rows[0]))
        if key not in self._writes:
            log = table in _LOGS
            self._writes[key] = Write(self._engine.dialect, table, list(rows[0]), log=log, replace=replace)
        self._writes[key](connection, rows)

    @contextmanager
    def _transaction(self, access: Access) -> Iterator[Connection]:
        if self._closed:
            raise StoreError(f"{self._place} is closed")
        if self._read_only and access is not Access.READ:
            raise StoreError(f"{self._place} was opened for reading only")
        with told(self._place):
            if access in (Access.WRITE, Access.DURABLE):
                with self._turn, self._writer(access).begin():
                    yield self._writers[access]
            else:
                with self._turn if self._shared else nullcontext(), self._engines[access].begin() as connection:
                    yield connection

    def _writer(self, access: Access) -> Connection:
        """The connection for such writes; only for whoever has the turn."""
        if access not in self._writers:
            self._writers[access] = self._engines[access].connect()
        return self._writers[access]

    def _check_intents(self, connection: Connection, wanted: Sequence[LaunchIntent]) -> None:
        known: dict[str, tuple[IntentState, object]] = {}
        for start in range(0, len(wanted), _TOKENS_PER_QUERY):
            tokens = [intent.token for intent in wanted[start : start + _TOKENS_PER_QUERY]]
            rows = connection.execute(_ASKED, {"tokens": tokens})
            known |= {each.token: (each.state, _request(each)) for each in codec.decoded(codec.intent_of, rows)}
        for intent in wanted:
            state, request = known.get(intent.token, (intent.state, _request(intent)))
            if intent.state is not state and intent.state not in INTENT_TRANSITIONS[state]:
                raise StoreError(
                    f"{self._place} refused a change: launch intent {intent.token} is {state}, "
                    f"and cannot become {intent.state}"
                )
            if request != _request(intent):
                raise StoreError(
                    f"{self._place} refused a change: launch intent {intent.token} was written for another request"
                )
            known[intent.token] = (intent.state, request)


def _request(intent: LaunchIntent) -> tuple[object, ...]:
    """What is asked under a token, which stays the same as long as the token lives."""
    return intent.pool, intent.offering, intent.count


@lru_cache
def _of_pool(table: Table) -> Select[Any]:
    """The rows of a pool that matter at its start, in the order of the key, so that two runs see the same."""
    which = {intents: intents.c.state.in_(_LIVE), instances: instances.c.gone_at.is_(None)}.get(table, true())
    return select(table).where(table.c.pool == bindparam("pool"), which).order_by(*table.primary_key)


def _rows(connection: Connection, table: Table, pool: str) -> Sequence[Row[Any]]:
    return connection.execute(_of_pool(table), {"pool": pool}).all()


def _newest(connection: Connection, table: Table, limit: int, *which: ColumnElement[bool]) -> Sequence[Row[Any]]:
    rows = connection.execute(select(table).where(*which).order_by(table.c.id.desc()).limit(limit)).all()
    return rows[::-1]


def _prune_views(connection: Connection, pool: str, before: float) -> None:
    complete = and_(views.c.pool == pool, views.c.complete.is_(True), views.c.at <= before)
    base = connection.scalar(select(func.max(views.c.id)).where(complete))
    old = and_(views.c.pool == pool, views.c.at < before)
    connection.execute(delete(views).where(old if base is None else and_(old, views.c.id < base)))
