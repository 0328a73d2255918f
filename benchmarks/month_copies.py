"""A log as long as you like: a month of mail, and copies of it with other emails in them.

    python -m benchmarks.month_copies URL [--events 10000000]

Deciding a month takes a while for each event, copying what was decided a fraction of it. A copy has the same emails
at the same times under other ids, with positions, hash chains, views and contents of their own. Its circuits are the
first month's: so `verify` would find its gates, and ids that don't follow from their keys, wrong. It is for measuring
what a long log costs, and for nothing else.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.codec import GENESIS, chain, micros
from adapters.sql import content_store, log, tables, views
from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database
from adapters.sql.migrate import migrate
from application.recorded import email_stream
from benchmarks.month import fill
from benchmarks.month_rows import Rows

MONTH_EVENTS = 200_000
"""Of the month that is copied: it is held in memory, and has a bit of everything."""

COPIES_MAX = 0xFFFF
CHANGED = 4
"""Hexadecimal digits at the end of an id that a copy changes, each in its own way: they are chance."""

DIGITS = tuple(f"{number:0{CHANGED}x}" for number in range(COPIES_MAX + 1))

_ID = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{{12 - CHANGED}}})([0-9a-f]{{{CHANGED}}})")

EVENTS = Sql("""
    SELECT position, event_id, stream, version, type, at, meta, data
    FROM events WHERE stream >= :first AND stream < :last ORDER BY position
""")
EMAILS = Sql(f"SELECT {', '.join(one.name for one in tables.emails.columns)} FROM emails")
ATTEMPTS = Sql(f"SELECT {', '.join(one.name for one in tables.attempts.columns)} FROM attempts")
CONTENTS = Sql("SELECT email_id, key, blobs, content FROM contents")
REFERENCES = Sql("SELECT email_id, digest FROM content_blobs")
LAST = Sql("SELECT max(position) FROM events")
CAUGHT_UP = Sql("""
    UPDATE checkpoints SET position = (SELECT coalesce(max(position), 0) FROM events) WHERE name = 'reports'
""")


class _Text:
    """A text with ids in it, for texts with other ids."""

    __slots__ = ("_last", "_parts")

    def __init__(self, text: str) -> None:
        *parts, self._last = _ID.split(text)  # what is before an id, all but its end, its end; what is behind
        self._parts = [
            (parts[index] + parts[index + 1], int(parts[index + 2], 16)) for index in range(0, len(parts), 3)
        ]

    def copy(self, number: int) -> str:
        """As it stands in that copy."""
        return "".join([text + DIGITS[end ^ number] for text, end in self._parts]) + self._last


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of the month, with all that its copies have in common taken apart once."""

    position: int
    event_id: _Text
    stream: _Text
    version: int
    type: str
    at: Any
    at_us: int
    meta: _Text
    data: str


@dataclass(frozen=True, slots=True)
class _Month:
    """What is copied. `last`: its last position."""

    last: int
    events: Sequence[_Event]
    emails: Sequence[tuple[Any, ...]]
    attempts: Sequence[tuple[Any, ...]]
    contents: Sequence[tuple[Any, ...]]
    references: Sequence[tuple[Any, ...]]


def fill_long(url: str, events: int, *, seed: int = 1, month_events: int = MONTH_EVENTS) -> int:
    """Fill the empty database with about so many events: a month, and copies of it. How many positions there are.

    The reports count as up to date, and stay empty: making them would go on for minutes beside what is measured.
    """
    made = fill(url, min(events, month_events), seed=seed).events
    return multiply(url, max(1, round(events / made)))


def multiply(url: str, times: int) -> int:
    """Have all emails of the database so many times, and the reports believe that they are counted. How many
    positions there are then. Raises ValueError for more copies than there are marks."""
    if times > COPIES_MAX:
        raise ValueError(f"{times} times as many emails: at most {COPIES_MAX}; make more of them first")
    month = _read(url)
    with Rows(url) as rows:
        for number in range(1, times):
            _copy(rows, month, number)
    database = Database(url)
    database.write(lambda session: session.run(CAUGHT_UP))
    database.close()
    return month.last * times


def _read(url: str) -> _Month:
    database = Database(url, stall_s=600)
    prefix = email_stream("")
    try:
        found = database.read(
            lambda session: (
                session.rows(EVENTS, first=prefix, last=prefix + "g"),
                *(session.rows(one) for one in (EMAILS, ATTEMPTS, CONTENTS, REFERENCES)),
                session.value(LAST),
            )
        )
    finally:
        database.close()
    events, emails, attempts, contents, references, last = found
    return _Month(last, [_taken_apart(row) for row in events], emails, attempts, contents, references)


def _taken_apart(row: tuple[Any, ...]) -> _Event:
    position, event_id, stream, version, kind, at, meta, data = row
    at_us = micros(time_of(at))
    return _Event(position, _Text(event_id), _Text(stream), version, kind, at, at_us, _Text(meta), data)


def _copy(rows: Rows, month: _Month, number: int) -> None:
    offset = number * month.last
    for event in _events(month.events, number, offset):
        rows.put("events", log.INSERT, event)
    for row in month.emails:
        *others, correlation_id, version, position = row[1:]
        copied = (_copied(row[0], number), *others, _copied(correlation_id, number), version)
        rows.put("emails", views.EMAILS, (*copied, position + offset))
    for row in month.attempts:
        rows.put("attempts", views.ATTEMPTS, (_copied(row[0], number), *row[1:]))
    for row in month.contents:
        rows.put("contents", content_store.INSERT, (_copied(row[0], number), *row[1:]))
    for row in month.references:
        rows.put("content_blobs", content_store.REFER, (_copied(row[0], number), *row[1:]))


def _events(events: Sequence[_Event], number: int, offset: int) -> Iterator[tuple[Any, ...]]:
    hashes: dict[str, bytes] = {}
    for one in events:
        stream, event_id, meta = one.stream.copy(number), one.event_id.copy(number), one.meta.copy(number)
        digest = hashes[stream] = chain(
            hashes.get(stream, GENESIS),
            stream=stream,
            version=one.version,
            event_id=event_id,
            type=one.type,
            at=one.at_us,
            meta=meta,
            data=one.data,
        )
        position = offset + one.position
        yield position, event_id, stream, one.version, one.type, one.at, meta, one.data, digest


def _copied(email_id: str, number: int) -> str:
    return email_id[:-CHANGED] + DIGITS[int(email_id[-CHANGED:], 16) ^ number]


def main() -> None:
    """Fill, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--month", type=int, default=MONTH_EVENTS, help="events of the month that is copied")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    migrate(given.url)
    before = time.perf_counter()
    count = fill_long(given.url, given.events, seed=given.seed, month_events=given.month)
    took = time.perf_counter() - before
    print(f"{count} positions in {took:.0f} s, {count / took:.0f} a second")


if __name__ == "__main__":
    main()
