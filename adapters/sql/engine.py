"""Connections and transactions on either database: who may write, what is repeated, what is given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    InvalidatePoolError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from adapters.sql.dialect import (
    BEGIN_READING,
    BEGIN_WRITING,
    END_WITHOUT_WRITING,
    REPEATABLE,
    Insert,
    Kind,
    Sql,
    parameters,
    stamp,
)
from adapters.sql.postgres_engine import READ_ONLY, postgres_engine, said
from application.ports import StoreUnavailable

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Stamp = Callable[[datetime | None], Any]

STALL_S = 10.0
"""How long anything here waits for a lock, a connection, or an answer from the network."""

TURNS_MAX = 8
"""How often a transaction is repeated because another writer got in between, before it is given up."""

READERS = 4
"""Connections to SQLite beside the one that writes."""

LOOK_AGAIN_S = 0.1
"""Pause between looks for a transaction whose COMMIT was not answered."""

NOT_OUR_FAULT = (OperationalError, InterfaceError, InternalError)
"""Connection gone, disk full, lock not given, server read-only; a bare DatabaseError is a file that is broken."""

UNDEFINED_TABLE = "42P01"
UNKNOWN_XID = "22023"
XACT_STATUS = Sql("SELECT pg_xact_status(CAST(CAST(:xid AS text) AS xid8))")
OPENED_AT = "opened_at"
IS_RECORDED = Sql("SELECT 1 FROM events WHERE event_id = :event_id")


def stamping(kind: Kind) -> Stamp:
    """What turns a time into what a row of this kind of database takes."""
    return stamp if kind == "sqlite" else lambda at: at


class Again(Exception):
    """Roll back and repeat: what the transaction was based on has changed."""


class StatementRefused(RuntimeError):
    """The database does not take what it was given: a mistake of ours, which waiting does not mend."""


class Session:
    """One transaction. `turn` counts its repetitions, from 0.

    `marker` is an event id it writes: whether it was committed can be looked up by it. `stamp` turns a time into
    what a row takes.

    Statements go to the driver's connection, of which SQLAlchemy keeps the pool and knows the errors: a transaction
    of few emails has twenty statements, and its own way to run one costs 15 µs of each (raw 2, in one run).
    """

    def __init__(self, connection: Connection, kind: Kind, lost: Callable[[], None], turn: int = 0) -> None:
        """`lost` hears that the connection is gone."""
        self._connection = connection
        self._lost = lost
        self._driver: Any = connection.connection.driver_connection
        self._error: type[Exception] = connection.dialect.loaded_dbapi.Error
        self.kind = kind
        self.turn = turn
        self.wrote = False
        self.marker: str | None = None
        self.xid: str | None = None
        self.stamp = stamping(kind)

    def rows(self, statement: Sql, **values: Any) -> Rows:
        """All rows that a statement returns."""
        self.wrote = self.wrote or statement.writes
        return self._told(self._fetched, statement.text[self.kind], parameters(self.kind, values))

    def value(self, statement: Sql, **values: Any) -> Any:
        """The first column of the first row; None: there is no row."""
        rows = self.rows(statement, **values)
        return rows[0][0] if rows else None

    def run(self, statement: Sql, **values: Any) -> int:
        """Run a statement that returns nothing; how many rows it changed."""
        self.wrote = self.wrote or statement.writes
        done = self._told(self._driver.execute, statement.text[self.kind], parameters(self.kind, values))
        changed: int = done.rowcount
        return changed

    def insert(self, into: Insert, rows: Rows) -> None:
        """Put the rows in; none is fine."""
        if rows:
            self.wrote = True
            run = self._driver.executemany if self.kind == "sqlite" else self._driver.execute
            self._told(run, into.text[self.kind], into.values(self.kind, rows))

    def control(self, text: str) -> None:
        """BEGIN, COMMIT, ROLLBACK."""
        self._told(self._driver.execute, text)

    def _fetched(self, text: str, values: Any) -> Rows:
        rows: Rows = self._driver.execute(text, values).fetchall()
        return rows

    def _told(self, run: Callable[..., T], *arguments: Any) -> T:
        """What `run` returns. What the driver raises is raised as SQLAlchemy would have: a connection that is gone is
        not used again, nor are those that were opened before it was. One to a server that takes no writes (any more)
        is as good as gone: a new one may lead to the server that does."""
        try:
            return run(*arguments)
        except self._error as error:
            dialect = self._connection.dialect
            # For the type checker it is any exception; `_error` is the driver's own.
            gone = dialect.is_disconnect(cast(Any, error), self._driver, None)
            gone = gone or getattr(error, "sqlstate", None) == READ_ONLY
            if gone:
                self._lost()
                self._connection.invalidate(error)
            raise DBAPIError.instance(
                None,
                None,
                error,
                self._error,
                hide_parameters=True,
                connection_invalidated=gone,
                dialect=dialect,
            ) from error


class Database:
    """One database. Its transactions raise StoreUnavailable where it does not answer; the next call reconnects."""

    def __init__(self, url: str, *, stall_s: float = STALL_S, read_only: bool = False) -> None:
        self.url = make_url(url)
        backend = self.url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ValueError(f"{backend} is not supported; use sqlite or postgresql")
        self.kind: Kind = "sqlite" if backend == "sqlite" else "postgresql"
        self._stall_s = stall_s
        if self.kind == "sqlite":
            path = self.url.database or ""
            self._reader = _sqlite(path, stall_s, READERS, writes=False)
            self._writer = self._reader if read_only else _sqlite(path, stall_s, 1, writes=True)
        else:
            self._writer = self._reader = postgres_engine(self.url, stall_s)

        self._lost_at = float("-inf")
        for engine in {self._reader, self._writer}:
            event.listen(engine, "connect", _note_time)
            event.listen(engine, "checkout", self._refuse_old)

    def _lost(self) -> None:
        """A connection is gone: those that were opened before will be, too."""
        self._lost_at = time.monotonic()

    def _refuse_old(self, _connection: object, record: Any, _checked_out: object) -> None:
        """What SQLAlchemy's pool does by itself where statements go through it: see `Session`."""
        if record.info[OPENED_AT] < self._lost_at:
            raise InvalidatePoolError

    def close(self) -> None:
        """Let go of every connection."""
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection that may write, without a transaction; for migrations."""
        with _available(), self._writer.connect() as connection:
            yield connection

    def apart(self, statement: str) -> Any:
        """A connection of the driver's that the pool knows nothing of, once `statement` is run on it. Whoever asked for
        it closes it."""
        with _available(), self._writer.connect() as connection:
            Session(connection, self.kind, self._lost).control(statement)
            driver = connection.connection.driver_connection
            connection.detach()
            connection.invalidate()  # or leaving this block would close it
            return driver

    def read(self, work: Callable[[Session], T]) -> T:
        """Do `work`, which only reads, in one snapshot; once more where the connection turns out to be gone."""
        with _available():
            try:
                return self._read_once(work)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read_once(work)

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with self._reader.connect() as connection:
            session = Session(connection, self.kind, self._lost)
            session.control(BEGIN_READING[self.kind])
            result = work(session)
            session.control("COMMIT")
            return result

    def write(self, work: Callable[[Session], T]) -> T:
        """Do `work` in one transaction and commit it.

        `work` is repeated where another writer got in between, and once where the connection was gone before
        COMMIT was sent: nothing of the turn before is recorded then.
        """
        lost = False
        for turn in range(TURNS_MAX):
            try:
                with _available():
                    return self._write_once(work, turn)
            except _Repeatable as error:
                if error.disconnected and lost:
                    raise StoreUnavailable(error.reason) from error
                lost = lost or error.disconnected
                reason = error.reason
        raise StoreUnavailable(f"gave up after {TURNS_MAX} tries: {reason}")

    def _write_once(self, work: Callable[[Session], T], turn: int) -> T:
        with self._writer.connect() as connection:
            session = Session(connection, self.kind, self._lost, turn)
            try:
                session.control(BEGIN_WRITING[self.kind])
                result = work(session)
            except BaseException as error:
                self._abandon(connection, error)
                if (repeatable := _repeatable(error)) is not None:
                    raise repeatable from error
                raise
            try:
                session.control("COMMIT" if session.wrote else END_WITHOUT_WRITING[self.kind])
                return result
            except DBAPIError as error:
                self._abandon(connection, error)
                unanswered = error
        # The answer is lost, not necessarily the transaction.
        if session.marker is None or not self._was_recorded(session.marker, session.xid):
            raise unanswered
        return result

    def _was_recorded(self, event_id: str, xid: str | None) -> bool:
        """Look for a transaction on a new connection, as long as it may take the server to come back."""
        until = time.monotonic() + self._stall_s
        while True:
            try:
                with self._writer.connect() as connection:
                    session = Session(connection, self.kind, self._lost)
                    # The old connection's backend may still be at it: only what has ended can be judged.
                    if xid is None or session.value(XACT_STATUS, xid=xid) != "in progress":
                        return bool(session.rows(IS_RECORDED, event_id=event_id))
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) == UNKNOWN_XID:
                    xid = None  # another server took over
                elif time.monotonic() > until:
                    raise
            if time.monotonic() > until:
                raise StoreUnavailable("a COMMIT was not answered, and is still under way")
            time.sleep(LOOK_AGAIN_S)

    def _abandon(self, connection: Connection, error: BaseException) -> None:
        """Roll back; drop a connection to SQLite that failed, for a later one to find the file as it is then."""
        failed = isinstance(error, DBAPIError) and not isinstance(error, IntegrityError)
        if connection.invalidated:
            return
        with suppress(DBAPIError):
            if self.kind == "sqlite" and failed:
                connection.invalidate()
            else:
                connection.exec_driver_sql("ROLLBACK")


class _Repeatable(Exception):
    def __init__(self, reason: str, *, disconnected: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.disconnected = disconnected


def _repeatable(error: BaseException) -> _Repeatable | None:
    if isinstance(error, Again):
        return _Repeatable(str(error) or "other writers got in between", disconnected=False)
    if isinstance(error, DBAPIError):
        if {getattr(error.orig, name, None) for name in ("sqlstate", "sqlite_errorname")} & REPEATABLE:
            return _Repeatable(said(error.orig), disconnected=False)
        if error.connection_invalidated:
            return _Repeatable(said(error.orig), disconnected=True)
    return None


@contextmanager
def _available() -> Iterator[None]:
    """Say with one exception that the database does not answer."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("every connection is in use") from error
    except DBAPIError as error:
        missing = getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE
        if missing or isinstance(error, NOT_OUR_FAULT) or type(error) is DatabaseError:
            raise StoreUnavailable(said(error.orig)) from error
        refused = f"{type(error.orig).__name__}: {said(error.orig)}"
        raise StatementRefused(refused) from None  # its details quote the row


def _sqlite(path: str, stall_s: float, connections: int, *, writes: bool) -> Engine:
    if path in ("", ":memory:"):
        raise ValueError("an SQLite database in memory has one connection only; name a file")
    mode = {"mode": "rwc" if writes else "ro", "uri": "true"}
    engine = create_engine(
        URL.create("sqlite", database=f"file:{quote(path)}", query=mode),
        isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are ours
        hide_parameters=True,  # an error may be logged, what an email says may not
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=stall_s,
        connect_args={"check_same_thread": False, "timeout": stall_s},
    )
    event.listen(engine, "connect", _writes_to_sqlite if writes else _reads_from_sqlite)
    return engine


def _writes_to_sqlite(connection: Any, _record: object) -> None:
    """WAL, and every commit on the disk before it is answered."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -32000")  # KiB


def _note_time(_connection: object, record: Any) -> None:
    record.info[OPENED_AT] = time.monotonic()


def _reads_from_sqlite(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")
