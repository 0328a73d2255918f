"""The event store on SQLite and PostgreSQL: one transaction for each call that writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from adapters.sql import content_store, leases, log, tables
from adapters.sql.bell import PostgresBell
from adapters.sql.dialect import Sql
from adapters.sql.engine import TURNS_MAX, Database, Session
from adapters.sql.follow import Follower
from adapters.sql.gates import Gates
from adapters.sql.rebuild import SqlFolds
from adapters.sql.report_rows import SqlReportRows
from adapters.sql.reports import SqlReports
from adapters.sql.retention import SqlEndedContents
from adapters.sql.standing import SqlStandings
from adapters.sql.statuses import SqlStatuses
from adapters.sql.stored import SqlReaders
from adapters.sql.transaction import GatesMissing, Transactions
from adapters.sql.views import Views
from adapters.sql.writer import Writer
from application.bell import Bell, Silence
from application.ports import Clock, Decide, Executor, Lease, Plan, StoreUnavailable, Transacted
from application.recorded import Committed, Conflict, Recorded, StoredContent, Unit
from domain.circuit import CircuitPolicy

T = TypeVar("T")

NOW = Sql("SELECT clock_timestamp()")
WAITING = Sql("""
    SELECT (SELECT count(*) FROM emails WHERE deadline_at IS NOT NULL)
         + (SELECT count(*) FROM attempts WHERE outcome = 'open')
""")
VERSION = Sql("SELECT version_num FROM alembic_version")
TABLES = Sql("SELECT " + ", ".join(f"(SELECT 1 FROM {name} LIMIT 1)" for name in tables.metadata.tables))
WRITE = Sql("""
    INSERT INTO checks (name, at) VALUES ('writable', :now) ON CONFLICT (name) DO UPDATE SET at = excluded.at
""")
FRESH_S = 1.0
"""A commit that is not older shows as well as a new one that the database can be written."""
REFUSED_S = 5.0
"""So long after it refused to record something, and recorded nothing since, the database counts as not writable: on a
full disk a row that takes no room may still be changed."""


class SqlEventStore:
    """An `EventStore` (see there for what its methods promise) on a migrated database."""

    def __init__(self, database: Database, *, clock: Clock | None, circuit: CircuitPolicy) -> None:
        """`clock`: stands in for the database's, for leases, gates and the queue."""
        self._database = database
        self._clock = clock
        self._gates = Gates(circuit)
        self._views = views = Views()
        self._writer = Writer(views)
        self._transactions = Transactions(writer=self._writer, views=views, gates=self._gates, now=self._now)
        self._follower = Follower(database)
        self._committed_at = -FRESH_S
        self._refused_at = -REFUSED_S
        self.statuses = SqlStatuses(database)
        self.standings = SqlStandings(database, self._now)
        self.folds = SqlFolds(database, circuit)
        self.stored = SqlReaders(database)
        self.reports = SqlReports(database, self._now)
        self.report_rows = SqlReportRows(database, self._now)
        self.retention = SqlEndedContents(database, self._follower, self._now)

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        if not units:
            return []
        return self._write(partial(self._writer.append, units=units), records=True)

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        for _ in range(TURNS_MAX):
            try:
                return self._write(partial(self._transactions.run, plan=plan, decide=decide), records=True)
            except GatesMissing as missing:
                self._write(partial(self._gates.create, names=missing.names))
        raise StoreUnavailable("rows of gates do not stay")

    def read_stream(self, stream: str) -> list[Recorded]:
        return self._database.read(lambda session: log.stream(session, stream))

    def read_all(self, after: int, limit: int) -> list[Recorded]:
        return self._follower.read(after, limit)

    def read_back(self, before: int, limit: int) -> list[Recorded]:
        return self._database.read(lambda session: log.back(session, before, limit))

    def end(self) -> int:
        return self._follower.end()

    def contents(self, email_ids: Sequence[str]) -> dict[str, StoredContent]:
        return self._database.read(lambda session: content_store.read(session, email_ids))

    def erase(self, email_id: str) -> None:
        def forget(session: Session) -> None:
            self._views.lock(session, [email_id])
            content_store.erase(session, [email_id])

        self._write(forget)

    def acquire_lease(self, worker: str) -> Lease:
        return self._write(lambda session: leases.acquire(session, worker, self._now(session)))

    def renew_lease(self, lease: Lease) -> bool:
        return self._write(lambda session: leases.renew(session, lease, self._now(session)))

    def release_lease(self, lease: Lease) -> None:
        self._write(lambda session: leases.release(session, lease))

    def stale_leases(self, unseen_for: timedelta) -> list[Lease]:
        return self._database.read(lambda session: leases.stale(session, unseen_for, self._now(session)))

    def waiting(self) -> int:
        waiting: int = self._database.read(lambda session: session.value(WAITING))
        return waiting

    def check(self) -> None:
        revision = self._database.read(_revision)
        if revision != tables.REVISION:
            raise StoreUnavailable(
                f"the database is at migration {revision}, not {tables.REVISION}: run `stagepost migrate`"
            )
        if time.monotonic() - self._refused_at < REFUSED_S:
            raise StoreUnavailable("it has just refused to record something")
        if time.monotonic() - self._committed_at > FRESH_S:
            self._write(lambda session: session.run(WRITE, now=self._now(session)))

    def bell(self, *, executor: Executor, connecting: Executor, deaf: Callable[[str], None]) -> Bell:
        """The way to other processes on this database; its arguments: see PostgresBell."""
        if self._database.kind == "sqlite":
            return Silence()
        return PostgresBell(self._database, executor=executor, connecting=connecting, deaf=deaf)

    def close(self) -> None:
        self._database.close()

    def _write(self, work: Callable[[Session], T], *, records: bool = False) -> T:
        """`records`: it is a matter of events, which `check` has to know."""
        wrote = False

        def watched(session: Session) -> T:
            nonlocal wrote
            result = work(session)
            wrote = session.wrote
            return result

        try:
            done = self._database.write(watched)
        except StoreUnavailable:
            if records:
                self._refused_at = time.monotonic()
            raise
        if wrote:  # a round that found nothing to do proves nothing
            self._committed_at = time.monotonic()
            if records:
                self._refused_at = -REFUSED_S
        return done

    def _now(self, session: Session) -> datetime:
        if self._clock is not None:
            return self._clock.now()
        if session.kind == "sqlite":
            return datetime.now(UTC)
        now: datetime = session.value(NOW)
        return now


def _revision(session: Session) -> str | None:
    """The migration that the database is at. Every table has to be there."""
    session.rows(TABLES)
    revision: str | None = session.value(VERSION)
    return revision
