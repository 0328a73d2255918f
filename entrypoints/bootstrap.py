"""The one place where adapters are constructed and handed to the use cases."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from adapters.clock import Daemons, SystemClock, SystemIds, Threads
from adapters.sql import SqlEventStore, open_store
from adapters.sql import migrate as migrations
from adapters.sql.engine import STALL_S, Database
from adapters.sql.health import DatabaseHealth
from adapters.sql.migrate import MigrationStatus
from application.accept import Acceptor
from application.bell import Bell, News, news_of
from application.committer import Committer
from application.dispatch import Dispatcher
from application.feed import Feed
from application.lease import LeaseKeeper
from application.logbook import Logbook
from application.lookups import Lookups
from application.measured_store import MeasuredStore
from application.measurements import Measurements
from application.operate import Operator
from application.ports import EventStore, Executor, StoreUnavailable
from application.provider_port import Searchable
from application.reading import Reader
from application.recorded import Recorded
from application.replay import Folds, Parts, Rebuilds
from application.report_ports import REPORTS, ReportStore
from application.report_reading import ReportReader
from application.reports import Projector, ReportRunner
from application.retention import Retention
from application.settings import Settings
from application.standing import StandingReader, Standings
from application.stored import Readers
from application.supervise import Supervisor
from entrypoints.bootstrap_providers import make_provider
from entrypoints.config import Config
from entrypoints.service import Service, Worker

__all__ = [
    "DatabaseMissing",
    "LogReader",
    "MigrationStatus",
    "NotMigrated",
    "Patient",
    "ReadOnly",
    "migrate",
    "migration_status",
    "open_log",
    "open_patient",
    "open_reader",
    "open_service",
]

STORE_THREADS = 8
"""Blocking calls at a time: one that commits, one that dispatches, and readers."""


EXAMINED_STALL_S = 4.0
"""Of a database that is examined: it has to say in time what keeps it."""

POLL_ALONE_S = 1.0
"""Where every email comes in through this process, which wakes its worker itself."""

POLL_SHARED_S = 0.05
"""Where other processes accept emails and can't be heard: on average they are seen after half of it."""


class NotMigrated(Exception):
    """The database's tables are not the ones this version works with."""


class DatabaseMissing(Exception):
    """There is no database yet to read from."""


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """A reader, the log to follow, reports, and how to let go of them."""

    reader: Reader
    feed: Feed
    close: Callable[[], Awaitable[None]]
    reports: ReportReader


def migrate(config: Config) -> None:
    """Bring the database to this version. Safe to run many times at once."""
    migrations.migrate(config.database_url())


def migration_status(config: Config) -> MigrationStatus:
    """How the database stands; changes nothing."""
    return migrations.migration_status(config.database_url())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """What most parts of a service need. `measured`: the store, where what is recorded is to be counted."""

    settings: Settings
    store: SqlEventStore
    measured: MeasuredStore
    executor: Threads
    clock: SystemClock
    ids: SystemIds
    logbook: Logbook
    name: str
    bell: Bell


def open_service(config: Config, *, worker: bool) -> Service:
    """Everything that serves, not yet started; with `worker`, it sends as well.

    On SQLite the caller holds the database's lock. Raises NotMigrated, StoreUnavailable, ConfigError.
    """
    settings, clock, logbook = config.settings(), SystemClock(), Logbook()
    _prepare(config)
    stall_s = min(STALL_S, settings.lease.total_seconds() / 3)
    store = open_store(config.database_url(), circuit=settings.circuit, stall_s=stall_s)
    measurements = Measurements(settings.providers)
    executor = Threads(STORE_THREADS)
    common = _Common(
        settings=settings,
        store=store,
        measured=MeasuredStore(store, clock, measurements),
        executor=executor,
        clock=clock,
        ids=SystemIds(),
        logbook=logbook,
        name=worker_name(),
        bell=store.bell(
            executor=executor,
            connecting=Daemons(),
            deaf=lambda reason: logbook.error("others_not_heard", reason=reason),
        ),
    )
    feed = Feed(
        store=store,
        executor=common.executor,
        troubled=lambda error: logbook.error("feed_not_read", reason=str(error)),
        hears=lambda: common.bell.hears,
    )
    workers: list[Dispatcher] = []

    def heard(news: News) -> None:
        feed.wake()
        for one in workers if news is News.WORK else ():
            one.wake()

    def told(news: News) -> None:
        heard(news)
        common.bell.ring(news)

    sending = _sending(config, common, told) if worker else None
    if sending is not None:
        workers.append(sending.dispatcher)
    service = _service(common, feed, lambda: told(News.WORK), sending, measurements)
    return replace(service, heard=heard)


def _sending(config: Config, common: _Common, told: Callable[[News], None]) -> Worker:
    """What claims emails and hands them to providers. `told` hears what there is that is new."""
    settings, exclusive = common.settings, config.sqlite_path() is not None
    providers = {one: make_provider(config, one) for one in config.providers}
    lookups = Lookups(
        store=common.measured,
        executor=common.executor,
        clock=common.clock,
        ids=common.ids,
        settings=settings,
        providers={
            one.name: one
            for one in providers.values()
            if settings.providers[one.name].lookup and isinstance(one, Searchable)
        },
        logbook=common.logbook,
        wake=lambda: told(News.WORK),
    )

    def observer(news: Callable[[Sequence[Recorded]], News]) -> Callable[[Sequence[Recorded]], None]:
        def observe(events: Sequence[Recorded]) -> None:
            common.logbook.recorded(events)
            lookups.observe(events)
            if events:
                told(news(events))

        return observe

    keeper = LeaseKeeper(
        worker=common.name,
        store=common.measured,
        executor=common.executor,
        clock=common.clock,
        ids=common.ids,
        settings=settings,
        logbook=common.logbook,
        observe=observer(lambda events: News.WORK),  # what the dead left
    )
    dispatcher = Dispatcher(
        store=common.measured,
        executor=common.executor,
        clock=common.clock,
        ids=common.ids,
        settings=settings,
        providers=providers,
        lease=keeper,
        logbook=common.logbook,
        observe=observer(news_of),
        poll_s=POLL_ALONE_S if exclusive else POLL_SHARED_S,
        hears=lambda: common.bell.hears,
        leaves=lambda: common.bell.ring(News.WORK),
    )
    return Worker(
        dispatcher=dispatcher,
        keeper=keeper,
        lookups=lookups,
        providers=tuple(providers.values()),
        recover_all=exclusive,
    )


def _service(
    common: _Common,
    feed: Feed,
    wake: Callable[[], None],
    sending: Worker | None,
    measurements: Measurements,
) -> Service:
    """What takes emails in, answers, operates, and keeps the house."""
    settings, store, executor, clock = common.settings, common.store, common.executor, common.clock
    ids, logbook, name = common.ids, common.logbook, common.name

    def committed(events: Iterable[Recorded]) -> None:
        logbook.recorded(events)
        wake()

    async def close() -> None:
        await common.bell.close()
        executor.close()
        store.close()

    committer = Committer(common.measured, executor, committed)
    return Service(
        settings=settings,
        store=store,
        executor=executor,
        clock=clock,
        committer=committer,
        acceptor=Acceptor(
            store=store, committer=committer, executor=executor, clock=clock, ids=ids, settings=settings
        ),
        reader=Reader(
            store=store, statuses=store.statuses, executor=executor, clock=clock, settings=settings
        ),
        operator=Operator(
            store=common.measured, executor=executor, ids=ids, settings=settings, logbook=logbook, wake=wake
        ),
        supervisor=Supervisor(logbook),
        logbook=logbook,
        feed=feed,
        reports=ReportRunner(
            projector=Projector(log=store, reports=store.reports, name=REPORTS, holder=name),
            executor=executor,
            clock=clock,
            logbook=logbook,
        ),
        report_reader=ReportReader(rows=store.report_rows, executor=executor, clock=clock),
        measurements=measurements,
        standings=Standings(reader=store.standings, executor=executor, clock=clock),
        retention=Retention(
            contents=store.retention,
            kept_for=settings.content_kept_for,
            holder=name,
            executor=executor,
            clock=clock,
            ids=ids,
            logbook=logbook,
        ),
        worker=sending,
        bell=common.bell,
        close=close,
        rebuilds=Rebuilds(
            Parts(
                folds=store.folds,
                log=store,
                reports=store.reports,
                executor=executor,
                clock=clock,
                holder=name,
            ),
            logbook,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReader:
    """The log as it is stored, its views, and what folds it; and how to let go of them."""

    stored: Readers
    folds: Folds
    close: Callable[[], None]


def open_log(config: Config) -> LogReader:
    """The log beside whoever writes. Raises DatabaseMissing, NotMigrated, StoreUnavailable."""
    store = _readable(config)
    return LogReader(stored=store.stored, folds=store.folds, close=store.close)


def _readable(config: Config) -> SqlEventStore:
    path = config.sqlite_path()
    if path is not None and not path.exists():
        raise DatabaseMissing(f"there is no database at {path}; `stagepost serve` makes one")
    if path is None and migration_status(config).pending:
        raise NotMigrated("the database is not migrated; run `stagepost migrate`")
    return open_store(config.database_url(), circuit=config.settings().circuit, read_only=True)


def open_reader(
    config: Config, troubled: Callable[[StoreUnavailable], None] = lambda error: None
) -> ReadOnly:
    """A reader beside whoever writes; `troubled`: see Feed. Raises DatabaseMissing, NotMigrated, StoreUnavailable."""
    store = _readable(config)
    settings = config.settings()
    threads = Threads(2)

    async def close() -> None:
        threads.close()
        store.close()

    reader = Reader(
        store=store,
        statuses=store.statuses,
        executor=threads,
        clock=SystemClock(),
        settings=settings,
    )
    reports = ReportReader(rows=store.report_rows, executor=threads, clock=SystemClock())
    return ReadOnly(reader, Feed(store=store, executor=threads, troubled=troubled), close, reports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A database to be examined; `executor` runs what may hang. On SQLite nothing is written."""

    health: DatabaseHealth
    store: EventStore
    standings: StandingReader
    reports: ReportStore
    executor: Executor
    close: Callable[[], None]


def open_patient(config: Config, *, writes: bool = False) -> Patient:
    """A database as it is, migrated or not; nothing is opened yet. `writes`: `store.check` is to write to SQLite, of
    which the caller holds the lock."""
    settings, url = config.settings(), config.database_url()
    health = DatabaseHealth(Database(url, stall_s=EXAMINED_STALL_S, read_only=True))
    store = open_store(url, circuit=settings.circuit, stall_s=EXAMINED_STALL_S, read_only=not writes)

    def close() -> None:
        health.close()
        store.close()

    return Patient(
        health=health,
        store=store,
        standings=store.standings,
        reports=store.reports,
        executor=Daemons(),
        close=close,
    )


def worker_name() -> str:
    """A name no other worker has, now or ever."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def _prepare(config: Config) -> None:
    """SQLite migrates itself; PostgreSQL is migrated by an operator, once for all machines."""
    path = config.sqlite_path()
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(str(error)) from error
        migrate(config)
    elif migration_status(config).pending:
        raise NotMigrated("the database is not migrated; run `stagepost migrate`")
