"""The log in its database: what was recorded can't be changed there, and where it was, it shows."""

from __future__ import annotations

import sqlite3
from threading import Thread

import psycopg
import pytest

from application.ports import Plan
from application.recorded import Unit, email_stream
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.database import broken_links, execute, links
from tests.contract.event_store.given import (
    an_id,
    append,
    content_of,
    failed,
    request,
    requested,
    started,
    unit,
)
from tests.contract.event_store.world import World

REFUSED = (sqlite3.DatabaseError, psycopg.Error)
COLUMNS = "event_id, stream, version, type, at, meta, data, hash"
TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"


def two_emails(subject: Subject) -> tuple[str, str]:
    """Two streams of three events each; their names."""
    ids = an_id(), an_id()
    subject.store.append([request(one) for one in ids])
    units = [unit(append(email_stream(one), 1, started(), failed())) for one in ids]
    subject.store.transact(Plan(), lambda locked: units)
    return email_stream(ids[0]), email_stream(ids[1])


def unlock(subject: Subject) -> None:
    """Take the triggers away, as the owner of the database can."""
    if subject.kind == "sqlite":
        for (name,) in execute(subject.url, TRIGGERS):
            execute(subject.url, f"DROP TRIGGER {name}")
    else:
        execute(subject.url, "ALTER TABLE events DISABLE TRIGGER USER")


def test_every_event_is_chained_to_the_one_before(sql_subject: Subject) -> None:
    """From the rows and the codec's documentation alone, over append, transact and a long random history."""
    two_emails(sql_subject)
    World(sql_subject.store, sql_subject.clock, CIRCUIT, seed=1).run(40)
    sql_subject.store.append([request(an_id(), tags=("größe ✓",))])

    assert 40 < len(links(sql_subject.url))
    assert [] == broken_links(sql_subject.url)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("data", "'{}'"),
        ("meta", "'{\"schema\":1}'"),
        ("type", "'Sent'"),
        ("event_id", "'x'"),
        ("version", "7"),
    ],
)
def test_a_change_behind_the_triggers_shows(sql_subject: Subject, column: str, value: str) -> None:
    """Whichever column it is, at that event and nowhere in another stream."""
    one, _ = two_emails(sql_subject)
    unlock(sql_subject)
    execute(sql_subject.url, f"UPDATE events SET {column} = {value} WHERE stream = ? AND version = 2", one)
    broken = broken_links(sql_subject.url)

    assert broken
    assert {one} == {stream for stream, _ in broken}


def test_another_time_shows(sql_subject: Subject) -> None:
    """By a microsecond."""
    one, _ = two_emails(sql_subject)
    unlock(sql_subject)
    later = "2026-11-24T08:00:00.000002Z"
    execute(sql_subject.url, "UPDATE events SET at = ? WHERE stream = ? AND version = 2", later, one)

    assert [(one, 2)] == broken_links(sql_subject.url)


def test_an_event_that_was_taken_out_shows(sql_subject: Subject) -> None:
    """The one behind it hangs in the air. (A missing tail or a missing stream doesn't show: seals will.)"""
    one, _ = two_emails(sql_subject)
    unlock(sql_subject)
    execute(sql_subject.url, "DELETE FROM events WHERE stream = ? AND version = 2", one)

    assert [(one, 3)] == broken_links(sql_subject.url)


ON_BOTH = {
    "update": "UPDATE events SET data = '{}'",
    "update one": "UPDATE events SET position = position + 100 WHERE version = 1",
    "delete": "DELETE FROM events",
    "delete one": "DELETE FROM events WHERE version = 3",
}
FORGED = "type, at, meta, '{}', hash FROM events"
ON_SQLITE = {
    "replace": f"INSERT OR REPLACE INTO events SELECT position, {COLUMNS} FROM events",
    "replace by position": f"REPLACE INTO events SELECT position, 'new', 'new', version, {FORGED} LIMIT 1",
    "replace by event id": f"REPLACE INTO events ({COLUMNS}) SELECT event_id, 'new', 1, {FORGED} LIMIT 1",
    "replace by version": f"REPLACE INTO events ({COLUMNS}) SELECT 'new', stream, version, {FORGED} LIMIT 1",
    "update or replace": "UPDATE OR REPLACE events SET version = 1",
    "upsert": f"INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM events WHERE true "
    "ON CONFLICT DO UPDATE SET data = '{}'",
}
ON_POSTGRES = {
    "truncate": "TRUNCATE events",
    "truncate cascade": "TRUNCATE events RESTART IDENTITY CASCADE",
    "upsert": f"INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM events "
    "ON CONFLICT (event_id) DO UPDATE SET data = '{}'",
}


def test_the_log_refuses_to_be_changed(sql_subject: Subject) -> None:
    """By whatever statement; and it stays as it was."""
    own = ON_SQLITE if sql_subject.kind == "sqlite" else ON_POSTGRES
    two_emails(sql_subject)
    before = links(sql_subject.url)
    went_through: list[str] = []
    for name, statement in (ON_BOTH | own).items():
        try:
            execute(sql_subject.url, statement)
            went_through.append(name)
        except REFUSED:
            pass

    assert [] == went_through
    assert before == links(sql_subject.url)


@pytest.mark.parametrize("twice", ["event_id", "version"])
def test_the_database_itself_knows_what_is_unique(sql_subject: Subject, twice: str) -> None:
    """Whatever the store believes."""
    two_emails(sql_subject)
    copy = {"event_id": "event_id, 'new'", "version": "'new', stream"}[twice]
    with pytest.raises(REFUSED):
        execute(
            sql_subject.url,
            f"INSERT INTO events ({COLUMNS}) SELECT {copy}, version, type, at, meta, data, hash FROM events LIMIT 1",
        )

    assert 6 == len(links(sql_subject.url))


def test_blobs_are_shared_and_go_with_their_last_email(sql_subject: Subject) -> None:
    """Counted in the database: one blob for two emails, none for none."""
    ids = an_id(), an_id()
    logo, invoice = b"logo" * 100, b"invoice" * 100
    contents = [content_of(ids[0], logo, logo), content_of(ids[1], logo, invoice)]
    sql_subject.store.append(
        [unit(append(email_stream(one.email_id), 0, requested()), content=one) for one in contents]
    )
    counts = [execute(sql_subject.url, "SELECT count(*) FROM blobs")[0][0]]
    for one in ids:
        sql_subject.store.erase(one)
        counts.append(execute(sql_subject.url, "SELECT count(*) FROM blobs")[0][0])

    assert [2, 2, 0] == counts
    assert [(0,)] == execute(sql_subject.url, "SELECT count(*) FROM contents")


def test_a_blob_is_not_swept_while_somebody_is_about_to_refer_to_it(postgres_subject: Subject) -> None:
    """An email takes it and is not committed yet, while the last other one that has it is erased."""
    subject, logo = postgres_subject, b"logo" * 100
    old, fresh = an_id(), an_id()
    store, other = subject.store, subject.open()

    def asked(email_id: str) -> Unit:
        return unit(append(email_stream(email_id), 0, requested()), content=content_of(email_id, logo))

    store.append([asked(old)])
    threads = Thread(target=lambda: store.append([asked(fresh)])), Thread(target=lambda: other.erase(old))
    with psycopg.connect(subject.url) as obstacle:
        # The same reference, uncommitted: the append waits for it, just before its end.
        obstacle.execute(
            "INSERT INTO content_blobs (email_id, digest) SELECT %s, digest FROM content_blobs", (fresh,)
        )
        for thread in threads:
            thread.start()
            thread.join(0.3)
        obstacle.rollback()
    for thread in threads:
        thread.join(20)

    assert {fresh: content_of(fresh, logo)} == store.contents([old, fresh])
