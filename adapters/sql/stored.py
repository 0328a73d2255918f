"""The log, its views and the contents as they are stored, read in short transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from adapters.codec import GENESIS, UnknownEvent, chain, decode, decode_meta, micros
from adapters.content_codec import decode_content, digests_in
from adapters.gate_codec import decode_gate, encode_gate
from adapters.sql import content_store, gates, log, tables
from adapters.sql.dialect import Sql, stamp, time_of
from adapters.sql.engine import Database, Rows, Session, stamping
from adapters.sql.follow import Follower
from adapters.sql.spans import bounds, events_between, rows_between, stream_bounds
from adapters.sql.views import attempt_rows, email_row
from application.projections.emails import EmailView, email_id_of
from application.projections.gates import Gate
from application.recorded import Recorded, StoredContent
from application.stored import BlobRow, ContentRow, EmailRows, Emails, GateRow, Row, Stored, Unreadable

EVENT = f"{log.COLUMNS}, hash"
BEFORE_ALL = -(2**62)
"""Below every position that anybody may have made up."""

PAGE = Sql(f"SELECT {EVENT} FROM events WHERE position > :after ORDER BY position LIMIT :limit")
REST = Sql(f"SELECT {EVENT} FROM events WHERE position > :after ORDER BY position")
HISTORY = Sql(f"SELECT {EVENT} FROM events WHERE stream = :stream AND version < :below ORDER BY version")

VIEWS = {"emails": tables.emails, "attempts": tables.attempts, "gates": tables.gates}
COLUMNS = {name: tuple(column.name for column in table.columns) for name, table in VIEWS.items()}
EMAIL_VIEWS = ("emails", "attempts")

TEXT_MAX = 65_536
"""A longer content is read by itself: a page has hundreds of them."""

BLOBS_OCTETS = 16_000_000
"""Attachments that are read together, unless one alone has more."""

BLOBS_PAGE = 200
BLOB_DATA = Sql("""
    SELECT b.digest, b.data, (SELECT min(c.email_id) FROM content_blobs c WHERE c.digest = b.digest)
    FROM blobs b WHERE b.digest = ANY(:digests) ORDER BY b.digest
""")
CONTENT = Sql("SELECT key, blobs, content FROM contents WHERE email_id = :email_id")
DIGESTS = Sql("SELECT digest FROM content_blobs WHERE email_id = :email_id ORDER BY digest")


class SqlStoredLog:
    """A `StoredLog` (see there for what its methods promise)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._follower = Follower(database, PAGE)
        self.contiguous = database.kind == "sqlite"

    def end(self) -> int:
        return self._follower.end()

    def page(self, after: int, limit: int) -> list[Stored | Unreadable]:
        found = self._follower.rows(BEFORE_ALL if after == 0 else after, limit)
        return [stored_of(row) for row in found]

    def history(self, stream: str, below: int) -> list[Stored | Unreadable]:
        rows = self._database.read(lambda session: session.rows(HISTORY, stream=stream, below=below))
        return [stored_of(row) for row in rows]

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        return chain(
            previous or GENESIS,
            stream=event.stream,
            version=event.version,
            event_id=event.event_id,
            type=event.type,
            at=micros(event.at),
            meta=event.meta,
            data=event.data,
        )

    def recorded(self, event: Stored) -> Recorded:
        try:
            correlation_id, causation_id, _ = decode_meta(event.meta)
            read = decode(event.type, event.meta, event.data)
        except UnknownEvent as error:
            raise ValueError(str(error)) from None
        except (ValueError, msgspec.MsgspecError):
            raise ValueError("its meta or data is not what its type has") from None  # they may quote it
        return Recorded(
            position=event.position,
            event_id=event.event_id,
            stream=event.stream,
            version=event.version,
            at=event.at,
            event=read,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )


class SqlStoredViews:
    """`StoredViews` (see there for what its methods promise)."""

    columns: Mapping[str, Sequence[str]] = COLUMNS

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamp = stamping(database.kind)

    def emails(self, after: str | None, limit: int) -> Emails:
        return self._database.read(lambda session: _emails(session, after, limit))

    def email_rows(self, view: EmailView) -> dict[str, Rows]:
        return {
            "emails": [email_row(view, self._stamp)],
            "attempts": attempt_rows(None, view, self._stamp),
        }

    def gates(self, after: int) -> tuple[list[Stored | Unreadable], list[GateRow]]:
        rest, rows = self._database.read(
            lambda session: (
                session.rows(REST, after=BEFORE_ALL if after == 0 else after),
                session.rows(rows_between("gates", COLUMNS["gates"], low=False, high=False)),
            )
        )
        return [stored_of(row) for row in rest], [GateRow(row[0], tuple(row), _gate(row)) for row in rows]

    def gate_row(self, gate: Gate) -> Row:
        return gates.row(gate, encode_gate(gate), self._stamp)

    def content(self, email_id: str) -> ContentRow | None:
        return self._database.read(lambda session: _content(session, email_id))

    def blobs(self, after: str | None) -> list[BlobRow]:
        return self._database.read(lambda session: _blobs(session, after))


def stored_of(row: Sequence[Any]) -> Stored | Unreadable:
    """The event in a row of EVENT, or why it is none."""
    position, event_id, stream, version, kind, at, meta, data, digest = row
    texts = {"event_id": event_id, "stream": stream, "type": kind, "meta": meta, "data": data}
    wrong = [name for name, value in texts.items() if not isinstance(value, str)]
    if not isinstance(version, int):
        wrong.append("version")
    if not isinstance(digest, bytes):
        wrong.append("hash")
    time = _time(at)
    if wrong or time is None:
        columns = ", ".join(wrong or ["at"])
        return Unreadable(position, str(stream), f"its {columns} is not as any store writes it")
    return Stored(position, event_id, stream, version, kind, time, meta, data, digest)


def _time(at: object) -> datetime | None:
    """The time, where it is written in the one way that times are."""
    if isinstance(at, datetime):
        return at
    if not isinstance(at, str):
        return None
    try:
        time = time_of(at)
        return time if stamp(time) == at else None
    except ValueError:
        return None


def _emails(session: Session, after: str | None, limit: int) -> Emails:
    histories, last = _whole_histories(session, after, limit)
    span: dict[str, Any] = bounds(after, last)

    def rows(table: str, *columns: str) -> Rows:
        # More rows than there are events are not the ones they give: a part of them is enough to see it.
        low, high = "low" in span, "high" in span
        statement = rows_between(table, columns or COLUMNS[table], low=low, high=high, limited=True)
        return session.rows(statement, limit=2 * limit, **span)

    found = {view: _by_email(rows(view)) for view in EMAIL_VIEWS}
    content = f"CASE WHEN length(content) <= {TEXT_MAX} AND blobs = 0 THEN content END"
    contents = {row[0]: row for row in rows("contents", "email_id", "key", "blobs", content)}
    references = _by_email(rows("content_blobs", "email_id", "digest"))
    ids = {*histories, *contents, *references}.union(*found.values())
    emails = []
    for email_id in sorted(ids):
        row = contents.get(email_id)
        apart = email_id in references or (row is not None and row[3] is None)
        emails.append(
            EmailRows(
                email_id=email_id,
                history=tuple(histories.get(email_id, ())),
                rows={view: found[view].get(email_id, ()) for view in EMAIL_VIEWS},
                content=None if apart or row is None else _content_row(email_id, row[1:], (), {}),
                apart=apart,
            )
        )
    return Emails(emails, last)


def _whole_histories(
    session: Session, after: str | None, limit: int
) -> tuple[dict[str, list[Stored | Unreadable]], str | None]:
    """Histories by email id, none cut; and the last of them, None: there are no more."""
    low = stream_bounds(after, None)
    statement = events_between(EVENT, low=bool(low), high=False)
    while True:
        rows = session.rows(statement, limit=limit, **low)
        streams = {stream: list(of) for stream, of in groupby(rows, key=lambda row: row[2])}
        if len(rows) < limit:
            last = None
            break
        streams.popitem()
        if streams:
            last = email_id_of(next(reversed(streams)))
            break
        limit *= 2
    return {email_id_of(name): [stored_of(row) for row in of] for name, of in streams.items()}, last


def _by_email(rows: Iterable[Row]) -> dict[str, list[Row]]:
    return {email_id: [tuple(row) for row in of] for email_id, of in groupby(rows, key=lambda row: row[0])}


def _gate(row: Row) -> Gate | None:
    try:
        gate = decode_gate(row[-1])
    except (ValueError, TypeError, msgspec.MsgspecError):
        return None
    return gate if gate.name == row[0] else None


def _content(session: Session, email_id: str) -> ContentRow | None:
    """A content with its attachments. References without one count as one that can't be read."""
    digests = tuple(row[0] for row in session.rows(DIGESTS, email_id=email_id))
    rows = session.rows(CONTENT, email_id=email_id)
    if not rows:
        return ContentRow("", 0, digests) if digests else None
    blobs = session.rows(content_store.BLOBS, email_ids=[email_id]) if digests else []
    return _content_row(email_id, rows[0], digests, {row[0]: row[1] for row in blobs})


def _content_row(
    email_id: str, row: Sequence[Any], digests: tuple[str, ...], blobs: Mapping[str, bytes]
) -> ContentRow:
    key, count, text = row
    named: tuple[str, ...] | None = None
    stored: StoredContent | None = None
    with suppress(ValueError, TypeError, KeyError, msgspec.MsgspecError):  # what is None says so
        named = tuple(sorted(digests_in(text)))
        stored = decode_content(email_id, text, blobs)
    return ContentRow(key, count, digests, named, stored)


def _blobs(session: Session, after: str | None) -> list[BlobRow]:
    low = bounds(after, None)
    sizes = rows_between("blobs", ("digest", "length(data)"), low=bool(low), high=False, limited=True)
    digests = list(_together(session.rows(sizes, limit=BLOBS_PAGE, **low)))
    return [
        BlobRow(digest, hashlib.sha256(data).hexdigest() == digest, email_id)
        for digest, data, email_id in session.rows(BLOB_DATA, digests=digests)
    ]


def _together(rows: Iterable[Row]) -> Iterator[str]:
    octets = 0
    for digest, size in rows:
        octets += size
        if octets > BLOBS_OCTETS and octets > size:
            return
        yield digest
