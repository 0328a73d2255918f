"""Connections and transactions: durable by their settings, bounded in their waits, back after a failure."""

from __future__ import annotations

import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.sql import open_store, tables
from adapters.sql.dialect import Insert, Kind, Sql, stamp
from adapters.sql.engine import TURNS_MAX, Again, Database, Session, StatementRefused
from adapters.sql.event_store import SqlEventStore
from adapters.sql.migrate import migrate
from application.ports import Plan, StoreUnavailable
from application.recorded import StoredContent, Unit
from tests.adapters.sql_urls import KINDS, migrated_url
from tests.contract.event_store.given import T0, an_id, content_of, requested, unit
from tests.contract.event_store.given import append as appended
from tests.contract.event_store.given import request as asked

COUNT = Sql("SELECT count(*) FROM leases")
BACKEND = Sql("SELECT pg_backend_pid()")
ADD = Sql("INSERT INTO leases (worker, seen_at) VALUES ('w', :now)")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database of each kind."""
    return migrated_url(request.param, request)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The same, with connections."""
    database = Database(url, stall_s=1)
    yield database
    database.close()


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A migrated SQLite file."""
    migrated_url("sqlite", request)
    return tmp_path / "stagepost.db"


def with_attachment(octets: int) -> Unit:
    """A unit with so much to keep."""
    email_id = an_id()
    return unit(appended(f"email-{email_id}", 0, requested()), content=content_of(email_id, b"\xff" * octets))


# Settings


def test_sqlite_answers_a_commit_when_it_is_on_the_disk(file: Path) -> None:
    """WAL, and synchronous = FULL (2) on the connection that writes; the others can't write."""
    database = Database(f"sqlite:///{file}")
    seen = database.write(
        lambda session: [session.value(Sql(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
    )
    with pytest.raises(StoreUnavailable, match="readonly"):
        database.read(lambda session: session.run(ADD, now=T0))
    database.close()

    assert ["wal", 2] == seen


def test_a_session_on_postgresql_does_not_hold_the_others(request: pytest.FixtureRequest) -> None:
    """Bounds on waiting, in milliseconds; times in UTC; commits that are durable, whatever the role's default."""
    url = migrated_url("postgresql", request)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off',"
            " current_database()); END $$"
        )
    database = Database(url, stall_s=3)
    names = ("idle_in_transaction_session_timeout", "lock_timeout", "TimeZone", "synchronous_commit")
    seen = database.write(lambda session: [session.value(Sql(f"SHOW {name}")) for name in names])
    database.close()

    assert ["3s", "3s", "UTC", "on"] == seen


@pytest.mark.parametrize("name", ["plain.db", "with space.db", "50%25 ?#&=ü.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """It is a path, not a part of a URL."""
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(tmp_path / name)).render_as_string(hide_password=False)
    migrate(url)
    store = open_store(url)
    store.append([asked(an_id())])
    store.close()

    assert (tmp_path / name).exists()
    assert {name} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d"])
def test_what_can_not_work_is_refused(url: str) -> None:
    """At once, with a word on what would."""
    with pytest.raises(ValueError, match=r"name a file|use sqlite or postgresql"):
        open_store(url)


# Transactions


def test_work_that_fails_leaves_nothing(database: Database) -> None:
    """And its error comes through as it is; the connection is fit for the next."""

    def work(session: Session) -> None:
        session.run(ADD, now=stamp(T0) if session.kind == "sqlite" else T0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        database.write(work)

    assert 0 == database.read(lambda session: session.value(COUNT))
    assert 1 == database.write(lambda session: session.run(ADD, now=T0))


def test_work_is_repeated_where_something_came_in_between(database: Database) -> None:
    """Each turn begins anew, and knows that it is not the first; at some point it is given up."""
    turns: list[int] = []

    def work(session: Session) -> int:
        turns.append(session.turn)
        session.run(ADD, now=T0)
        if session.turn < 3:
            raise Again
        return session.turn

    def never(session: Session) -> None:
        turns.append(session.turn)
        raise Again("it moved")

    assert 3 == database.write(work)
    assert [0, 1, 2, 3] == turns
    assert 1 == database.read(lambda session: session.value(COUNT))
    with pytest.raises(StoreUnavailable, match="it moved"):
        database.write(never)
    assert list(range(TURNS_MAX)) == turns[4:]


@pytest.mark.parametrize(
    ("work", "waits"),
    [
        (lambda session: session.run(ADD, now=T0), True),
        (
            lambda session: session.value(
                Sql("INSERT INTO leases (worker, seen_at) VALUES ('w', :now) RETURNING token"), now=T0
            ),
            True,
        ),
        (lambda session: session.insert(Insert.into(tables.leases), [(7, "w", T0)]), True),
        (lambda session: session.rows(Sql("SELECT 1 FROM leases FOR UPDATE")), False),
    ],
    ids=["run", "value", "insert", "lock"],
)
def test_only_what_writes_waits_for_the_disk(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Session], object],
    waits: bool,
) -> None:
    """An idle worker locks rows many times a second."""
    database = Database(migrated_url("postgresql", request))
    statements: list[str] = []
    control = Session.control

    def noted(session: Session, text: str) -> None:
        statements.append(text)
        control(session, text)

    monkeypatch.setattr(Session, "control", noted)
    database.write(work)
    database.close()

    assert waits == (statements[-1] == "COMMIT")
    assert statements[-1].endswith("COMMIT")


def test_a_mistake_of_ours_is_not_called_an_outage(database: Database) -> None:
    """A constraint that no other writer can have to do with is neither repeated nor waited out."""
    turns: list[int] = []

    def work(session: Session) -> None:
        turns.append(session.turn)
        session.run(Sql("INSERT INTO leases (worker, seen_at) VALUES (NULL, :now)"), now=T0)

    with pytest.raises(StatementRefused):
        database.write(work)

    assert [0] == turns


def test_deadlocks_are_survived(request: pytest.FixtureRequest) -> None:
    """PostgreSQL ends one of two transactions that wait for each other; it is repeated."""
    database = Database(migrated_url("postgresql", request))
    database.write(lambda session: [session.run(ADD, now=T0) for _ in range(2)])
    both = threading.Barrier(2)
    turns: list[int] = []

    def work(first: int, second: int) -> None:
        def locking(session: Session) -> None:
            turns.append(session.turn)
            lock = Sql("SELECT 1 FROM leases WHERE token = :token FOR UPDATE")
            session.rows(lock, token=first)
            if session.turn == 0:
                both.wait(10)
            session.rows(lock, token=second)

        database.write(locking)

    threads = [threading.Thread(target=work, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    database.close()

    # The one that was ended may be back before the other has got its second lock, and be ended again.
    assert [0, 0, 1] == sorted(turns)[:3]


def test_a_lock_that_is_not_given_is_waited_for_only_so_long(url: str) -> None:
    """Somebody sits on it: the database is unavailable, not we frozen."""
    store = open_store(url, stall_s=0.5)
    store.append([asked(an_id())])
    email_id = store.read_all(0, 1)[0].stream.removeprefix("email-")
    other: Any
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url)
        other.execute("SELECT 1 FROM emails FOR UPDATE")
    before = time.monotonic()
    with closing(other), pytest.raises(StoreUnavailable):
        store.transact(Plan(emails=(email_id,)), lambda locked: [])
    took = time.monotonic() - before
    after = store.transact(Plan(emails=(email_id,)), lambda locked: [])
    store.close()

    assert 0.4 < took < 5
    assert {email_id} == set(after.locked.emails)


def test_no_connection_left_is_unavailable(file: Path) -> None:
    """One writes at a time; who waits too long hears it."""
    database = Database(f"sqlite:///{file}", stall_s=0.3)
    inside, done = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        inside.set()
        done.wait(10)

    thread = threading.Thread(target=database.write, args=(slow,))
    thread.start()
    inside.wait(10)
    with pytest.raises(StoreUnavailable, match="in use"):
        database.write(lambda session: None)
    done.set()
    thread.join()
    database.close()


# Failures of the file


def test_a_full_disk_is_unavailable_and_tears_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit isn't there, not even in part; once there is room, the same store goes on."""
    from adapters.sql import engine

    whole = engine._writes_to_sqlite

    def small(connection: Any, record: object) -> None:
        whole(connection, record)
        connection.execute("PRAGMA max_page_count = 150")

    monkeypatch.setattr(engine, "_writes_to_sqlite", small)
    store = open_store(f"sqlite:///{file}")
    store.append([asked(an_id())])
    with pytest.raises(StoreUnavailable, match="full"):
        store.append([asked(an_id()), with_attachment(2_000_000), asked(an_id())])
    store.append([asked(an_id())])

    assert 2 == len(store.read_all(0, 10)) == store.waiting()
    store.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """Whoever put it there."""
    path = tmp_path / "stagepost.db"
    path.write_bytes(b"This is not a database. " * 1000)
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable):
        store.append([asked(an_id())])
    with pytest.raises(StoreUnavailable):
        store.read_all(0, 1)
    store.close()


def test_reading_beside_the_writer(file: Path) -> None:
    """Another process may read what is committed, and can't write."""
    writer, reader = open_store(f"sqlite:///{file}"), open_store(f"sqlite:///{file}", read_only=True)
    writer.append([asked(an_id())])
    seen = reader.read_all(0, 10)
    with pytest.raises(StoreUnavailable):
        reader.append([asked(an_id())])
    writer.close()
    alone = reader.read_all(0, 10)
    reader.close()

    assert 1 == len(seen) == len(alone)


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """A database that isn't there is not there afterwards either."""
    store = open_store(f"sqlite:///{tmp_path}/none.db", read_only=True)
    with pytest.raises(StoreUnavailable):
        store.read_all(0, 1)
    store.close()

    assert [] == list(tmp_path.iterdir())


def test_check_writes(url: str) -> None:
    """Once it is a while since the last commit: a database that only reads is not ready."""
    store: SqlEventStore = open_store(url, stall_s=0.5)
    store.check()
    if url.startswith("sqlite"):
        other: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url)
        other.execute("LOCK TABLE checks IN EXCLUSIVE MODE")
    with closing(other):
        store.check()  # the commit of a moment ago is proof enough
        store._committed_at = float("-inf")
        with pytest.raises(StoreUnavailable):
            store.check()
    store.check()
    store.close()


def test_errors_do_not_tell_what_an_email_says(url: str) -> None:
    """They are logged with their causes; neither a content nor an address may be."""
    store = open_store(url)
    secret = "geheim@example.com"
    broken = StoredContent(email_id=an_id(), key=secret, salt=b"", content=content_of("1").content)
    object.__setattr__(broken, "email_id", None)
    with pytest.raises(StatementRefused) as caught:
        store.append([unit(appended(f"email-{an_id()}", 0, requested()), content=broken)])
    store.close()
    told = "".join(traceback.format_exception(caught.value))

    assert "email_id" in str(caught.value)
    assert secret not in told


@pytest.mark.parametrize("kind", KINDS)
def test_statements_are_written_once_for_both(kind: Kind) -> None:
    """Lists, tables of lists, locks, and casts that look like parameters."""
    statement = Sql(
        "SELECT a::text FROM EACH(:names) AS n(name) WHERE a = ANY(:ids) AND b = :b FOR UPDATE SKIP LOCKED"
    )
    expected = {
        "sqlite": "SELECT a::text FROM (SELECT value AS name FROM json_each(:names)) AS n"
        " WHERE a IN (SELECT value FROM json_each(:ids)) AND b = :b",
        "postgresql": "SELECT a::text FROM unnest(%(names)b::text[]) AS n(name)"
        " WHERE a = ANY(%(ids)b::text[]) AND b = %(b)s FOR UPDATE SKIP LOCKED",
    }

    assert expected[kind] == statement.text[kind]


def test_connections_as_old_as_one_that_is_gone_are_not_tried_one_after_the_other(
    request: pytest.FixtureRequest,
) -> None:
    """After the server was away all that the pool keeps are dead, and one repetition has to be enough."""
    url = migrated_url("postgresql", request)
    database = Database(url)
    all_open = threading.Barrier(4)
    ids: list[int] = []

    def hold(session: Session) -> None:
        ids.append(session.value(BACKEND))
        all_open.wait(10)

    threads = [threading.Thread(target=database.read, args=(hold,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%b::int[]) AS t(pid)", (ids,))
    fresh = database.read(lambda session: session.value(BACKEND))
    database.close()

    assert 4 == len({*ids})
    assert fresh not in ids
