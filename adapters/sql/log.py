"""The log itself: heads of streams, new events, and events read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from adapters.codec import GENESIS, chain, decode_with_ids, encode_new, micros
from adapters.ledger import Entry
from adapters.sql import tables
from adapters.sql.dialect import Insert, Sql, time_of
from adapters.sql.engine import Session, Stamp
from application.recorded import Recorded

COLUMNS = "position, event_id, stream, version, type, at, meta, data"

HEADS = Sql("""
    SELECT e.stream, e.version, e.hash
    FROM EACH(:streams) AS s(stream)
    JOIN events e ON e.stream = s.stream
        AND e.version = (SELECT max(version) FROM events WHERE events.stream = s.stream)
""")
KNOWN = Sql("SELECT event_id FROM events WHERE event_id = ANY(:event_ids)")
STREAM = Sql(f"SELECT {COLUMNS} FROM events WHERE stream = :stream ORDER BY version")
STREAMS = Sql(f"SELECT {COLUMNS}, hash FROM events WHERE stream = ANY(:streams) ORDER BY stream, version")
BACK = Sql(f"SELECT {COLUMNS} FROM events WHERE position < :before ORDER BY position DESC LIMIT :limit")
LAST = Sql("SELECT coalesce(max(position), 0) FROM events")
# Drawn in one go, and one by one: between them another transaction's may lie.
DRAW = Sql("""
    SELECT nextval('events_position_seq'), CAST(pg_current_xact_id() AS text) FROM generate_series(1, :count)
""")
INSERT = Insert.into(tables.events)


class Head(NamedTuple):
    """Where a stream ends: the version and hash of its last event."""

    version: int
    hash: bytes


BEGINNING = Head(0, GENESIS)


def heads(session: Session, streams: Sequence[str]) -> dict[str, Head]:
    """The heads of those streams that exist."""
    if not streams:
        return {}
    return {row[0]: Head(row[1], row[2]) for row in session.rows(HEADS, streams=list(streams))}


def known_ids(session: Session, event_ids: Sequence[str]) -> frozenset[str]:
    """Those of the ids that are recorded."""
    return frozenset(row[0] for row in session.rows(KNOWN, event_ids=list(event_ids)))


def stream(session: Session, name: str) -> list[Recorded]:
    """All events of a stream in order."""
    return [recorded_of(row) for row in session.rows(STREAM, stream=name)]


def back(session: Session, before: int, limit: int) -> list[Recorded]:
    """The last events in front of a position, the latest first."""
    return [recorded_of(row) for row in session.rows(BACK, before=before, limit=limit)]


def histories(session: Session, streams: Sequence[str]) -> list[tuple[Recorded, bytes]]:
    """All events of these streams with their hashes, stream by stream."""
    if not streams:
        return []
    return [(recorded_of(row), row[8]) for row in session.rows(STREAMS, streams=list(streams))]


def record(
    session: Session, entries: Sequence[Entry], heads: Mapping[str, Head]
) -> tuple[list[Recorded], dict[str, Head]]:
    """Append the entries, positions in their order; gives them as recorded, and the heads of their streams.

    `heads`: of every stream among them that exists. Raises IntegrityError where another writer was there first.
    """
    if not entries:
        return [], {}
    after: dict[str, Head] = {}
    recorded, rows = [], []
    for position, entry in zip(_positions(session, len(entries)), entries, strict=True):
        before = after.get(entry.stream) or heads.get(entry.stream, BEGINNING)
        row = _row(position, entry, before, session.stamp)
        after[entry.stream] = Head(entry.version, row[-1])
        rows.append(row)
        recorded.append(entry.recorded(position))
    # Whoever writes the same streams at the same time meets us in the same order, and nobody waits in a circle.
    rows.sort(key=_by_stream)
    session.marker = rows[0][1]
    session.insert(INSERT, rows)
    return recorded, after


def recorded_of(row: Sequence[Any]) -> Recorded:
    """The event in a row of COLUMNS."""
    position, event_id, name, version, stored, at, meta, data = row[:8]
    event, correlation_id, causation_id = decode_with_ids(stored, meta, data)
    return Recorded(
        position=position,
        event_id=event_id,
        stream=name,
        version=version,
        at=time_of(at),
        event=event,
        correlation_id=correlation_id,
        causation_id=causation_id,
    )


def _row(position: int, entry: Entry, before: Head, stamp: Stamp) -> tuple[Any, ...]:
    """The row of `events`, as its columns are ordered; its hash goes over the one before it in the stream."""
    stored, meta, data = encode_new(entry.new)
    digest = chain(
        before.hash,
        stream=entry.stream,
        version=entry.version,
        event_id=entry.new.event_id,
        type=stored,
        at=micros(entry.at),
        meta=meta,
        data=data,
    )
    at = stamp(entry.at)
    return position, entry.new.event_id, entry.stream, entry.version, stored, at, meta, data, digest


def _by_stream(row: tuple[Any, ...]) -> tuple[str, int]:
    return row[2], row[3]


def _positions(session: Session, count: int) -> Iterable[int]:
    if session.kind == "sqlite":
        last = session.value(LAST)
        return range(last + 1, last + 1 + count)
    drawn = session.rows(DRAW, count=count)
    session.xid = drawn[0][1]
    return sorted(row[0] for row in drawn)
