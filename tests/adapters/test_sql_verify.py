"""`verify` on both databases: whatever somebody changes by hand is found, and nobody who writes is suspected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, DateTime, Integer, LargeBinary, Table
from sqlalchemy.types import BigInteger

from adapters.sql import open_store, tables
from adapters.sql.dialect import stamp, time_of
from adapters.sql.engine import Database
from adapters.sql.stored import SqlReaders, SqlStoredLog
from application.ports import Locked, Plan
from application.projections.emails import email_id_of
from application.recorded import Event, Unit, circuit_stream, email_stream
from application.stored import Finding, Span, Stored
from application.verify import Verdict, verify
from domain.circuit import CircuitPolicy, ProviderPaused
from entrypoints.http.canonical import canonical_again
from tests.contract.event_store.database import execute
from tests.contract.event_store.given import T0, an_id, append, request, sent, started, unit
from tests.support.months import Months

Row = dict[str, Any]
EVERY = tuple(column.name for column in tables.events.columns)
A_TIME = T0 + timedelta(days=3)


def verdict(url: str) -> Verdict:
    """What `verify` says of the database."""
    database = Database(url, read_only=True)
    try:
        readers = SqlReaders(database, workers=0)
        return verify(readers, forms=canonical_again, told=lambda label, done, whole: None)
    finally:
        database.close()


def found(url: str) -> Finding:
    """The first thing wrong, which there has to be."""
    bad = verdict(url).first_bad
    assert bad is not None
    return bad


def as_somebody_with_a_client(url: str) -> None:
    """Take away what keeps the log append-only."""
    if url.startswith("sqlite"):
        for name in ("events_no_update", "events_no_delete", "events_no_replace"):
            execute(url, f"DROP TRIGGER {name}")
    else:
        execute(url, "ALTER TABLE events DISABLE TRIGGER ALL")


def rows(url: str, table: Table, where: str = "") -> list[Row]:
    """Rows of a table, by its key."""
    names = [column.name for column in table.columns]
    order = ", ".join(column.name for column in table.primary_key.columns)
    found = execute(url, f"SELECT {', '.join(names)} FROM {table.name} {where} ORDER BY {order}")
    return [dict(zip(names, row, strict=True)) for row in found]


def insert(url: str, table: Table, row: Row) -> None:
    """Put a row in."""
    marks = ", ".join("?" * len(row))
    execute(url, f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})", *row.values())


def delete(url: str, table: Table, row: Row) -> None:
    """Take a row out, by its key."""
    keys = [column.name for column in table.primary_key.columns]
    where = " AND ".join(f"{key} = ?" for key in keys)
    execute(url, f"DELETE FROM {table.name} WHERE {where}", *(row[key] for key in keys))


@contextmanager
def changed(url: str, table: Table, before: Row, after: Row) -> Iterator[None]:
    """A row as somebody left it; as it was, at the end."""
    delete(url, table, before)
    insert(url, table, after)
    yield
    delete(url, table, after)
    insert(url, table, before)


def another(table: Table, name: str, row: Row, url: str) -> Any:
    """A value for the column that it doesn't have."""
    kind, value = table.columns[name].type, row[name]
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, LargeBinary):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(kind, BigInteger | Integer):
        return (value or 0) + 1000
    if isinstance(kind, DateTime):
        at = A_TIME if value is None else time_of(value) + timedelta(microseconds=1)
        return stamp(at) if url.startswith("sqlite") else at
    return f"{value or ''}x"


def test_a_log_that_nobody_touched_is_fine(month: str) -> None:
    """Every event, every row of every view, every content that was not erased."""
    whole = len(rows(month, tables.events))
    emails = len(rows(month, tables.emails))
    contents = len(rows(month, tables.contents))

    assert emails > contents, "some were erased"
    assert Verdict(events=whole, emails=emails, proven=contents, unproven=0, first_bad=None) == verdict(month)


def test_a_change_to_any_column_of_an_event_is_found(month: str) -> None:
    """In the middle of a stream, at its end, and in a circuit's; at the very event, where it still can be told."""
    as_somebody_with_a_client(month)
    log = rows(month, tables.events)
    circuit = next(row for row in log if row["type"] == "CircuitHalfOpened")
    ended = next(row for row in log if row["type"] == "Sent" and row["version"] == 3)
    begun = next(row for row in log if row["stream"] == ended["stream"])
    for row, columns in ((begun, EVERY), (ended, ("position", "data")), (circuit, EVERY)):
        for column in (tables.events.columns[name] for name in columns):
            after = {**row, column.name: another(tables.events, column.name, row, month)}
            with changed(month, tables.events, row, after):
                bad = found(month)

            if column.name not in ("position", "stream"):
                assert (row["position"], row["stream"]) == (bad.position, bad.stream), (column.name, bad)

    assert verdict(month).first_bad is None


@pytest.mark.parametrize("month", ["sqlite"], indirect=True)
def test_a_time_written_in_another_way_is_found(month: str) -> None:
    """The same moment, but not the text that its hash was made with: sorted by it, the row would lie elsewhere."""
    as_somebody_with_a_client(month)
    execute(month, "UPDATE events SET at = replace(at, 'Z', '+00:00') WHERE position = 5")

    stream = rows(month, tables.events)[4]["stream"]

    assert Finding(5, stream, "its at is not as any store writes it") == found(month)


def test_an_event_where_none_can_be_is_found(month: str) -> None:
    """In front of the first position, or in a stream that nobody would ever look at."""
    as_somebody_with_a_client(month)
    log = rows(month, tables.events)
    end = log[-1]["position"]

    def stray(**columns: Any) -> Finding:
        row = {**log[0], "event_id": an_id(), "version": 900, "position": end + 1, **columns}
        insert(month, tables.events, row)
        bad = found(month)
        delete(month, tables.events, row)
        return bad

    in_front = stray(position=-3, stream=email_stream("new"))
    assert Finding(-3, email_stream("new"), "I9: version 900 follows 0") == in_front
    for stream in ("a", "circuit", "d", "emai", "emails-x", "email.x"):
        bad = stray(stream=stream)

        assert Finding(end + 1, stream, "there are no streams of such a name") == bad


@pytest.mark.parametrize("month", ["sqlite"], indirect=True)
def test_positions_rise_by_one_where_one_writer_counts_them(month: str) -> None:
    """Whatever was moved behind the end left a gap."""
    as_somebody_with_a_client(month)
    log = rows(month, tables.events)
    opened = next(row for row in log if row["type"] == "CircuitOpened")
    last = max(row["position"] for row in log if row["stream"] == opened["stream"])
    moved = next(row for row in log if row["position"] == last)
    following = next(row["stream"] for row in log if row["position"] == last + 1)

    with changed(month, tables.events, moved, {**moved, "position": log[-1]["position"] + 1}):
        bad = found(month)

    what = f"it stands behind position {last - 1}, and there are no gaps here"
    assert Finding(last + 1, following, what) == bad


def test_a_start_that_a_pause_should_have_stopped_is_found(month: str) -> None:
    """No stream shows it by itself, and all hashes are right."""
    store = open_store(month)
    email_id = an_id()
    store.append([request(email_id)])
    steps: tuple[tuple[str, int, Event], ...] = (
        (circuit_stream("nobody"), 0, ProviderPaused(by="x")),
        (email_stream(email_id), 1, started(provider="nobody")),
    )
    for stream, version, event in steps:
        store.transact(
            Plan(emails=(email_id,)),
            lambda locked: [unit(append(stream, version, event), at=locked.now)],  # noqa: B023
        )
    position = store.end()
    store.close()

    what = "I7: a start at nobody, which is paused"
    assert Finding(position, email_stream(email_id), what) == found(month)


def test_processes_find_what_one_finds(month: str) -> None:
    """The same verdict, whoever reads which piece."""
    execute(month, "UPDATE emails SET attempts = 77 WHERE status = 'sent'")
    database = Database(month, read_only=True)
    alone, together = (
        verify(SqlReaders(database, workers=n), forms=canonical_again, told=lambda *_: None) for n in (0, 1)
    )
    database.close()

    assert alone == together
    assert alone.first_bad is not None
    assert "emails: a row differs from its events in attempts" == alone.first_bad.what


def test_an_event_that_is_gone_is_found_by_the_next_of_its_stream(month: str) -> None:
    """The last of a stream is missed by its view."""
    as_somebody_with_a_client(month)
    log = rows(month, tables.events)
    last = next(row for row in log if row["type"] == "Sent")
    before = next(row for row in log if row["stream"] == last["stream"] and row["version"] == 2)
    delete(month, tables.events, before)
    bad = found(month)
    insert(month, tables.events, before)
    delete(month, tables.events, last)

    assert last["stream"] == bad.stream
    assert found(month) is not None


def history(store: SqlStoredLog, stream: str) -> list[Stored]:
    """The events of an email."""
    email_id = email_id_of(stream)
    found = store.emails(Span(high=email_id), None, 1_000_000)
    (events,) = (one.history for one in found.emails if one.email_id == email_id)
    return [one for one in events if isinstance(one, Stored)]


def test_an_event_that_somebody_forged_is_found(month: str) -> None:
    """With a hash that fits, at the end of a stream: its view does not know it."""
    as_somebody_with_a_client(month)
    log = rows(month, tables.events)
    last = next(row for row in log if row["type"] == "Sent" and row["version"] == 3)
    database = Database(month)
    store = SqlStoredLog(database)
    (*_, head) = history(store, last["stream"])
    forged = {
        **last,
        "position": log[-1]["position"] + 1,
        "event_id": an_id(),
        "version": head.version + 1,
        "type": "Opened",
        "data": '{"attempt":1,"recipient":0,"observed_at":"2026-03-01T00:00:00Z"}',
    }
    insert(month, tables.events, forged)
    (*_, new) = history(store, last["stream"])
    execute(
        month,
        "UPDATE events SET hash = ? WHERE position = ?",
        store.digest(head.hash, new),
        forged["position"],
    )
    database.close()

    what = "emails: a row differs from its events in version, position"
    assert Finding(forged["position"], last["stream"], what) == found(month)


@pytest.fixture(params=["sqlite", "postgresql"])
def day(request: pytest.FixtureRequest, months: Months, tmp_path: Path) -> Iterator[str]:
    """Less than a month: it is verified again and again."""
    with months.copied(request.param, tmp_path, 150) as url:
        yield url


@pytest.mark.parametrize("table", [tables.emails, tables.attempts, tables.gates], ids=lambda one: one.name)
def test_a_change_to_any_column_of_a_view_is_found(day: str, table: Table) -> None:
    """And a row that is missing, and one that no event gives."""
    last = rows(day, table)[-1]
    for column in table.columns:
        after = {**last, column.name: another(table, column.name, last, day)}
        with changed(day, table, last, after):
            bad = found(day)

        assert table.name in bad.what
    delete(day, table, last)
    missing = found(day)
    insert(day, table, last)
    key = next(column.name for column in table.primary_key.columns)
    insert(day, table, {**last, key: "zzz"})
    extra = found(day)

    assert f"{table.name}" in missing.what
    assert "missing" in missing.what
    assert table.name in extra.what


def _reworded(url: str) -> None:
    execute(url, "UPDATE contents SET content = replace(content, 'wie bestellt', 'wie bezahlt.')")


def _of_somebody_else(url: str) -> None:
    execute(url, "UPDATE contents SET key = 'x' WHERE blobs = 0")


def _salted_anew(url: str) -> None:
    execute(url, 'UPDATE contents SET content = replace(content, \'"salt":"\', \'"salt":"AAAA\')')


def _no_json(url: str) -> None:
    execute(url, "UPDATE contents SET content = '{' WHERE blobs > 0")


def _of_nobody(url: str) -> None:
    execute(url, "INSERT INTO contents (email_id, key, blobs, content) VALUES ('zzz', 'k', 0, '{}')")


def _reference_gone(url: str) -> None:
    execute(url, "DELETE FROM content_blobs")


def _other_octets(url: str) -> None:
    execute(url, "UPDATE blobs SET data = ?", b"another invoice")


def _blob_of_nobody(url: str) -> None:
    execute(url, "INSERT INTO blobs (digest, data) VALUES ('" + "0" * 64 + "', ?)", b"x")


CONTENTS: Sequence[Callable[[str], None]] = (
    _reworded,
    _of_somebody_else,
    _salted_anew,
    _no_json,
    _of_nobody,
    _reference_gone,
    _other_octets,
    _blob_of_nobody,
)


@pytest.mark.parametrize("spoil", CONTENTS)
def test_a_change_to_what_an_email_says_is_found(month: str, spoil: Callable[[str], None]) -> None:
    """Its digest is in the log, whoever changes a word of it."""
    spoil(month)
    bad = found(month)

    assert bad.what.startswith(("contents: ", "blobs: ")), bad


def test_what_no_digest_tells_is_counted(month: str) -> None:
    """A content without marks, as another way in may leave it, is looked at as far as it goes."""
    execute(month, "UPDATE contents SET content = replace(content, '\"marks\":[]', '\"marks\":null')")
    said = verdict(month)

    assert said.first_bad is None
    assert said.unproven > 0
    assert len(rows(month, tables.contents)) == said.proven + said.unproven


def test_those_who_write_meanwhile_are_not_suspected(month: str) -> None:
    """Rows are always younger than what was read before them."""
    store = open_store(month, circuit=CircuitPolicy())
    done = threading.Event()

    def step(email_id: str, version: int, event: Any) -> None:
        def decide(locked: Locked) -> list[Unit]:
            return [unit(append(email_stream(email_id), version, event), at=locked.now)]

        store.transact(Plan(emails=(email_id,)), decide)

    def write() -> None:
        while not done.is_set():
            email_id = an_id()
            store.append([request(email_id)])
            step(email_id, 1, started(provider="relay"))
            step(email_id, 2, sent(provider="relay"))

    writer = threading.Thread(target=write)
    writer.start()
    said = [verdict(month) for _ in range(3)]
    done.set()
    writer.join()
    store.close()

    assert [None] * 3 == [one.first_bad for one in said]
    assert said[0].events < said[-1].events
