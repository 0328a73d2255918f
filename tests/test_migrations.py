"""The schema: what the migrations make is what the code works with, and the log in it is append-only."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from adapters.sql import migrate as migrating
from adapters.sql import open_store
from adapters.sql.dialect import Insert
from adapters.sql.engine import Database, StatementRefused
from adapters.sql.migrate import MigrationStatus, migrate, migration_status, pending
from adapters.sql.tables import REVISION, metadata
from adapters.virtual import T0
from application.ports import Plan, StoreUnavailable
from application.recorded import email_stream
from domain.circuit import CircuitPolicy
from domain.routing import Lane
from tests.adapters.sql_urls import KINDS, empty_url, migrated_url
from tests.contract.event_store.given import an_id, append, failed, request, started, unit

ROOT = Path(__file__).resolve().parent.parent
TIME = "2026-11-24T08:00:00.000001Z"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    return empty_url(request.param, request)


@pytest.fixture(params=KINDS)
def migrated(request: pytest.FixtureRequest) -> str:
    """A migrated database of each kind."""
    return migrated_url(request.param, request)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection of somebody else's."""
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def tables(url: str) -> set[str]:
    """The names of all tables there are."""
    with connected(url) as connection:
        return set(inspect(connection).get_table_names())


def row(position: int, stream: str = "email-1", version: int = 1, event_id: str = "e1") -> dict[str, Any]:
    """A row of `events`."""
    return {
        "position": position,
        "event_id": event_id,
        "stream": stream,
        "version": version,
        "type": "Held",
        "at": TIME,
        "meta": "{}",
        "data": "{}",
        "hash": b"h" * 32,
    }


INSERT = (
    "INSERT INTO events (position, event_id, stream, version, type, at, meta, data, hash) "
    "VALUES (:position, :event_id, :stream, :version, :type, :at, :meta, :data, :hash)"
)


def test_migrations_make_what_the_tables_say(migrated: str) -> None:
    """Columns, types, nullability, keys and indexes; nothing more and nothing less."""
    with connected(migrated) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)

    assert [] == differences
    assert {*metadata.tables, "alembic_version"} == tables(migrated) - {"sqlite_sequence"}


def test_indexes_cover_the_rows_they_are_meant_for(migrated: str) -> None:
    """What Alembic doesn't compare: the conditions of partial indexes."""
    with connected(migrated) as connection:
        dialect = connection.dialect.name
        found = {
            str(index["name"]): str(index.get("dialect_options", {}).get(f"{dialect}_where", ""))
            for table in metadata.tables
            for index in inspect(connection).get_indexes(table)
        }
    conditions = {name: condition for name, condition in found.items() if condition != ""}

    assert {"emails_waiting", "emails_deadline", "emails_provider", "attempts_open"} == set(conditions)
    assert "lane IS NOT NULL" in conditions["emails_waiting"]
    assert "open" in conditions["attempts_open"]


def test_storage_settings_are_those_of_the_tables(request: pytest.FixtureRequest) -> None:
    """What Alembic doesn't compare: fill factors, and how tables are vacuumed."""
    wanted = {
        (table.name, f"{name}={value}")
        for table in metadata.tables.values()
        for name, value in (table.dialect_options["postgresql"]["with"] or {}).items()
    }
    with connected(migrated_url("postgresql", request)) as connection:
        found = connection.execute(
            text(
                "SELECT relname, unnest(reloptions) FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
                " UNION ALL SELECT c.relname, 'toast.' || unnest(t.reloptions)"
                " FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid"
                " WHERE c.relnamespace = 'public'::regnamespace"
            )
        )

        assert wanted == {(name, said) for name, said in found}


def test_text_of_keys_sorts_as_python_does(request: pytest.FixtureRequest) -> None:
    """Else writers on PostgreSQL would lock rows in another order than they mean to."""
    url = migrated_url("postgresql", request)
    with connected(url) as connection:
        other = connection.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND column_name IN ('stream', 'event_id', 'email_id', 'lane', 'name', 'digest', 'worker')"
                " AND collation_name IS DISTINCT FROM 'C'"
            )
        )

        assert [] == other.all()


def test_the_code_knows_the_last_migration(url: str) -> None:
    """`check` compares with it, without Alembic's help."""
    before, is_pending = migration_status(url), pending(url)
    there = tables(url) if "postgresql" in url else Path(url.removeprefix("sqlite:///")).exists()
    migrate(url)

    assert (MigrationStatus(current=None, head=REVISION, pending=("0001", "0002", "0003")), True) == (
        before,
        is_pending,
    )
    assert not there, "to ask for the status makes nothing"
    assert MigrationStatus(current=REVISION, head=REVISION, pending=()) == migration_status(url)
    assert not pending(url)


def test_migrating_again_changes_nothing(migrated: str) -> None:
    """Neither schema nor log."""
    with connected(migrated) as connection:
        connection.execute(text(INSERT), row(1))
        connection.commit()
    migrate(migrated)
    with connected(migrated) as connection:
        assert 1 == connection.execute(text("SELECT count(*) FROM events")).scalar()


def test_what_waits_for_another_try_is_in_the_lane_that_its_events_say(migrated: str) -> None:
    """A database of an earlier version, that knew no lanes of retries; new mail stays where it is."""
    store = open_store(migrated, circuit=CircuitPolicy())
    tried, fresh = an_id(), an_id()
    store.append([request(tried), request(fresh)])
    events = (started(), failed(spent=True, retry_at=T0))
    store.transact(Plan(), lambda locked: [unit(append(email_stream(tried), 1, *events))])
    store.close()
    before = lanes(migrated)
    with connected(migrated) as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        connection.commit()
    old = lanes(migrated)
    migrate(migrated)

    assert {tried: '["","default",[],["ses"],null]', fresh: before[fresh]} == old
    assert before == lanes(migrated)
    assert Lane.parse(before[tried]).tried


def lanes(url: str) -> dict[str, str]:
    """The lane of every email, as stored."""
    with connected(url) as connection:
        return {row[0]: row[1] for row in connection.execute(text("SELECT email_id, lane FROM emails"))}


def test_many_may_migrate_at_once(url: str) -> None:
    """Four processes, as four machines that start together: all of them are content."""
    code = f"from adapters.sql.migrate import migrate; migrate({url!r})"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]

    assert [0] * 4 == [process.wait(timeout=120) for process in processes]
    assert not pending(url)


def test_a_migration_is_whole_or_not_at_all(url: str) -> None:
    """One that fails half-way leaves the database as it was."""
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE contents (foreign_to_us int)"))
        connection.commit()
    with pytest.raises((StoreUnavailable, StatementRefused)):
        migrate(url)

    assert {"contents"} == tables(url)


def test_a_newer_database_is_left_alone(migrated: str) -> None:
    """An older version of the code neither uses it nor touches it."""
    with connected(migrated) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    for ask in (migration_status, migrate):
        with pytest.raises(StoreUnavailable, match="9999"):
            ask(migrated)


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Said as the store says it."""
    with pytest.raises(StoreUnavailable):
        migrate(f"sqlite:///{tmp_path}/no/such/folder.db")
    with pytest.raises(StoreUnavailable):
        migration_status("postgresql://nobody@127.0.0.1:1/none")


def test_it_goes_back_to_nothing(migrated: str) -> None:
    """For development: what `downgrade` leaves can be migrated again."""
    database = Database(migrated)
    with database.connected() as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    database.close()
    left = tables(migrated) - {"sqlite_sequence"}
    migrate(migrated)

    assert {"alembic_version"} == left
    assert not pending(migrated)


# The log is append-only, whoever writes with whatever client.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}' WHERE position = 1",
        "UPDATE events SET position = 7",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 1",
    ],
)
def test_no_event_is_changed_or_deleted(migrated: str, statement: str) -> None:
    """Not even to the same value."""
    with connected(migrated) as connection:
        connection.execute(text(INSERT), row(1))
        connection.commit()
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))
        connection.rollback()

        assert 1 == connection.execute(text("SELECT count(*) FROM events WHERE position = 1")).scalar()


@pytest.mark.parametrize("statement", ["TRUNCATE events", "TRUNCATE events CASCADE"])
def test_the_log_is_not_truncated(request: pytest.FixtureRequest, statement: str) -> None:
    """PostgreSQL asks no DELETE trigger about it; nor any, usually, in a session that replays replication."""
    with connected(migrated_url("postgresql", request)) as connection:
        connection.execute(text(INSERT), row(1))
        connection.commit()
        for role in ("origin", "replica"):
            connection.execute(text(f"SET session_replication_role = {role}"))
            with pytest.raises(DBAPIError, match="append-only"):
                connection.execute(text(statement))
            connection.rollback()

        assert 1 == connection.execute(text("SELECT count(*) FROM events")).scalar()


@pytest.mark.parametrize(
    "replacing",
    [
        row(1, stream="email-2", event_id="e2"),
        row(2, stream="email-2", event_id="e1"),
        row(2, stream="email-1", event_id="e2"),
    ],
    ids=["position", "event_id", "stream and version"],
)
@pytest.mark.parametrize("how", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE", "INSERT"])
def test_no_event_is_replaced(request: pytest.FixtureRequest, replacing: dict[str, Any], how: str) -> None:
    """SQLite deletes what is in the way of INSERT OR REPLACE without asking the DELETE trigger."""
    with connected(migrated_url("sqlite", request)) as connection:
        connection.execute(text(INSERT), row(1))
        connection.commit()
        before = connection.execute(text("SELECT * FROM events")).all()
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(INSERT.replace("INSERT", how, 1)), replacing)
        connection.rollback()

        assert before == connection.execute(text("SELECT * FROM events")).all()


def test_what_has_its_own_place_is_appended(migrated: str) -> None:
    """The triggers let pass what they are not there for; without a position the next one is given."""
    with connected(migrated) as connection:
        connection.execute(text(INSERT), row(1))
        connection.execute(text(INSERT), row(2, version=2, event_id="e2"))
        connection.execute(text(INSERT), row(3, stream="email-2", event_id="e3"))
        connection.commit()

        assert 3 == connection.execute(text("SELECT count(*) FROM events")).scalar()


def test_a_lease_token_is_never_given_twice(migrated: str) -> None:
    """Not even after the last lease is gone: who had it may still be alive."""
    with connected(migrated) as connection:
        tokens: list[int] = []
        for _ in range(3):
            insert = text(f"INSERT INTO leases (worker, seen_at) VALUES ('w', '{TIME}') RETURNING token")
            tokens.append(connection.execute(insert).scalar_one())
            connection.execute(text("DELETE FROM leases"))
            connection.commit()

    assert sorted(set(tokens)) == tokens


def test_statements_name_every_column() -> None:
    """A column that is added is written, or the tests of the store would tell."""
    for table in metadata.tables.values():
        names = ", ".join(column.name for column in table.columns)

        assert f"({names})" in Insert.into(table).text["sqlite"]


def test_migrations_run_from_the_wheel(tmp_path: Path) -> None:
    """With their template, and found without the repository."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import migrations; from adapters.sql.migrate import migrate, pending;"
        "url = 'sqlite:///new.db'; migrate(url); print(pending(url), migrations.__file__)"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert f"False {tmp_path / 'installed'}" in ran.stdout
    assert (tmp_path / "installed" / "migrations" / "script.py.mako").exists()
