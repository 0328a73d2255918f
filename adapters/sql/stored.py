"""The log, its views and the contents as they are stored, read in short transactions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import msgspec

from adapters.codec import GENESIS, UnknownEvent, chain, decode_with_ids, micros
from adapters.content_codec import read_content
from adapters.gate_codec import decode_gate, encode_gate
from adapters.sql import content_store, gates, log
from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database, Rows, Session, stamping
from adapters.sql.fold_pool import worked, workers_for
from adapters.sql.folding import spans
from adapters.sql.gate_folding import GateFolder
from adapters.sql.pages import COLUMNS, add_rows, between, read_page
from adapters.sql.plain import Plain
from adapters.sql.spans import CIRCUITS_END, STREAMS_END, bounds, rows_between
from adapters.sql.views import attempt_rows, email_row
from application.invariants import GateCheck
from application.projections.emails import EmailView
from application.projections.gates import Gate
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Event, Recorded, StoredContent
from application.stored import (
    BlobRow,
    ContentRow,
    EmailRows,
    Emails,
    Finding,
    GateRow,
    Gates,
    Row,
    Span,
    Stored,
    StoredLog,
)
from domain.circuit import CircuitPolicy

T = TypeVar("T")

EVENT = ", ".join(Stored._fields)
STREAM, VERSION = 0, 1

ALONE_EVENTS = 50_000
"""A shorter log is read before other processes would have started and been of any use."""

PAGE = 2000
"""Events of circuits that are read together."""

BEHIND_ALL = 2**62
"""Above every position."""

# What a position can't be, and what is sorted in front of, between, and behind the streams of circuits and emails.
BEFORE_ALL = Sql("SELECT position, stream FROM events WHERE position < 1 ORDER BY position LIMIT 1")
STRANGERS = tuple(
    Sql(f"SELECT position, stream FROM events WHERE {where} ORDER BY stream, version LIMIT 1")
    for where in (
        f"stream < '{CIRCUIT_PREFIX}'",
        f"stream >= '{CIRCUITS_END}' AND stream < '{EMAIL_PREFIX}'",
        f"stream >= '{STREAMS_END}'",
    )
)
CIRCUITS = Sql(f"""
    SELECT {EVENT} FROM events
    WHERE (stream, version) > (:stream, :version) AND stream < '{CIRCUITS_END}'
    ORDER BY stream, version LIMIT :limit
""")
POSITIONS = Sql("SELECT count(*), coalesce(min(position), 1), coalesce(max(position), 0) FROM events")
PLACES = Sql("SELECT position, stream FROM events WHERE position > :after ORDER BY position LIMIT :limit")
PLACES_PAGE = 20_000

A_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?!24)[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z").fullmatch
"""The form of times on SQLite: one text for each moment."""

TEXT_MAX = 65_536
"""A longer content is read by itself: a page has hundreds of them."""

CONTENTS = (
    "email_id",
    "key",
    "blobs",
    f"CASE WHEN length(content) <= {TEXT_MAX} AND blobs = 0 THEN content END",
)

BLOBS_OCTETS = 16_000_000
"""Attachments that are read together, unless one alone has more."""

BLOBS_PAGE = 200
BLOB_DATA = Sql("""
    SELECT b.digest, b.data, (SELECT min(c.email_id) FROM content_blobs c WHERE c.digest = b.digest)
    FROM blobs b WHERE b.digest = ANY(:digests) ORDER BY b.digest
""")
CONTENT = Sql("SELECT key, blobs, content FROM contents WHERE email_id = :email_id")
DIGESTS = Sql("SELECT digest FROM content_blobs WHERE email_id = :email_id ORDER BY digest")


class SqlReaders:
    """`Readers` (see there for what its methods promise). `workers`: processes; None: as many as help."""

    def __init__(self, database: Database, *, workers: int | None = None) -> None:
        self._database = database
        self._workers = workers

    def spans(self) -> tuple[Sequence[Span], int]:
        last = self._last()
        return spans(last), last

    def read(self, pieces: Iterable[Callable[[StoredLog], T]]) -> Iterator[T]:
        workers = workers_for(self._last(), ALONE_EVENTS) if self._workers is None else self._workers
        return worked(self._database, (partial(_read, piece=piece) for piece in pieces), workers)

    def _last(self) -> int:
        last: int = self._database.read(lambda session: session.value(log.LAST))
        return last


def _read(database: Database, piece: Callable[[StoredLog], T]) -> T:
    return piece(SqlStoredLog(database))


class SqlStoredLog:
    """A `StoredLog` (see there for what its methods promise)."""

    columns: Mapping[str, Sequence[str]] = COLUMNS

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamp = stamping(database.kind)
        self._plain = Plain(database.kind)

    def misplaced(self) -> list[Finding]:
        found = self._database.read(_misplaced)
        if self._database.kind == "sqlite":
            found += self._database.read(_behind_a_gap)
        return found

    def circuits(self) -> Iterator[list[Stored | Finding]]:
        return (
            [stored_of(row) for row in rows]
            for _, rows in groupby(self._of_circuits(), key=lambda row: row[STREAM])
        )

    def _of_circuits(self) -> Iterator[Row]:
        stream, version = CIRCUIT_PREFIX, 0
        while rows := self._database.read(
            lambda session: session.rows(CIRCUITS, stream=stream, version=version, limit=PAGE)  # noqa: B023
        ):
            yield from rows
            stream, version = rows[-1][STREAM], rows[-1][VERSION]

    def emails(self, span: Span, after: str | None, limit: int) -> Emails:
        return self._database.read(lambda session: _emails(session, after, span.high, limit))

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        return chain(
            previous or GENESIS,
            stream=event.stream,
            version=event.version,
            event_id=event.event_id,
            type=event.type,
            at=micros(time_of(event.at)),
            meta=event.meta,
            data=event.data,
        )

    def event(self, event: Stored) -> Event:
        return _decoded(event)[0]

    def recorded(self, event: Stored) -> Recorded:
        read, correlation_id, causation_id = _decoded(event)
        return Recorded(
            position=event.position,
            event_id=event.event_id,
            stream=event.stream,
            version=event.version,
            at=time_of(event.at),
            event=read,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )

    def rows_at_sight(self, email_id: str, history: Sequence[Stored]) -> dict[str, Rows] | None:
        rows = self._plain.rows(email_id, history)
        return None if rows is None else {"emails": [rows[0]], "attempts": rows[1]}

    def email_rows(self, view: EmailView) -> dict[str, Rows]:
        return {
            "emails": [email_row(view, self._stamp)],
            "attempts": attempt_rows(None, view, self._stamp),
        }

    def gates(self, check: GateCheck) -> Gates:
        windows = {
            one.name: one.gate.circuit.calls.window
            for one in self._database.read(_gate_rows)
            if one.gate is not None
        }
        folder = GateFolder(self._database, CircuitPolicy().window, windows, check)
        for _ in range(2):  # the second time it is little
            folder.run(lambda done, whole: None)
        rest, rows = self._database.read(
            lambda session: (folder.read(session, BEHIND_ALL), _gate_rows(session))
        )
        folder.add(rest, BEHIND_ALL)
        return Gates(rows, folder.fold.gates(), folder.problem, folder.stuck)

    def gate_row(self, gate: Gate) -> Row:
        return gates.row(gate, encode_gate(gate), self._stamp)

    def content(self, email_id: str) -> ContentRow | None:
        return self._database.read(lambda session: _content(session, email_id))

    def blobs(self, after: str | None) -> list[BlobRow]:
        return self._database.read(lambda session: _blobs(session, after))


def stored_of(row: Row) -> Stored | Finding:
    """The event in a row of EVENT, or why it is none."""
    stream, version, kind, at, meta, data, position, event_id, digest = row
    if (
        type(stream) is type(kind) is type(meta) is type(data) is type(event_id) is str
        and type(version) is int
        and type(digest) is bytes
        and _is_time(at)
    ):
        return Stored._make(row)
    texts = {"event_id": event_id, "stream": stream, "type": kind, "meta": meta, "data": data}
    wrong = [name for name, value in texts.items() if not isinstance(value, str)]
    wrong += ["version"] * (not isinstance(version, int)) + ["hash"] * (not isinstance(digest, bytes))
    columns = ", ".join(wrong or ["at"])
    return Finding(position, str(stream), f"its {columns} is not as any store writes it")


def _is_time(at: object) -> bool:
    """Whether it is written in the one way that times are."""
    if isinstance(at, str):
        return A_TIME(at) is not None
    return isinstance(at, datetime)


def _misplaced(session: Session) -> list[Finding]:
    found = [
        Finding(position, stream, "its position is none that is ever given")
        for position, stream in session.rows(BEFORE_ALL)
    ]
    strangers = [row for statement in STRANGERS for row in session.rows(statement)]
    return found + [
        Finding(position, str(stream), "there are no streams of such a name")
        for position, stream in strangers
    ]


def _behind_a_gap(session: Session) -> list[Finding]:
    """The first event that doesn't follow the one before it. One count tells whether there is any."""
    ((count, first, last),) = session.rows(POSITIONS)
    if count == last - first + 1 and first == 1:
        return []
    before = 0
    while rows := session.rows(PLACES, after=before, limit=PLACES_PAGE):
        for position, stream in rows:
            if position != before + 1:
                what = f"it stands behind position {before}, and there are no gaps here"
                return [Finding(position, str(stream), what)]
            before = position
    return []


def _emails(session: Session, low: str | None, high: str | None, limit: int) -> Emails:
    page = read_page(session, EVENT, low, high, limit)
    # More rows than there are events are not the ones they give: a part of them is enough to see it.
    most = 2 * max(limit, sum(map(len, page.histories.values())))
    add_rows(session, page, low, high, most)
    high = high if page.last is None else page.last
    contents = {row[0]: row for row in between(session, "contents", CONTENTS, low, high, most)}
    references = {row[0] for row in between(session, "content_blobs", ("email_id",), low, high, most)}
    emails = []
    for email_id in sorted({*page.histories, *page.emails, *page.attempts, *contents, *references}):
        row = contents.get(email_id)
        apart = email_id in references or (row is not None and row[3] is None)
        emails.append(
            EmailRows(
                email_id=email_id,
                history=[stored_of(event) for event in page.histories.get(email_id, ())],
                rows={"emails": page.emails.get(email_id, []), "attempts": page.attempts.get(email_id, [])},
                content=None if apart or row is None else _content_row(email_id, row[1:], (), {}),
                apart=apart,
            )
        )
    return Emails(emails, page.last)


def _gate_rows(session: Session) -> list[GateRow]:
    rows = session.rows(rows_between("gates", COLUMNS["gates"], low=False, high=False))
    return [GateRow(row[0], row, _gate(row)) for row in rows]


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
    with suppress(ValueError, TypeError, msgspec.MsgspecError):  # what is None says so
        found, stored = read_content(email_id, text, blobs)
        named = tuple(sorted(found))
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


def _decoded(event: Stored) -> tuple[Event, str, str]:
    """The event, with its correlation and causation id. Raises ValueError, which quotes nothing of it."""
    try:
        return decode_with_ids(event.type, event.meta, event.data)
    except UnknownEvent as error:
        raise ValueError(str(error)) from None
    except (ValueError, msgspec.MsgspecError):
        raise ValueError("its meta or data is not what its type has") from None  # they may quote it
